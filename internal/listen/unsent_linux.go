package listen

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// unsentBytes is how much unsent data of a connection the kernel accepts. An answer that a
// client does not read then remains a cursor in a log, and does not fill kernel memory.
const unsentBytes = 32 << 10

// limitUnsent limits how much unsent data of a connection the kernel accepts. Without it,
// the kernel accepts up to 4 MiB. Connections do not inherit the option from their
// listener.
func limitUnsent(c syscall.Conn) {
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, unsentBytes)
	})
}
