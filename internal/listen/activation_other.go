//go:build !unix

package listen

import "net"

// Activated returns nil, because this system does not pass listeners to a process.
func Activated() (*net.TCPListener, error) { return nil, nil }
