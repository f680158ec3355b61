package listen

import (
	"cmp"
	"slices"
	"time"
)

const (
	// crowdedIdle is how long an HTTP connection may be idle while the listener is crowded:
	// fewer than a tenth of its connections are free.
	crowdedIdle = 5 * time.Second
	// crowdedEvery is how often the sweep then looks for idle connections.
	crowdedEvery = time.Second
)

// crowded starts the sweep of idle connections if the listener is crowded. out says that
// the process has run out of descriptors; then the sweep runs in any case.
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

// sweep closes connections that have been idle for long, the longest first, until half of
// all are free: if it freed only a tenth, new clients would soon fill it again. It runs
// again while the listener is crowded.
func (l *Limiter) sweep() {
	for _, i := range l.idlest() {
		i.close()
	}
}

// An idleConn is an idle connection and the time at which it became idle.
type idleConn struct {
	conn  *conn
	since int64
}

// close closes the connection, unless a request has arrived in the meantime.
func (i idleConn) close() {
	if i.conn.idle.CompareAndSwap(i.since, ending) {
		i.conn.Close()
	}
}

// idlest returns the connections that the sweep closes.
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
