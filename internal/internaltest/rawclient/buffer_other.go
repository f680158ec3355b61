//go:build !unix

package rawclient

import (
	"errors"
	"syscall"
)

func receiveBuffer(bytes int) func(network, address string, c syscall.RawConn) error {
	if bytes == 0 {
		return nil
	}
	return func(_, _ string, _ syscall.RawConn) error { return errors.ErrUnsupported }
}
