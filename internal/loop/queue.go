package loop

import "time"

// A rank says which of the loop's queues a connection waits in to be served.
type rank uint8

const (
	idle       rank = iota // in no queue
	unfinished             // it had its turn and has more to do, its socket takes bytes again, or its time has come
	news                   // Collect marked it
	urgent                 // bytes came for it, or a post
	ranks                  // how many there are
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
	// minCompact is after how many places that are taken a queue reuses their room.
	minCompact = 1024

	all = 1 << 62
)

// A queue holds the connections of one rank, first come, first served.
type queue struct {
	places []place
	begin  int // places before it are taken
}

// A place in a queue is void once its connection has another ticket.
type place struct {
	conn   *Conn
	ticket uint32
}

// enqueue puts c into the queue of a rank, unless it is in that one or in a better one.
func (c *Conn) enqueue(r rank) {
	if c.gone || c.rank >= r {
		return
	}
	c.rank = r
	c.ticket++
	q := &c.loop.queues[r]
	q.places = append(q.places, place{c, c.ticket})
}

// len returns how many connections are in the queue, or some more.
func (q *queue) len() int { return len(q.places) - q.begin }

// next removes the first connection from the queue, nil if there is none.
func (q *queue) next() *Conn {
	for q.begin < len(q.places) {
		p := q.places[q.begin]
		q.places[q.begin] = place{}
		q.begin++
		if p.conn.ticket == p.ticket {
			p.conn.rank = idle
			q.compact()
			return p.conn
		}
	}
	q.compact()
	return nil
}

// compact reuses the room of places that are taken, once they are most of all.
func (q *queue) compact() {
	if q.len() == 0 || q.begin >= minCompact && 2*q.begin > len(q.places) {
		n := copy(q.places, q.places[q.begin:])
		clear(q.places[n:])
		q.places, q.begin = q.places[:n], 0
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

// serveSome serves up to n connections of a rank, and reports whether there is time
// for more.
func (l *Loop) serveSome(r rank, n int) bool {
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
