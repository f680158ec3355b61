//go:build !linux

package loop

import "net"

// newPoller returns the poller of this system.
func newPoller(*Loop) (poller, error) { return newSignals(), nil }

// unacknowledgedBy returns how many bytes the system holds for the peer of a
// connection over TCP; this system does not say.
func unacknowledgedBy(net.Conn) (n uint32, ok bool) { return 0, false }
