//go:build !linux

package listen

import "syscall"

// limitUnsent does nothing, because this system has no such option.
func limitUnsent(syscall.Conn) {}
