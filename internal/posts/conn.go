package posts

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

const (
	// bufferBytes is the maximum size of a small post, with its head.
	bufferBytes = 4 << 10

	// restTimeout is how long a conn waits for the rest of a small post. Some clients send
	// the body after the head. A request that takes longer belongs to net/http.
	restTimeout = time.Second

	// firstBytes is how many bytes net/http waits for after a post. It ignores those of empty
	// lines among them, because old clients send them. Fewer bytes are no request.
	firstBytes = 4

	// preface begins a connection over HTTP/2. After a post it is an error (RFC 9113, section
	// 3.4), but to net/http it would be at the beginning of the connection.
	preface = "PRI "
)

// buffers are the buffers of connections.
var buffers = sync.Pool{New: func() any { return new([bufferBytes]byte) }}

// A socket is a connection that the listener accepted.
type socket interface {
	net.Conn
	CloseWrite() error
}

// A conn is a connection that net/http serves. Its Read answers small posts.
type conn struct {
	socket
	server *Server // immutable

	mu sync.Mutex
	// Guarded by mu.
	answering bool // a small post
	closed    bool // by Close; if answering, the socket is still open

	// Owned by the goroutine that reads.
	small    bool               // net/http has got no byte
	err      error              // what Read returns after the bytes in buffer; nil: read on
	buffer   *[bufferBytes]byte // nil: none
	n        int                // number of bytes in buffer
	exchange *exchange          // nil: no small post has arrived
	ended    time.Time          // when the last small post was answered
	blank    int                // bytes of empty lines that were dropped since then
	reading  deadline           // of the socket
	writing  time.Time          // the write deadline of the socket; zero: another one, or none
}

// A deadline says which read deadline a socket has.
type deadline int

const (
	foreign deadline = iota // the one that net/http set for the first request
	old                     // one that no longer applies
	idle                    // for the next request; or an earlier one
	rest                    // for the rest of a request
)

// NetConn returns the connection that the listener accepted.
func (c *conn) NetConn() net.Conn { return c.socket }

// Buffered returns the number of bytes that the next calls of Read return without reading
// from the connection.
func (c *conn) Buffered() int { return c.n }

// Close implements [net.Conn]. During a shutdown, the connection ends after the answer in
// progress: [http.Server.Shutdown] closes what looks to it like a connection without a request.
func (c *conn) Close() error {
	c.mu.Lock()
	c.closed = true
	later := c.answering && c.server.waits()
	c.mu.Unlock()
	if later {
		return nil
	}
	c.server.remove(c)
	return c.socket.Close()
}

// begin begins an answer. It returns false if the connection is closed.
func (c *conn) begin() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answering = !c.closed
	return c.answering
}

// end ends an answer, and reports whether the connection has been closed meanwhile.
func (c *conn) end() (closed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answering = false
	return c.closed
}

// Read implements [net.Conn]. It answers small posts until another request arrives.
func (c *conn) Read(p []byte) (int, error) {
	if c.small {
		c.err = c.answerPosts()
		c.pass()
	}
	if c.n == 0 {
		if c.err != nil {
			return 0, c.err
		}
		return c.socket.Read(p)
	}
	n := copy(p, c.buffer[:c.n])
	if c.drop(n); c.n == 0 {
		c.freeBuffer()
	}
	return n, nil
}

// pass leaves the connection to net/http.
func (c *conn) pass() {
	c.small, c.exchange = false, nil
	if c.n == 0 {
		c.freeBuffer()
	}
	c.server.remove(c) // before the deadline, which stop sets for all others
	if c.err == nil && (c.reading != foreign || c.server.stopping.Load()) {
		// net/http has set the same for the first request, which is what this is to it.
		_ = c.socket.SetReadDeadline(after(time.Now(), c.server.http.ReadHeaderTimeout))
	}
}

// after returns the time of a timeout that begins at t. Zero means none for both.
func after(t time.Time, timeout time.Duration) time.Time {
	if timeout <= 0 {
		return time.Time{}
	}
	return t.Add(timeout)
}

// drop removes the first bytes of the buffer.
func (c *conn) drop(bytes int) { c.n = copy(c.buffer[:], c.buffer[bytes:c.n]) }

func (c *conn) freeBuffer() {
	buffers.Put(c.buffer)
	c.buffer = nil
}

