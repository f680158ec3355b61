package session

import (
	"container/heap"
	"slices"
	"time"

	"github.com/ikornaselur/notiflux"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// clockCheckInterval is how often expiries are compared with the wall clock. Timers use the
// monotonic clock. It ignores changes of the wall clock and stops while the machine sleeps.
const clockCheckInterval = 5 * time.Second

// maxExpired is the number of subscriptions that end before the loop does other work.
const maxExpired = 64

// expiries are the subscriptions that end at the time `until` of their token. Few have one.
type expiries struct {
	bySubscription map[*subscription]*expiry
	queue          expiryQueue
	timer          *time.Timer
	posted         bool // expireDue is posted to go on
}

type expiry struct {
	at    time.Time
	sub   *subscription
	index int // in the queue
}

// expireAt sets when a subscription ends. It replaces an earlier time; the zero time means
// never.
func (g *Group) expireAt(sub *subscription, at time.Time) {
	if d := g.expiries.bySubscription[sub]; d != nil {
		heap.Remove(&g.expiries.queue, d.index)
		delete(g.expiries.bySubscription, sub)
	}
	if at.IsZero() {
		return
	}
	d := &expiry{at: at, sub: sub}
	if g.expiries.bySubscription == nil {
		g.expiries.bySubscription = make(map[*subscription]*expiry)
	}
	g.expiries.bySubscription[sub] = d
	heap.Push(&g.expiries.queue, d)
	g.armExpiry()
}

// armExpiry sets the timer to the first expiry, or to the next check of the wall clock.
func (g *Group) armExpiry() {
	if len(g.expiries.queue) == 0 || g.expiries.posted {
		return
	}
	wait := min(g.expiries.queue[0].at.Sub(g.config.Now()), clockCheckInterval)
	if g.expiries.timer == nil {
		g.expiries.timer = time.AfterFunc(wait, func() { g.loop.Post(g.expireDue) })
		return
	}
	g.expiries.timer.Reset(wait)
}

// expireDue ends up to about maxExpired due subscriptions, and posts itself if more are due.
// All due subscriptions of a stream end together.
func (g *Group) expireDue() {
	g.expiries.posted = false
	now := g.config.Now()
	for ended := 0; ended < maxExpired && g.anyExpired(now); {
		sub := g.expiries.queue[0].sub
		if s := sub.session; s.stream != nil {
			ended += s.expireInStream(now)
		} else {
			s.expire(sub)
			ended++
		}
	}
	if g.anyExpired(now) {
		g.expiries.posted = g.loop.Post(g.expireDue)
		return
	}
	g.armExpiry()
}

// anyExpired reports whether a subscription ends at t or before.
func (g *Group) anyExpired(t time.Time) bool {
	return len(g.expiries.queue) > 0 && !t.Before(g.expiries.queue[0].at)
}

// expire ends a subscription, and tells the client if its dialect has a way to.
func (s *Session) expire(sub *subscription) {
	topic := sub.subscribers.topic.Name()
	s.unsubscribe(topic)
	if s.json != nil {
		s.answer(wire.AppendUnsubscribed(nil, wire.NoID, []notiflux.Topic{topic}, notiflux.TokenExpired))
	}
}

// expireInStream ends all due subscriptions of a stream and returns their number. The
// client gets one event for all: each event carries a stream cursor of all topics.
func (s *Session) expireInStream(now time.Time) int {
	s.updateOffsets() // For the last time with these topics.
	var topics []notiflux.Topic
	for _, sub := range s.subs {
		if d := s.group.expiries.bySubscription[sub]; d != nil && !now.Before(d.at) {
			topics = append(topics, sub.subscribers.topic.Name())
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
		s.closeWhenDelivered(&closeExpired)
	}
	return len(topics)
}

// expiryQueue is a heap, the earliest expiry in front (container/heap).
type expiryQueue []*expiry

func (q expiryQueue) Len() int           { return len(q) }
func (q expiryQueue) Less(i, j int) bool { return q[i].at.Before(q[j].at) }

func (q expiryQueue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

func (q *expiryQueue) Push(x any) {
	d := x.(*expiry)
	d.index = len(*q)
	*q = append(*q, d)
}

func (q *expiryQueue) Pop() any {
	last := len(*q) - 1
	d := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	return d
}
