package loop

import "time"

// A priority says in which queue of the loop a connection waits.
type priority uint8

const (
	idle       priority = iota // in no queue
	unfinished                 // it had a turn and has more to do, its socket accepts bytes again, or its tick is due
	collected                  // Config.Collect marked it
	urgent                     // it received bytes or a post
	priorities                 // number of priorities
)

const (
	// slice is how long a loop serves connections before it reads its sockets again, so
	// that a large topic does not delay everything else.
	slice = 5 * time.Millisecond
	// urgentSlice is the part of a slice that urgent connections may use, and also how long
	// a loop reads sockets before that. A flood of commands must not stop delivery.
	urgentSlice = slice / 2
	// unfinishedTurn is the number of unfinished connections that the loop serves between
	// two calls of Collect.
	unfinishedTurn = 64
	// clockEvery is the amount of work after which the loop reads the clock. Serving a
	// connection counts as 1, and so does each read or write and each workBytes of it.
	clockEvery = 64
	workBytes  = 8 << 10
	// collectWork is the work that a call of Collect counts as.
	collectWork = 8
	// minCompact is the number of removed waiters from which on a queue reuses their
	// memory.
	minCompact = 1024

	all = 1 << 62
)

// A queue holds the connections of one priority, first in, first out.
type queue struct {
	waiters []waiter
	begin   int // waiters before this index were removed
}

// A waiter is void once its connection has a newer ticket.
type waiter struct {
	conn   *Conn
	ticket uint32
}

// enqueue adds c to the queue of a priority, unless c is in that queue or a more urgent
// one.
func (c *Conn) enqueue(r priority) {
	if c.gone || c.priority >= r {
		return
	}
	c.priority = r
	c.ticket++
	q := &c.loop.queues[r]
	q.waiters = append(q.waiters, waiter{c, c.ticket})
}

// len returns the number of connections in the queue. It may be too high, because it counts
// void waiters.
func (q *queue) len() int { return len(q.waiters) - q.begin }

// next removes the first connection from the queue, or returns nil.
func (q *queue) next() *Conn {
	for q.begin < len(q.waiters) {
		p := q.waiters[q.begin]
		q.waiters[q.begin] = waiter{}
		q.begin++
		if p.conn.ticket == p.ticket {
			p.conn.priority = idle
			q.compact()
			return p.conn
		}
	}
	q.compact()
	return nil
}

// compact reuses the memory of removed waiters once they are the majority.
func (q *queue) compact() {
	if q.len() == 0 || q.begin >= minCompact && 2*q.begin > len(q.waiters) {
		n := copy(q.waiters, q.waiters[q.begin:])
		clear(q.waiters[n:])
		q.waiters, q.begin = q.waiters[:n], 0
	}
}

// serve serves connections that have something to do, once each, for at most a slice.
// Urgent ones go first. Then unfinished and collected ones take turns. When all collected
// ones are served, Collect marks more.
func (l *Loop) serve() {
	l.collect()
	waiting := l.queues[unfinished].len()
	began := l.clock()
	l.begin(began + urgentSlice)
	l.serveSome(urgent, all)
	l.begin(began + slice)
	// Neither unfinished nor collected connections may fill every slice, so they take turns
	// in going first.
	l.collectedFirst = !l.collectedFirst
	if l.collectedFirst && !l.serveSome(collected, all) {
		return
	}
	for {
		n := min(waiting, unfinishedTurn)
		waiting -= n
		if !l.serveSome(unfinished, n) || !l.serveSome(collected, all) {
			return
		}
		switch {
		case l.more:
			l.collect()
		case waiting == 0:
			l.serveSome(urgent, all)
			return
		}
	}
}

// serveSome serves up to n connections of a priority, and reports whether there is time for
// more.
func (l *Loop) serveSome(r priority, n int) bool {
	for ; n > 0 && !l.outOfTime(); n-- {
		c := l.queues[r].next()
		if c == nil {
			break
		}
		if !c.gone {
			l.flush(c)
		}
	}
	return !l.outOfTime()
}

// collect calls Collect. Connections that become dirty at other times are unfinished.
func (l *Loop) collect() {
	l.marking = collected
	l.more = l.config.Collect()
	l.marking = unfinished
	l.work += collectWork
}

// waiting reports whether the loop has work to do before it waits for events.
func (l *Loop) waiting() bool {
	for i := range l.queues {
		if l.queues[i].len() > 0 {
			return true
		}
	}
	return l.more || l.due
}

// begin sets the time from which on outOfTime reports true.
func (l *Loop) begin(until time.Duration) {
	l.until, l.work, l.late = until, 0, false
}

// outOfTime reports whether the time set by begin is over. It reads the clock only once per
// clockEvery of work.
func (l *Loop) outOfTime() bool {
	if l.work >= clockEvery && !l.late {
		l.work, l.late = 0, l.clock() > l.until
	}
	return l.late
}
