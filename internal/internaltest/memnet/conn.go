package memnet

import (
	"bytes"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// A Direction says which way bytes go.
type Direction uint8

// The directions.
const (
	Up   Direction = iota // from the end that dialed
	Down                  // to it
)

// An End says how a connection is cut.
type End uint8

// The ends. Both ends of the connection see it, the writer of the direction that is
// cut a latency after the reader.
const (
	ByReset End = iota // reads and writes fail with ECONNRESET
	ByClose            // reads return io.EOF, as when a proxy between closes; what is written is answered by a reset
)

// errDeadline is why an operation ends whose deadline has passed.
var errDeadline = os.ErrDeadlineExceeded

// A Conn is one end of a connection, a [net.Conn]. Safe for concurrent use.
type Conn struct {
	// Immutable after newPair.
	pair          *pair
	out           Direction // in which it writes
	local, remote *net.TCPAddr

	// Guarded by pair.mu.
	closed             bool
	finished           bool // CloseWrite was called
	writing            bool // a Write is under way
	readBy, writeBy    deadline
	readCount, written int64
}

// Read returns bytes that have arrived: all of them that fit into b.
func (c *Conn) Read(b []byte) (int, error) {
	p := c.pair
	p.mu.Lock()
	defer p.mu.Unlock()
	p.deliver() // Bytes that arrive at this instant are readable even if the timer has not fired yet.
	in := &p.halves[1-c.out]
	for {
		switch {
		case c.closed:
			return 0, c.error("read", net.ErrClosed)
		case c.readBy.passed():
			return 0, c.error("read", errDeadline)
		case len(b) == 0:
			return 0, nil
		case len(in.unread) > 0:
			n := copy(b, in.unread)
			in.unread = append(in.unread[:0], in.unread[n:]...)
			c.readCount += int64(n)
			p.send(c.out, packet{kind: taken, n: n})
			return n, nil
		case in.readErr == io.EOF:
			return 0, io.EOF
		case in.readErr != nil:
			return 0, c.error("read", os.NewSyscallError("read", in.readErr))
		}
		p.changed.Wait()
	}
}

// Write returns when all of b is on its way. It waits while the window is full. The
// bytes of two calls at a time are not mixed.
func (c *Conn) Write(b []byte) (n int, err error) {
	p := c.pair
	p.mu.Lock()
	defer p.mu.Unlock()
	for c.writing {
		p.changed.Wait()
	}
	c.writing = true
	defer func() {
		c.writing = false
		p.changed.Broadcast()
	}()
	p.deliver()
	out := &p.halves[c.out]
	for {
		switch {
		case c.closed:
			return n, c.error("write", net.ErrClosed)
		case c.writeBy.passed():
			return n, c.error("write", errDeadline)
		case c.finished:
			return n, c.error("write", os.NewSyscallError("write", syscall.EPIPE))
		case out.writeErr != nil:
			return n, c.error("write", os.NewSyscallError("write", out.writeErr))
		case n == len(b):
			return n, nil
		case out.room > 0:
			part := b[n:min(len(b), n+out.room)]
			out.room -= len(part)
			n += len(part)
			c.written += int64(len(part))
			p.send(c.out, packet{kind: data, bytes: bytes.Clone(part)})
			if n == len(b) {
				return n, nil
			}
		default:
			p.changed.Wait()
		}
	}
}

// CloseWrite ends what this end writes, behind the last byte.
func (c *Conn) CloseWrite() error {
	p := c.pair
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case c.closed:
		return c.error("close", net.ErrClosed)
	case !c.finished:
		c.finished = true
		p.send(c.out, packet{kind: fin})
	}
	return nil
}

// Close ends the connection. The other end sees the end of the data, after the
// last byte, or a reset if there are bytes that this end has not read.
func (c *Conn) Close() error { return c.end(false) }

// Reset ends the connection, and the other end sees a reset.
func (c *Conn) Reset() error { return c.end(true) }

func (c *Conn) end(reset bool) error {
	p := c.pair
	p.mu.Lock()
	if c.closed {
		p.mu.Unlock()
		return c.error("close", net.ErrClosed)
	}
	p.deliver()
	c.closed = true
	c.readBy.set(time.Time{}, &p.changed)
	c.writeBy.set(time.Time{}, &p.changed)
	in := &p.halves[1-c.out]
	in.void = true
	switch {
	case reset || len(in.unread) > 0:
		in.unread, in.answered = nil, true
		p.send(c.out, packet{kind: rst})
	case !c.finished:
		c.finished = true
		p.send(c.out, packet{kind: fin})
	}
	over := p.ends[Up].closed && p.ends[Down].closed
	p.mu.Unlock()
	if over {
		p.link.forget(p)
	}
	return nil
}

// CutAfter ends the connection once n more bytes have arrived in a direction; with 0
// at once. A later call replaces an earlier one for the same direction.
func (c *Conn) CutAfter(d Direction, n int, how End) {
	p := c.pair
	p.mu.Lock()
	defer p.mu.Unlock()
	p.deliver()
	h := &p.halves[d]
	h.limit, h.cutBy = n, how
	if n == 0 {
		p.cut(d)
		p.deliver()
	}
}

// Transferred returns how many bytes this end has read and written.
func (c *Conn) Transferred() (read, written int64) {
	c.pair.mu.Lock()
	defer c.pair.mu.Unlock()
	return c.readCount, c.written
}

// LocalAddr returns the address of this end, RemoteAddr of the other: a *[net.TCPAddr].
func (c *Conn) LocalAddr() net.Addr  { return c.local }
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline sets both deadlines.
func (c *Conn) SetDeadline(t time.Time) error {
	return c.setDeadlines(t, &c.readBy, &c.writeBy)
}

