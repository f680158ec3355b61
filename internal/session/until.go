package session

import (
	"container/heap"
	"slices"
	"time"

	"github.com/ikornaselur/notiflux"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// endsEvery is how often ends are compared with the wall clock. Timers run by the
// monotonic clock, which knows nothing of a wall clock that is set forward, and
// stands still while the machine sleeps.
const endsEvery = 5 * time.Second

// endsPart is after how many subscriptions that end the loop goes on with other work.
const endsPart = 64

// ends are when subscriptions end because their token says so: few of them do.
type ends struct {
	of    map[*subscription]*deadline
	queue deadlines
	timer *time.Timer
	more  bool // endDue is posted to go on
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
	if len(g.ends.queue) == 0 || g.ends.more {
		return
	}
	wait := min(g.ends.queue[0].at.Sub(g.config.Now()), endsEvery)
	if g.ends.timer == nil {
		g.ends.timer = time.AfterFunc(wait, func() { g.loop.Post(g.endDue) })
		return
	}
	g.ends.timer.Reset(wait)
}

// endDue ends subscriptions whose time has come, a part of them: the loop has other
// work between the parts. Those of an event stream end together.
func (g *Group) endDue() {
	g.ends.more = false
	now := g.config.Now()
	for ended := 0; ended < endsPart && g.endsBy(now); {
		sub := g.ends.queue[0].sub
		if s := sub.session; s.set != nil {
			ended += s.expireInStream(now)
		} else {
			s.expire(sub)
			ended++
		}
	}
	if g.endsBy(now) {
		g.ends.more = g.loop.Post(g.endDue)
		return
	}
	g.waitForEnd()
}

// endsBy reports whether there is a subscription that ends at a time, or before.
func (g *Group) endsBy(t time.Time) bool {
	return len(g.ends.queue) > 0 && !t.Before(g.ends.queue[0].at)
}

// expire ends a subscription, and tells the client if its dialect can.
func (s *Session) expire(sub *subscription) {
	topic := sub.feed.topic.Name()
	s.unsubscribe(topic)
	if s.json != nil {
		s.answer(wire.AppendUnsubscribed(nil, wire.NoID, []notiflux.Topic{topic}, notiflux.TokenExpired))
	}
}

// expireInStream ends all subscriptions of an event stream that end by now, and returns
// how many there were. The client is told once: each event has a cursor of all topics.
func (s *Session) expireInStream(now time.Time) int {
	s.locate() // Also in these topics, for the last time.
	var topics []notiflux.Topic
	for _, sub := range s.subs {
		if d := s.group.ends.of[sub]; d != nil && !now.Before(d.at) {
			topics = append(topics, sub.feed.topic.Name())
		}
	}
	slices.Sort(topics)
	for _, topic := range topics {
		s.unsubscribe(topic)
	}
	s.answerInStream(wire.Object{
		Event: "unsubscribed",
		JSON:  wire.AppendUnsubscribed(nil, wire.NoID, topics, notiflux.TokenExpired),
	})
	if len(s.subs) == 0 {
		s.endDelivered(&endExpired)
	}
	return len(topics)
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
