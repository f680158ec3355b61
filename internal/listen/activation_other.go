//go:build !unix

package listen

import "net"

// Activated returns nil: no listener is passed to a process on this system.
func Activated() (*net.TCPListener, error) { return nil, nil }
