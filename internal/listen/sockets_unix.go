//go:build unix

package listen

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// queued reports whether a connection is waiting to be accepted.
func queued(l Listener) bool {
	if own, ok := l.(queueing); ok {
		return own.Queued()
	}
	of, ok := l.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := of.SyscallConn()
	if err != nil {
		return false
	}
	ready := 0
	err = raw.Control(func(fd uintptr) {
		ready, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
	})
	return err == nil && ready > 0
}

// discardBytes is how much discard reads: more than a request that net/http refuses before
// it has read all of it.
const discardBytes = 4 << 10

// discard reads and discards bytes that have already arrived. If a close leaves unread
// bytes, the system sends a reset, which may reach the client before the answer.
func discard(c syscall.Conn) {
	raw, err := c.SyscallConn()
	if err != nil {
		return // it is closed, or has no descriptor
	}
	_ = raw.Control(func(fd uintptr) {
		var unread [discardBytes]byte
		_, _ = unix.Read(int(fd), unread[:]) // does not block
	})
}
