package session

import (
	"container/heap"
	"slices"
	"time"

	"github.com/ikornaselur/notiflux"
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
func (g *Group) expireDue() {
	g.expiries.posted = false
	now := g.config.Now()
	for ended := 0; ended < maxExpired && g.anyExpired(now); {
		ended += g.expireWith(g.expiries.queue[0].sub, now)
	}
	if g.anyExpired(now) {
		g.expiries.posted = g.loop.Post(g.expireDue)
		return
	}
	g.armExpiry()
}

// expireWith ends a due subscription and returns how many it ended. All due subscriptions
// of a stream end together, since each of its events has a stream cursor of all topics.
func (g *Group) expireWith(sub *subscription, now time.Time) int {
	s := sub.session
	topics := []notiflux.Topic{sub.name()}
	if s.group.formats[s.format].endpoint.isStream() {
		topics = topics[:0]
		for _, sub := range s.subs.all {
			if d := g.expiries.bySubscription[sub]; d != nil && !now.Before(d.at) {
				topics = append(topics, sub.name())
			}
		}
		slices.Sort(topics)
	}
	for _, name := range topics {
		s.Unsubscribe(name)
	}
	s.dialect.Unsubscribed(s, topics, notiflux.TokenExpired)
	return len(topics)
}

// anyExpired reports whether a subscription ends at t or before.
func (g *Group) anyExpired(t time.Time) bool {
	return len(g.expiries.queue) > 0 && !t.Before(g.expiries.queue[0].at)
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
