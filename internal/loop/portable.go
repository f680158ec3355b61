package loop

import (
	"errors"
	"io"
	"net"
	"time"
)

const (
	readBuffer  = 4 << 10
	writeBuffer = 16 << 10 // the most that a portable socket takes at a time
)

// portable is a socket on two goroutines that talk to the loop: for TLS and
// HTTP/2 connections, pipes, and systems without epoll. To the client it looks
// like any socket that sometimes takes nothing.
//
// The reader hands its buffer to the loop and waits until the loop wants more.
// The writer holds one batch at a time.
type portable struct {
	conn *Conn // owned by the loop
	nc   net.Conn
	read chan struct{} // holds one token: the reader's buffer is free
	out  chan []byte   // holds a batch, and then an empty one that ends the sending side

	// Owned by the loop.
	batch []byte // the writer has it
	busy  bool   // the writer has not said that it is done
}

func newPortable(c *Conn, nc net.Conn) *portable {
	s := &portable{conn: c, nc: nc, read: make(chan struct{}, 1), out: make(chan []byte, 2)}
	c.loop.io.Go(s.readAll)
	c.loop.io.Go(s.writeAll)
	return s
}

func (s *portable) more() { s.read <- struct{}{} }

// keep leaves bytes in the reader's buffer: it waits for more.
func (s *portable) keep(p []byte) []byte { return p }

func (s *portable) write(p []byte) (int, error) {
	if s.busy {
		return 0, nil
	}
	s.busy = true
	s.batch = append(s.batch[:0], p[:min(len(p), writeBuffer)]...)
	s.out <- s.batch
	return len(s.batch), nil
}

func (s *portable) remote() string { return address(s.nc) }

func (s *portable) closeWrite() { s.out <- nil }

// drop interrupts both goroutines; the writer closes the connection.
func (s *portable) drop() {
	// Past: what waits returns at once. A connection that refuses this is closed already.
	_ = s.nc.SetDeadline(time.Unix(1, 0))
	close(s.read)
	close(s.out)
}

// readAll posts what the peer sends, until its end.
func (s *portable) readAll() {
	buf := make([]byte, readBuffer)
	for range s.read {
		n, err := s.nc.Read(buf)
		c := s.conn
		if !c.loop.Post(func() {
			switch {
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
	// Closing says goodbye on TLS and may wait for that; the loop must not.
	defer s.nc.Close()
	for batch := range s.out {
		var err error
		if len(batch) > 0 {
			_, err = s.nc.Write(batch)
		} else if half, ok := s.nc.(interface{ CloseWrite() error }); ok {
			err = half.CloseWrite()
		}
		if !s.conn.loop.Post(func() { s.done(err) }) {
			return
		}
	}
}

// done is called on the loop when the writer is free again.
func (s *portable) done(err error) {
	s.busy = false
	if cap(s.batch) > 0 && !s.conn.blocked {
		s.batch = nil // An idle connection owns no batch.
	}
	if err != nil {
		s.conn.Drop()
		return
	}
	s.conn.writable()
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
