//go:build !unix

package listen

import "syscall"

// queued reports whether a connection is waiting to be accepted. It asks only the listener,
// because this system does not provide the information.
func queued(l Listener) bool {
	own, ok := l.(queueing)
	return ok && own.Queued()
}

// discard does nothing, because this system cannot read without blocking.
func discard(syscall.Conn) {}
