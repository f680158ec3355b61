// Package posts answers small posts before net/http sees them, because net/http takes more
// of the processor for such a request than all else that the server does with it.
//
// A [Server] wraps the listener of an [http.Server]. net/http serves each connection as
// always, but its first Read does not return while the client sends nothing but *small
// posts*: requests in a strict subset of HTTP/1.1 (request.go) that fit into a buffer. The
// Read itself calls the handler of the http.Server for each of them and writes the answer
// (answer.go). At the first byte of any other request it returns, and from then on the
// connection belongs to net/http, which gets all bytes from that request on:
//
//	Accept → small post → handler → answer → small post → … → other request → net/http
//
// Nothing has to be undone for that, because a request is recognized before any of it is
// consumed.
//
// Invariants:
//   - The package answers a request only if net/http understands it in the same way. In
//     doubt, net/http gets it, which includes everything that is wrong or slow.
//   - Once net/http has got a byte of a connection, the package reads no request from it.
//   - The answer to a small post has the bytes that net/http would write.
//
// The context of a small post does not end when its client disconnects, since nobody reads
// from the connection while the handler runs. The package knows neither TLS nor HTTP/2.
package posts

import (
	"context"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// A Server answers the small posts to an [http.Server]. It is safe for concurrent use.
type Server struct {
	// Immutable after New.
	http  *http.Server
	path  string
	start string // the first line of each small post, with its end

	stopping atomic.Bool // set by Shutdown
	closing  atomic.Bool // set by Close

	mu sync.Mutex
	// Guarded by mu.
	conns map[*conn]struct{} // those of which net/http has got no byte
	gone  chan struct{}      // closed when Shutdown has begun and conns is empty
}

// New returns a Server for posts to path, which must need no escapes. It uses the Handler,
// ReadHeaderTimeout, WriteTimeout, IdleTimeout, ConnState and ConnContext of h. The handler
// must not change a request, must not keep it or its answer after it returns, must set Content-Type, and answers
// posts to path with statuses that allow a body. It must set Content-Length before it
// flushes, and to nothing but a length.
func New(h *http.Server, path string) *Server {
	return &Server{
		http:  h,
		path:  path,
		start: "POST " + path + " HTTP/1.1\r\n",
		conns: make(map[*conn]struct{}),
		gone:  make(chan struct{}),
	}
}

// Listener returns a listener for [http.Server.Serve] with the connections of l, which must
// have CloseWrite. It owns l.
func (s *Server) Listener(l net.Listener) net.Listener { return &listener{l, s} }

type listener struct {
	net.Listener
	server *Server
}

// Accept implements [net.Listener].
func (l *listener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &conn{socket: nc.(socket), server: l.server}
	c.small = l.server.add(c)
	return c, nil
}

// add adds a connection, unless Shutdown has begun.
func (s *Server) add(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping.Load() {
		return false
	}
	s.conns[c] = struct{}{}
	return true
}

// remove removes a connection that has ended or belongs to net/http.
func (s *Server) remove(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.conns[c]; !ok {
		return
	}
	delete(s.conns, c)
	if s.stopping.Load() && len(s.conns) == 0 {
		close(s.gone)
	}
}

// Shutdown shuts the [http.Server] down. It is like [http.Server.Shutdown], which would not
// wait for the answers to small posts: call it instead.
func (s *Server) Shutdown(ctx context.Context) error {
	s.stop()
	if err := s.http.Shutdown(ctx); err != nil {
		return err
	}
	select {
	case <-s.gone:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close closes all connections at once, and the [http.Server]. Call it instead of
// [http.Server.Close].
func (s *Server) Close() error {
	s.closing.Store(true)
	s.mu.Lock()
	for c := range s.conns { // net/http no longer knows those that Shutdown waits for
		_ = c.socket.Close()
	}
	s.mu.Unlock()
	return s.http.Close()
}

// waits reports whether answers in progress must be sent before their connections end.
func (s *Server) waits() bool { return s.stopping.Load() && !s.closing.Load() }

// stop wakes the connections that wait for a request.
func (s *Server) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping.Swap(true) {
		return
	}
	if len(s.conns) == 0 {
		close(s.gone)
	}
	for c := range s.conns {
		_ = c.socket.SetReadDeadline(time.Unix(1, 0)) // fails only if c has ended
	}
}
