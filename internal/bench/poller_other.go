//go:build !linux

package bench

import (
	"errors"
	"net"
)

// A poller exists on Linux only.
type poller struct{}

func newPoller(*lane) (*poller, error) { return nil, errors.ErrUnsupported }

func (*poller) watch(*subscriber, net.Conn, int) bool { return false }

func (*poller) run() {}

func (*poller) close() {}