// answerPosts answers small posts. It returns nil when net/http has to take over, and an
// error when the connection has ended.
func (c *conn) answerPosts() error {
	c.buffer = buffers.Get().(*[bufferBytes]byte)
	for {
		c.dropBlank()
		size, what := c.recognize()
		switch what {
		case other:
			if !c.ended.IsZero() && bytes.HasPrefix(c.buffer[:c.n], []byte(preface)) {
				c.n = 0
				return io.EOF
			}
			return nil
		case incomplete:
			more, err := c.fill()
			if err != nil && c.isIdle() {
				c.n = 0
			}
			if err != nil || !more {
				return err
			}
		case complete:
			if !c.answer(size) {
				c.n = 0       // what the client sent after that gets no answer
				return io.EOF // net/http answers some other errors
			}
		}
	}
}

// dropBlank removes the bytes that net/http ignores between a post and the next request.
func (c *conn) dropBlank() {
	if c.ended.IsZero() {
		return
	}
	n := 0
	for n < c.n && c.blank < firstBytes && (c.buffer[n] == '\r' || c.buffer[n] == '\n') {
		n++
		c.blank++
	}
	if n > 0 {
		c.drop(n)
	}
}

// isIdle reports whether the connection waits for a request after a small post.
func (c *conn) isIdle() bool { return !c.ended.IsZero() && c.blank+c.n < firstBytes }

// fill reads more bytes into the buffer, which has room. It returns false if net/http has
// to take over, or if the connection has ended.
func (c *conn) fill() (more bool, err error) {
	for {
		c.limitRead()
		// After limitRead, which may have replaced the deadline that stop set.
		if c.server.stopping.Load() {
			if c.isIdle() {
				return false, io.EOF // net/http also closes idle connections
			}
			return false, nil
		}
		n, err := c.socket.Read(c.buffer[c.n:])
		if c.n += n; n > 0 {
			return true, nil // an error comes again
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return false, err
		}
		switch {
		case c.server.stopping.Load(): // by stop
		case c.reading == rest:
			return false, nil
		case c.reading == idle && time.Now().Before(after(c.ended, c.server.http.IdleTimeout)):
			c.reading = old
		default:
			return false, err
		}
	}
}

// limitRead sets the read deadline if necessary. That of an idle connection may be too early,
// which saves setting it for each request.
func (c *conn) limitRead() {
	switch {
	case c.isIdle():
		if c.reading != idle {
			c.reading = idle
			_ = c.socket.SetReadDeadline(after(c.ended, c.server.http.IdleTimeout))
		}
	case c.reading != rest && c.blank+c.n > 0:
		c.reading = rest
		_ = c.socket.SetReadDeadline(time.Now().Add(restTimeout))
	}
}

// limitWrite sets the write deadline, unless the current one is late enough. So a client has
// between half of WriteTimeout and all of it.
func (c *conn) limitWrite() {
	now, timeout := time.Now(), c.server.http.WriteTimeout
	if timeout <= 0 || c.writing.Sub(now) > timeout/2 {
		return
	}
	c.writing = now.Add(timeout)
	_ = c.socket.SetWriteDeadline(c.writing)
}

// answer answers the small post at the beginning of the buffer. It returns false if the
// connection must be closed now.
func (c *conn) answer(size int) (more bool) {
	if !c.begin() {
		return false
	}
	defer func() { more = !c.end() && more }() // also if the handler panics
	c.setState(http.StateActive)
	c.limitWrite()
	x := c.exchange
	x.answer.reset()
	c.server.http.Handler.ServeHTTP(&x.answer, x.request)
	ok := x.answer.finish()
	c.drop(size)
	c.ended, c.blank = time.Now(), 0
	if c.reading == rest {
		c.reading = old // the next request gets its own time
	}
	if !ok || x.answer.close {
		return false
	}
	c.setState(http.StateIdle)
	return true
}

func (c *conn) setState(state http.ConnState) {
	if hook := c.server.http.ConnState; hook != nil {
		hook(c, state)
	}
}

// context returns the context of the connection's requests.
func (c *conn) context() context.Context {
	if hook := c.server.http.ConnContext; hook != nil {
		return hook(context.Background(), c)
	}
	return context.Background()
}
