//go:build unix

package listen

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"syscall"
)

// firstActivated is the descriptor of the first passed socket (sd_listen_fds(3)).
const firstActivated = 3

// Activated returns the listener that a service manager opened and passed to this process,
// with LISTEN_PID and LISTEN_FDS (sd_listen_fds(3)), or nil if there is none. The caller
// must close it. Call Activated only once, because it closes the descriptor that was
// passed.
func Activated() (*net.TCPListener, error) {
	if os.Getenv("LISTEN_PID") != strconv.Itoa(os.Getpid()) {
		return nil, nil // passed to another process, which started this one
	}
	passed := os.Getenv("LISTEN_FDS")
	if n, err := strconv.Atoi(passed); err != nil || n < 0 {
		return nil, fmt.Errorf("LISTEN_FDS is %q: it must be the number of passed sockets", passed)
	} else if n == 0 {
		return nil, nil
	} else if n > 1 {
		return nil, fmt.Errorf("LISTEN_FDS is %d: pass exactly one socket, for the public port", n)
	}
	syscall.CloseOnExec(firstActivated)
	file := os.NewFile(firstActivated, "LISTEN_FDS")
	defer file.Close() // the listener has a duplicate
	l, err := net.FileListener(file)
	if err != nil {
		return nil, fmt.Errorf("LISTEN_FDS: descriptor %d: %w", firstActivated, err)
	}
	tcp, ok := l.(*net.TCPListener)
	if !ok {
		l.Close()
		return nil, fmt.Errorf("LISTEN_FDS: descriptor %d listens on %s %s: pass a TCP socket", firstActivated, l.Addr().Network(), l.Addr())
	}
	return tcp, nil
}
