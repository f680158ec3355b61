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

// A responseConn is a net.Conn made of an HTTP response. Bytes that are written to it
// become the body and leave at once. Reading only reports the end of the client. It is used
// by loops in their portable form until wait returns. After that the response belongs to
// net/http again, and responseConn no longer touches it.
type responseConn struct {
	// Immutable after newResponseConn.
	w             http.ResponseWriter
	control       *http.ResponseController
	left          <-chan struct{} // closed when the client has left
	local, remote net.Addr

	expired chan struct{} // closed when reads and writes may no longer begin
	closed  chan struct{} // closed when only a write in progress may still touch w

	writing sync.Mutex // held while w is written to

	mu sync.Mutex // orders SetDeadline and Close; held during SetWriteDeadline of w, which does not wait for the client
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

// Read waits for the end of the client or of the connection, which is io.EOF, or for a
// deadline.
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

// Close ends the response. If a write is in progress, Close interrupts it and the response
// is cut off. Otherwise the response ends normally.
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

// SetDeadline interrupts all reads and writes for good if t has passed. Other deadlines are
// not supported.
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

// expireLocked ends reads and writes. A write that begins later does not touch w. So only a
// write that already holds the lock must be interrupted.
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

// wait returns when the connection is closed and nothing touches w any longer.
func (c *responseConn) wait() {
	<-c.closed
	c.writing.Lock() // A write in progress was interrupted.
	defer c.writing.Unlock()
}

// SetReadDeadline is SetDeadline, because half of a connection is of no use.
func (c *responseConn) SetReadDeadline(t time.Time) error { return c.SetDeadline(t) }

// SetWriteDeadline is SetDeadline.
func (c *responseConn) SetWriteDeadline(t time.Time) error { return c.SetDeadline(t) }

func (c *responseConn) LocalAddr() net.Addr  { return c.local }
func (c *responseConn) RemoteAddr() net.Addr { return c.remote }

// An address is a network address in the form that net/http uses.
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
