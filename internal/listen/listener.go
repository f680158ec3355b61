// Package listen accepts, counts and limits connections.
//
// A [Limiter] wraps the listener of a port. Every connection passes through it:
//
//	Accept → net/http → answered and closed
//	                  → Detach → an event loop → Release
//
// A connection counts from Accept until net/http closes it, or until Release once
// an event loop has it. At the limit, the Limiter still takes a few *spare*
// connections, each for one short request. So health checks are answered, and clients
// learn that the server is full, while every other connection is taken. When few
// connections are free, the Limiter closes HTTP connections that are idle. [Slots]
// limits what counts apart from connections, such as clients: an HTTP/2 connection
// carries several of them.
//
// The package also holds what else belongs to a listener: the socket that a service
// manager passes ([Activated]), the [Certificate] of a TLS listener, which is read
// again when its files change, and the [Scavenger], which returns memory to the system
// after many clients have connected.
//
// Invariant: a connection is counted once, whoever ends it and however often.
//
// The package reads no request and knows no route.
package listen

import (
	"net"
	"time"
)

// A Listener is what a [Limiter] needs of a [net.TCPListener]. The connections that it
// accepts have CloseWrite, as a [net.TCPConn] has.
type Listener interface {
	net.Listener
	SetDeadline(time.Time) error
}

// queueing is a [Listener] that knows whether a connection waits to be accepted. The
// operating system knows it of a [net.TCPListener].
type queueing interface {
	Queued() bool
}
