package transport

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

// A responseConn is a net.Conn made of the response to a request: what is
// written is the body, and leaves at once; nothing is read but the end of the
// client. It is for loops in their portable form, and for the time until wait
// returns: then the response is net/http's again, and is not touched.
type responseConn struct {
	// Immutable after newResponseConn.
	w             http.ResponseWriter
	control       *http.ResponseController
	left          <-chan struct{} // closed when the client went
	local, remote net.Addr

	expired chan struct{} // closed when neither reads nor writes begin any more
	closed  chan struct{} // closed when nothing but a write under way touches w

	writing sync.Mutex // held while w is written to

	mu sync.Mutex // orders the ends: SetDeadline and Close. Held over SetWriteDeadline of w, which does not wait for the client
}

func newResponseConn(w http.ResponseWriter, r *http.Request) *responseConn {
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	return &responseConn{
		w:       w,
		control: http.NewResponseController(w),
		left:    r.Context().Done(),
		local:   local,
		remote:  address(r.RemoteAddr),
		expired: make(chan struct{}),
		closed:  make(chan struct{}),
	}
}

// Read waits for the end: of the client or of the connection, which are io.EOF,
// or by a deadline.
func (c *responseConn) Read([]byte) (int, error) {
	select {
	case <-c.left:
		return 0, io.EOF
	case <-c.closed:
		return 0, io.EOF
	case <-c.expired:
		if done(c.closed) {
			return 0, io.EOF
		}
		return 0, os.ErrDeadlineExceeded
	}
}

// Write writes a part of the body, and returns when it has left.
func (c *responseConn) Write(p []byte) (int, error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	switch {
	case done(c.closed):
		return 0, net.ErrClosed
	case done(c.expired):
		return 0, os.ErrDeadlineExceeded
	}
	n, err := c.w.Write(p)
	if err == nil {
		err = c.control.Flush()
	}
	return n, err
}

// Close ends the response. A write under way is interrupted, and with it the
// response is broken off; else it ends as a whole.
func (c *responseConn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if done(c.closed) {
		return net.ErrClosed
	}
	err := c.expireLocked()
	close(c.closed)
	return err
}

// CloseWrite is Close: a response that has ended has nothing to read either.
func (c *responseConn) CloseWrite() error { return c.Close() }

// SetDeadline interrupts what waits, for good, if t has passed. Other
// deadlines are not supported.
func (c *responseConn) SetDeadline(t time.Time) error {
	if t.IsZero() || t.After(time.Now()) {
		return errors.ErrUnsupported
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if done(c.closed) {
		return net.ErrClosed
	}
	return c.expireLocked()
}

// expireLocked ends the time of reads and writes. A write that finds the time
// over does not touch w, so one that holds the lock by then is all there is to
// interrupt.
func (c *responseConn) expireLocked() error {
	if done(c.expired) {
		return nil
	}
	close(c.expired)
	if c.writing.TryLock() {
		c.writing.Unlock()
		return nil
	}
	return c.control.SetWriteDeadline(time.Unix(1, 0))
}

// wait returns when the connection is closed, and nothing touches w any more.
func (c *responseConn) wait() {
	<-c.closed
	c.writing.Lock() // one that is under way was interrupted
	defer c.writing.Unlock()
}

// SetReadDeadline is SetDeadline: half of an ended connection is of no use.
func (c *responseConn) SetReadDeadline(t time.Time) error { return c.SetDeadline(t) }

// SetWriteDeadline is SetDeadline.
func (c *responseConn) SetWriteDeadline(t time.Time) error { return c.SetDeadline(t) }

func (c *responseConn) LocalAddr() net.Addr  { return c.local }
func (c *responseConn) RemoteAddr() net.Addr { return c.remote }

// An address is one as net/http writes it.
type address string

func (a address) Network() string { return "tcp" }
func (a address) String() string  { return string(a) }

// done reports whether c is closed.
func done(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
