//go:build !linux

package loop

import "net"

// newPoller returns the poller of this operating system.
func newPoller(*Loop) (poller, error) { return newSignals(), nil }

// unacknowledgedBy returns how many bytes the system holds for the peer of a TCP
// connection. This system cannot tell.
func unacknowledgedBy(net.Conn) (n uint32, ok bool) { return 0, false }
