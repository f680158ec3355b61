//go:build unix

package rawclient

import "syscall"

// receiveBuffer returns a [net.Dialer.Control] that sets the receive buffer before the
// connection is made; nil for the system's choice.
func receiveBuffer(bytes int) func(network, address string, c syscall.RawConn) error {
	if bytes == 0 {
		return nil
	}
	return func(_, _ string, c syscall.RawConn) error {
		var failed error
		err := c.Control(func(fd uintptr) {
			failed = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, bytes)
		})
		if err == nil {
			err = failed
		}
		return err
	}
}
