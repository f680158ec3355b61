//go:build !unix

package listen

import "syscall"

// queued reports whether a connection waits to be accepted. This system does not tell.
func queued(l Listener) bool {
	own, ok := l.(queueing)
	return ok && own.Queued()
}

// discard does nothing: this system does not read without waiting.
func discard(syscall.Conn) {}
