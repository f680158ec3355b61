//go:build !unix

package server

import "net"

// queued reports that no connection waits to be accepted: this system does not tell.
func queued(*net.TCPListener) bool { return false }

// discard does nothing: this system does not read without waiting.
func discard(*net.TCPConn) {}
