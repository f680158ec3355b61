package memnet

import (
	"net"
	"sync"
	"time"
)

// A Listener accepts connections of a [Network]. Its queue has no limit. Safe for
// concurrent use.
type Listener struct {
	// Immutable after Network.Listen.
	network *Network
	addr    *net.TCPAddr

	mu sync.Mutex
	// Guarded by mu.
	changed  sync.Cond // the queue, the deadline, or whether it is closed
	queue    []*Conn
	closed   bool
	deadline deadline
}

// Accept returns the next connection. It waits until there is one, the listener
// closes, or the deadline passes.
func (l *Listener) Accept() (net.Conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		switch {
		case l.closed:
			return nil, l.error(net.ErrClosed)
		case l.deadline.passed():
			return nil, l.error(errDeadline)
		case len(l.queue) > 0:
			c := l.queue[0]
			l.queue = l.queue[1:]
			return c, nil
		}
		l.changed.Wait()
	}
}

func (l *Listener) error(err error) error {
	return &net.OpError{Op: "accept", Net: "tcp", Addr: l.addr, Err: err}
}

// Queued reports whether a connection waits to be accepted.
func (l *Listener) Queued() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.queue) > 0
}

// give appends a connection to the queue, and reports whether the listener is open.
func (l *Listener) give(c *Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	l.queue = append(l.queue, c)
	l.changed.Broadcast()
	return true
}

// SetDeadline has Accept fail from a time on; the zero time is never.
func (l *Listener) SetDeadline(t time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return l.error(net.ErrClosed)
	}
	l.deadline.set(t, &l.changed)
	return nil
}

// Close ends the listener and resets the connections in its queue. Its address is
// free at once.
func (l *Listener) Close() error {
	l.network.mu.Lock()
	if l.network.listeners[l.addr.String()] == l {
		delete(l.network.listeners, l.addr.String())
	}
	l.network.mu.Unlock()

	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return l.error(net.ErrClosed)
	}
	l.closed = true
	l.deadline.set(time.Time{}, &l.changed)
	refused := l.queue
	l.queue = nil
	l.mu.Unlock()
	for _, c := range refused {
		c.Reset()
	}
	return nil
}

// Addr returns the address, a *[net.TCPAddr].
func (l *Listener) Addr() net.Addr { return l.addr }

// A deadline wakes those that wait on a condition. Its methods are called with the
// lock of the condition held.
type deadline struct {
	at    time.Time
	timer *time.Timer
}

// passed reports whether the deadline is over. It never is without a time.
func (d *deadline) passed() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }

// set replaces the time and wakes those that wait on changed, now and when it has come.
func (d *deadline) set(at time.Time, changed *sync.Cond) {
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	d.at = at
	if wait := time.Until(at); !at.IsZero() && wait > 0 {
		d.timer = time.AfterFunc(wait, func() {
			changed.L.Lock()
			defer changed.L.Unlock()
			changed.Broadcast()
		})
	}
	changed.Broadcast()
}
