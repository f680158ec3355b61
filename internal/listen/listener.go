// Package listen accepts, counts and limits connections.
//
// A [Limiter] wraps the listener of a port. Every connection passes through it:
//
//	Accept → net/http → answered and closed
//	                  → Detach → an event loop → Release
//
// A connection counts from Accept until net/http closes it or, if an event loop takes it,
// until Release. At the limit, the Limiter accepts only a few *spare* connections, each for
// one short request. So the server still answers health checks, and other clients learn
// that it is full. When the number of connections approaches
// the limit, the Limiter closes idle HTTP connections.
// [Slots] limits things that do not correspond to connections, such as clients: one HTTP/2
// connection carries several of them.
//
// If the listener takes the PROXY protocol, the header is read on the first call of RemoteAddr or
// Read ([forwarded.ReadHeader]), and no byte beyond it, so that a loop can take the descriptor.
//
// The package also contains other things that belong to a listener: the socket that a
// service manager passes ([Activated]), the [Certificate] of a TLS listener, which is read
// again when its files change, and the [Scavenger], which returns memory to the system
// after many clients have connected.
//
// Invariant: a connection counts once, whoever closes it and however often.
//
// The package reads no request and knows no route.
package listen

import (
	"net"
	"time"
)

// A Listener has the methods of a [net.TCPListener] that a [Limiter] needs. The connections
// that it accepts must have CloseWrite, like a [net.TCPConn].
type Listener interface {
	net.Listener
	SetDeadline(time.Time) error
}

// queueing is a [Listener] that knows whether a connection is waiting to be accepted. For a
// [net.TCPListener], the package asks the operating system.
type queueing interface {
	Queued() bool
}
