//go:build !linux

package listen

import "syscall"

// limitUnsent does nothing: this system does not know how.
func limitUnsent(syscall.Conn) {}
