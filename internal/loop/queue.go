package loop

import "time"

// A priority says which of the loop's queues a connection waits in to be served.
type priority uint8

const (
	idle       priority = iota // in no queue
	unfinished                 // it had its turn and has more to do, its socket takes bytes again, or its time has come
	news                       // Collect marked it
	urgent                     // bytes came for it, or a post
	priorities                 // how many there are
)

const (
	// slice is how long a loop serves connections before it looks at its sockets
	// again, so that a large topic does not delay everything else.
	slice = 5 * time.Millisecond
	// urgentSlice is the part of a slice that urgent connections can take from the
	// others, and for how long a loop reads before: a flood of commands must not stop
	// delivery.
	urgentSlice = slice / 2
	// unfinishedTurn is how many unfinished connections are served between two
	// parts of what Collect marks.
	unfinishedTurn = 64
	// clockEvery is after how much work the loop reads the clock. Serving a
	// connection is 1, and so are each read or write and each workBytes of it.
	clockEvery = 64
	workBytes  = 8 << 10
	// collectWork is what a call of Collect counts as.
	collectWork = 8
	// minCompact is the number of removed waiters from which a queue reuses their memory.
	minCompact = 1024

	all = 1 << 62
)

// A queue holds the connections of one priority, first come, first served.
type queue struct {
	waiters []waiter
	begin   int // waiters before it are removed
}

// A waiter is void once its connection has a newer ticket.
type waiter struct {
	conn   *Conn
	ticket uint32
}

// enqueue puts c into the queue of a priority, unless it is in that one or in a more urgent one.
func (c *Conn) enqueue(r priority) {
	if c.gone || c.priority >= r {
		return
	}
	c.priority = r
	c.ticket++
	q := &c.loop.queues[r]
	q.waiters = append(q.waiters, waiter{c, c.ticket})
}

// len returns how many connections are in the queue, or some more.
func (q *queue) len() int { return len(q.waiters) - q.begin }

// next removes the first connection from the queue, nil if there is none.
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

// serve serves connections that have something to do, each once, but for as long as a
// slice at most. Urgent ones go first. Then unfinished ones and those with news take
// turns, and Collect marks more when all that it marked are served.
func (l *Loop) serve() {
	l.collect()
	waiting := l.queues[unfinished].len()
	began := l.clock()
	l.begin(began + urgentSlice)
	l.serveSome(urgent, all)
	l.begin(began + slice)
	// Unfinished ones that would fill every slice must not keep news out, nor the other
	// way round: in every second turn news goes first.
	l.newsFirst = !l.newsFirst
	if l.newsFirst && !l.serveSome(news, all) {
		return
	}
	for {
		n := min(waiting, unfinishedTurn)
		waiting -= n
		if !l.serveSome(unfinished, n) || !l.serveSome(news, all) {
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

// serveSome serves up to n connections of a priority, and reports whether there is time
// for more.
func (l *Loop) serveSome(r priority, n int) bool {
	for ; n > 0 && !l.over(); n-- {
		c := l.queues[r].next()
		if c == nil {
			break
		}
		if !c.gone {
			l.flush(c)
		}
	}
	return !l.over()
}

// collect has Collect mark connections. From then on, what becomes dirty waits for
// those that are.
func (l *Loop) collect() {
	l.marking = news
	l.more = l.config.Collect()
	l.marking = unfinished
	l.work += collectWork
}

// waiting reports whether there is something to do without waiting for news.
func (l *Loop) waiting() bool {
	for i := range l.queues {
		if l.queues[i].len() > 0 {
			return true
		}
	}
	return l.more || l.due
}

// begin has over report true from a time on.
func (l *Loop) begin(until time.Duration) {
	l.until, l.work, l.late = until, 0, false
}

// over reports whether the time is over that the last begin set. It reads the clock
// only once some work was done since it did.
func (l *Loop) over() bool {
	if l.work >= clockEvery && !l.late {
		l.work, l.late = 0, l.clock() > l.until
	}
	return l.late
}
