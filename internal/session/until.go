package session

import (
	"container/heap"
	"time"

	"github.com/ikornaselur/notiflux"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// endsEvery is how often ends are compared with the wall clock. Timers run by the
// monotonic clock, which knows nothing of a wall clock that is set forward, and
// stands still while the machine sleeps.
const endsEvery = 5 * time.Second

// ends are when subscriptions end because their token says so: few of them do.
type ends struct {
	of    map[*subscription]*deadline
	queue deadlines
	timer *time.Timer
}

type deadline struct {
	at    time.Time
	sub   *subscription
	index int // in the queue
}

// endAt has a subscription end at a time, and not at the one before; the zero time
// is never.
func (g *Group) endAt(sub *subscription, at time.Time) {
	if d := g.ends.of[sub]; d != nil {
		heap.Remove(&g.ends.queue, d.index)
		delete(g.ends.of, sub)
	}
	if at.IsZero() {
		return
	}
	d := &deadline{at: at, sub: sub}
	if g.ends.of == nil {
		g.ends.of = make(map[*subscription]*deadline)
	}
	g.ends.of[sub] = d
	heap.Push(&g.ends.queue, d)
	g.waitForEnd()
}

// waitForEnd sets the timer to the first end, or to the next look at the clock.
func (g *Group) waitForEnd() {
	if len(g.ends.queue) == 0 {
		return
	}
	wait := min(g.ends.queue[0].at.Sub(g.config.Now()), endsEvery)
	if g.ends.timer == nil {
		g.ends.timer = time.AfterFunc(wait, func() { g.loop.Post(g.endDue) })
		return
	}
	g.ends.timer.Reset(wait)
}

// endDue ends the subscriptions whose time has come.
func (g *Group) endDue() {
	for now := g.config.Now(); len(g.ends.queue) > 0 && !now.Before(g.ends.queue[0].at); {
		sub := g.ends.queue[0].sub
		sub.session.expire(sub)
	}
	g.waitForEnd()
}

// expire ends a subscription, and tells the client if its dialect can.
func (s *Session) expire(sub *subscription) {
	topic := sub.feed.topic.Name()
	if s.set != nil {
		s.locate() // Also in this topic, for the last time.
	}
	s.unsubscribe(topic)
	object := wire.AppendUnsubscribed(nil, wire.NoID, []notiflux.Topic{topic}, notiflux.TokenExpired)
	switch {
	case s.json != nil:
		s.answer(object)
	case s.set != nil:
		s.answerInStream(wire.Object{Event: "unsubscribed", JSON: object})
		if len(s.subs) == 0 {
			s.endDelivered(&endExpired)
		}
	}
}

// deadlines is a heap, the first one in front (container/heap).
type deadlines []*deadline

func (q deadlines) Len() int           { return len(q) }
func (q deadlines) Less(i, j int) bool { return q[i].at.Before(q[j].at) }

func (q deadlines) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

func (q *deadlines) Push(x any) {
	d := x.(*deadline)
	d.index = len(*q)
	*q = append(*q, d)
}

func (q *deadlines) Pop() any {
	last := len(*q) - 1
	d := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	return d
}
