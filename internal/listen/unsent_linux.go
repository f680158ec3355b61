package listen

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// unsentBytes is how much unsent data the kernel takes of a connection: an answer that
// a client does not read stays a cursor in a log, and does not become kernel memory.
const unsentBytes = 32 << 10

// limitUnsent has the kernel take little unsent data of a connection. Without it the
// kernel takes up to 4 MiB. Connections do not inherit this from their listener.
func limitUnsent(c syscall.Conn) {
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, unsentBytes)
	})
}
