package listen

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
)

// Unix listens on a Unix socket at path, which only the user of this process can use. It
// replaces a socket that no process listens on, such as one that a crash left.
func Unix(path string) (Listener, error) {
	l, err := net.Listen("unix", path)
	if errors.Is(err, syscall.EADDRINUSE) && isAbandoned(path) {
		if err := os.Remove(path); err != nil {
			return nil, err
		}
		l, err = net.Listen("unix", path)
	}
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, fmt.Errorf("restrict the socket to this user: %w", err)
	}
	return l.(*net.UnixListener), nil
}

// isAbandoned reports whether path is a socket without a listener.
func isAbandoned(path string) bool {
	info, err := os.Lstat(path)
	if err != nil || info.Mode().Type() != os.ModeSocket {
		return false
	}
	c, err := net.Dial("unix", path)
	if err == nil {
		c.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}
