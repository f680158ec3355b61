//go:build !linux

package server

import "net"

// limitUnsent does nothing: this system does not know how.
func limitUnsent(*net.TCPConn) {}
