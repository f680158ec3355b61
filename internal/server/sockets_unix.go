//go:build unix

package server

import (
	"net"

	"golang.org/x/sys/unix"
)

// queued reports whether a connection waits to be accepted.
func queued(l *net.TCPListener) bool {
	raw, err := l.SyscallConn()
	if err != nil {
		return false
	}
	ready := 0
	err = raw.Control(func(fd uintptr) {
		ready, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
	})
	return err == nil && ready > 0
}

// discardBytes is how much discard takes: more than a request that net/http refuses
// without having read it whole.
const discardBytes = 4 << 10

// discard takes bytes that came and that nobody reads. The system answers a close that
// leaves some with a reset, which may reach the client before the answer does.
func discard(c *net.TCPConn) {
	raw, err := c.SyscallConn()
	if err != nil {
		return // It is closed.
	}
	_ = raw.Control(func(fd uintptr) {
		var unread [discardBytes]byte
		_, _ = unix.Read(int(fd), unread[:]) // does not wait
	})
}
