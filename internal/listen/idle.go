package listen

import (
	"cmp"
	"slices"
	"time"
)

const (
	// crowdedIdle is how long an HTTP connection may be idle while fewer than a tenth
	// of the connections are free.
	crowdedIdle = 5 * time.Second
	// crowdedEvery is how often the sweep looks for idle connections then.
	crowdedEvery = time.Second
)

// crowded has idle connections closed early while few are free. out says that
// descriptors have run out: then idle connections are closed in any case.
func (l *Limiter) crowded(out bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.out = l.out || out
	if l.sweeper == nil && (l.out || l.crowdedLocked()) {
		l.sweeper = time.AfterFunc(crowdedEvery, l.sweep)
	}
}

// crowdedLocked reports whether fewer than a tenth of the connections are free.
func (l *Limiter) crowdedLocked() bool { return l.open > l.config.Max-l.config.Max/10 }

// sweep closes connections that have been idle for long, the oldest first, until half
// of all are free: a tenth would be gone again with the next clients. It runs again
// while few are free.
func (l *Limiter) sweep() {
	for _, i := range l.idlest() {
		i.close()
	}
}

// An idleConn is a connection, and since when it was idle.
type idleConn struct {
	conn  *conn
	since int64
}

// close closes the connection, unless a request came on it in the meantime.
func (i idleConn) close() {
	if i.conn.idle.CompareAndSwap(i.since, ending) {
		i.conn.Close()
	}
}

// idlest returns the connections for the sweep.
func (l *Limiter) idlest() []idleConn {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.out && !l.crowdedLocked() || l.draining.Load() {
		l.sweeper = nil
		return nil
	}
	excess := l.open - l.config.Max/2
	if l.out {
		excess, l.out = max(excess, l.open/2), false
	}
	l.sweeper.Reset(crowdedEvery)
	before := int64(time.Since(l.start) - crowdedIdle)
	var idle []idleConn
	for c := range l.conns {
		if at := c.idle.Load(); at > 0 && at <= before && c.spare == nil {
			idle = append(idle, idleConn{c, at})
		}
	}
	slices.SortFunc(idle, func(a, b idleConn) int { return cmp.Compare(a.since, b.since) })
	return idle[:min(excess, len(idle))]
}