// SetReadDeadline has Read fail from a time on; the zero time is never.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.setDeadlines(t, &c.readBy) }

// SetWriteDeadline has Write fail from a time on; the zero time is never.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.setDeadlines(t, &c.writeBy) }

func (c *Conn) setDeadlines(t time.Time, ds ...*deadline) error {
	c.pair.mu.Lock()
	defer c.pair.mu.Unlock()
	if c.closed {
		return c.error("set", net.ErrClosed)
	}
	for _, d := range ds {
		d.set(t, &c.pair.changed)
	}
	return nil
}

func (c *Conn) error(op string, err error) error {
	return &net.OpError{Op: op, Net: "tcp", Source: c.local, Addr: c.remote, Err: err}
}

// A pair is the two ends of a connection and what is on its way between them.
type pair struct {
	// Immutable after newPair.
	link *Link
	ends [2]*Conn // by the direction in which they write

	mu sync.Mutex
	// Guarded by mu.
	changed sync.Cond // anything below, or of the ends
	halves  [2]half   // by Direction
	stalled bool
	timer   *time.Timer // runs until next
	next    time.Time   // when something arrives; zero: nothing is on its way, or the link is stalled
}

// A half is one direction of a connection.
type half struct {
	transit []packet // on their way, the first one first
	unread  []byte   // that have arrived
	room    int      // bytes that may be written now

	readErr, writeErr error // why nothing more can be read, or written; nil: it can

	void     bool // nobody takes what arrives
	answered bool // a reset has told the writer so

	limit int // bytes until it is cut; -1: it is not going to be
	cutBy End
}

// A packet is something on its way.
type packet struct {
	at    time.Time // when it arrives
	kind  kind
	bytes []byte // of data
	n     int    // bytes taken
	last  bool   // of a fin: the link lets nothing through behind it
}

type kind uint8

const (
	data  kind = iota
	taken      // the reader of the other direction took bytes
	fin        // the end of the data
	rst
)

func newPair(l *Link, client, server *net.TCPAddr) *pair {
	p := &pair{link: l}
	p.changed.L = &p.mu
	p.ends[Up] = &Conn{pair: p, out: Up, local: client, remote: server}
	p.ends[Down] = &Conn{pair: p, out: Down, local: server, remote: client}
	for d := range p.halves {
		p.halves[d] = half{room: l.config.Window, limit: -1}
	}
	return p
}

// send puts a packet on its way.
func (p *pair) send(d Direction, k packet) {
	k.at = time.Now().Add(p.link.config.Latency)
	p.halves[d].transit = append(p.halves[d].transit, k)
	p.deliver()
}

func (p *pair) setStalled(stalled bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.deliver()
	p.stalled = stalled
	p.deliver()
}

// deliver has all packets arrive whose time has come, the earliest first, and sets the
// timer to the next one.
func (p *pair) deliver() {
	now := time.Now()
	var next time.Time
	for !p.stalled {
		d, ok := p.first()
		if !ok {
			break
		}
		h := &p.halves[d]
		if k := h.transit[0]; k.at.After(now) {
			next = k.at
			break
		} else {
			h.transit = append(h.transit[:0], h.transit[1:]...)
			p.arrive(d, k)
		}
	}
	p.changed.Broadcast()
	switch {
	case next.Equal(p.next):
	case next.IsZero():
		p.timer.Stop()
	case p.timer == nil:
		p.timer = time.AfterFunc(next.Sub(now), func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.next = time.Time{}
			p.deliver()
		})
	default:
		p.timer.Reset(next.Sub(now))
	}
	p.next = next
}

// first returns the direction of the packet that arrives first.
func (p *pair) first() (Direction, bool) {
	up, down := p.halves[Up].transit, p.halves[Down].transit
	switch {
	case len(up) == 0:
		return Down, len(down) > 0
	case len(down) == 0 || !down[0].at.Before(up[0].at):
		return Up, true
	}
	return Down, true
}

// arrive handles a packet that has arrived. Its own replies are not delivered before it returns.
func (p *pair) arrive(d Direction, k packet) {
	h, back := &p.halves[d], &p.halves[1-d]
	switch k.kind {
	case taken:
		back.room += k.n
	case fin:
		if h.readErr == nil {
			h.readErr = io.EOF
		}
		h.void = h.void || k.last
	case rst:
		h.readErr, back.writeErr = syscall.ECONNRESET, syscall.ECONNRESET
		h.void, h.answered = true, true
	case data:
		if h.void {
			if !h.answered {
				h.answered = true
				p.answer(1-d, packet{kind: rst})
			}
			return
		}
		if h.limit >= 0 {
			k.bytes = k.bytes[:min(len(k.bytes), h.limit)]
			h.limit -= len(k.bytes)
		}
		h.unread = append(h.unread, k.bytes...)
		if h.limit == 0 {
			p.cut(d)
		}
	}
}

// answer is send for what happens on the way.
func (p *pair) answer(d Direction, k packet) {
	k.at = time.Now().Add(p.link.config.Latency)
	p.halves[d].transit = append(p.halves[d].transit, k)
}

// cut ends the connection where its link meets the reader of a direction.
func (p *pair) cut(d Direction) {
	h, back := &p.halves[d], &p.halves[1-d]
	h.limit, h.void = -1, true
	if h.readErr == syscall.ECONNRESET {
		return
	}
	if h.cutBy == ByReset {
		h.answered = true
		h.readErr, back.writeErr = syscall.ECONNRESET, syscall.ECONNRESET
		p.answer(1-d, packet{kind: rst})
	} else {
		h.readErr = io.EOF
		p.answer(1-d, packet{kind: fin, last: true})
	}
}
