package loop

import (
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"
)

const (
	readBuffer  = 4 << 10
	writeBuffer = 16 << 10 // maximum that a portable socket accepts at a time
)

// portable is a socket on two goroutines that communicate with the loop. It is for TLS and
// HTTP/2 connections, in-memory connections, and systems without epoll. To the client it
// looks like any socket that sometimes accepts nothing.
//
// The reader passes its buffer to the loop and waits until the loop wants more. The writer
// holds one batch at a time. It is blocked until the peer has taken the batch. The
// unwritten part of a batch counts like bytes that a full socket refuses.
type portable struct {
	conn *Conn // owned by the loop
	nc   net.Conn
	read chan struct{} // holds one token while the reader's buffer is free
	out  chan []byte   // holds a batch, and then an empty one that ends the sending side

	writing       atomic.Bool // the writer has a batch
	interruptible bool        // a write can be interrupted and continued; immutable

	// Owned by the loop.
	batch  []byte // the writer has it if the connection is blocked
	bulk   bool   // there was more than one batch to write
	queued uint32 // bytes that the peer had not taken at the last call of moved
}

func newPortable(c *Conn, nc net.Conn) *portable {
	s := &portable{conn: c, nc: nc, read: make(chan struct{}, 1), out: make(chan []byte, 2)}
	// TLS cannot continue after an interruption, and a response has no deadlines.
	_, over := nc.(interface{ NetConn() net.Conn })
	s.interruptible = !over && nc.SetWriteDeadline(time.Time{}) == nil
	c.loop.io.Go(s.readAll)
	c.loop.io.Go(s.writeAll)
	return s
}

func (s *portable) more() { s.read <- struct{}{} }

// keep leaves the bytes in the reader's buffer, because the reader waits for more.
func (s *portable) keep(p []byte) []byte { return p }

func (s *portable) write(p []byte) (int, bool, error) {
	s.batch = append(s.batch[:0], p[:min(len(p), writeBuffer)]...)
	s.bulk = len(p) > writeBuffer
	s.writing.Store(true)
	s.out <- s.batch
	return len(s.batch), true, nil
}

func (s *portable) remote() string { return address(s.nc) }

// moved asks the operating system. If that does not know, moved interrupts the write, so
// that done learns how much of the batch the peer took.
func (s *portable) moved() bool {
	n, ok := unacknowledgedBy(s.nc)
	if !ok && s.interruptible {
		_ = s.nc.SetWriteDeadline(pastDeadline()) // It succeeded in newPortable.
	}
	moved := ok && n < s.queued
	s.queued = n
	return moved
}

func (s *portable) full() bool { return s.writing.Load() }

func (s *portable) closeWrite() { s.out <- nil }

// drop interrupts both goroutines. The writer closes the connection.
func (s *portable) drop() {
	// A connection that refuses this is already closed.
	_ = s.nc.SetDeadline(pastDeadline())
	close(s.read)
	close(s.out)
}

// pastDeadline returns a deadline that interrupts reads and writes.
func pastDeadline() time.Time { return time.Unix(1, 0) }

// readAll posts the bytes that the peer sends, until its end.
func (s *portable) readAll() {
	buf := make([]byte, readBuffer)
	for range s.read {
		n, err := s.nc.Read(buf)
		c := s.conn
		if !c.loop.Post(func() {
			switch {
			case err == nil && c.loop.outOfTime() && !c.gone: // Other connections get their turn first.
				c.left = s.keep(buf[:n])
				c.requeue(urgent)
			case err == nil && c.loop.read(c, buf[:n]):
				s.more()
			case err != nil:
				c.loop.read(c, buf[:n])
				c.loop.readEnd(c, err)
			}
		}) || err != nil {
			return
		}
	}
}

// writeAll writes batches, and closes the connection when it is dropped.
func (s *portable) writeAll() {
	// Closing a TLS connection sends a message and may block, which the loop must not.
	defer s.nc.Close()
	for batch := range s.out {
		var n int
		var err error
		if len(batch) > 0 {
			n, err = s.nc.Write(batch)
			s.writing.Store(false)
		} else if half, ok := s.nc.(interface{ CloseWrite() error }); ok {
			err = half.CloseWrite()
		}
		if !s.conn.loop.Post(func() { s.done(batch[n:], n > 0, err) }) {
			return
		}
	}
}

// done is called on the loop when the writer is free again or was interrupted. rest is the
// unwritten part of the batch.
func (s *portable) done(rest []byte, took bool, err error) {
	c := s.conn
	switch {
	case c.gone:
	case s.interruptible && errors.Is(err, os.ErrDeadlineExceeded):
		if took {
			c.progressed(c.loop.now)
		}
		_ = s.nc.SetWriteDeadline(time.Time{}) // It succeeded in newPortable.
		s.writing.Store(true)
		s.out <- rest
	case err != nil:
		c.Drop()
	default:
		if !s.bulk {
			s.batch = nil // An idle connection owns no batch.
		}
		c.writable()
	}
}

// readEnd tells the client of c that its peer sends no more.
func (l *Loop) readEnd(c *Conn, err error) {
	defer l.recovered(c)
	if c.gone {
		return
	}
	if errors.Is(err, io.EOF) {
		c.client.ReadEnd()
		return
	}
	c.Drop()
}
