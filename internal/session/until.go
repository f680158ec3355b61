package session

import (
	"slices"
	"time"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// clockCheckInterval is how often expiries are compared with the wall clock. Timers use the
// monotonic clock, which ignores changes of the wall clock and stops while the machine
// sleeps.
const clockCheckInterval = 5 * time.Second

// maxExpired is the number of subscriptions that end before the loop does other work.
const maxExpired = 64

// expiries are the subscriptions that end at the time `until` of their token. Few have one.
type expiries struct {
	auth.Expiries[*subscription]
	timer  *time.Timer
	posted bool // expireDue was posted to continue
}

// expireAt sets when a subscription ends. It replaces an earlier time. The zero time means
// never.
func (g *Group) expireAt(sub *subscription, at time.Time) {
	g.expiries.Set(sub, at)
	if !at.IsZero() {
		g.armExpiry()
	}
}

// armExpiry sets the timer to the first expiry, or to the next check of the wall clock.
func (g *Group) armExpiry() {
	_, at, any := g.expiries.First()
	if !any || g.expiries.posted {
		return
	}
	wait := min(at.Sub(g.config.Now()), clockCheckInterval)
	if g.expiries.timer == nil {
		g.expiries.timer = time.AfterFunc(wait, func() { g.loop.Post(g.expireDue) })
		return
	}
	g.expiries.timer.Reset(wait)
}

// expireDue ends about maxExpired due subscriptions, and posts itself if more are due.
func (g *Group) expireDue() {
	g.expiries.posted = false
	now, ended := g.config.Now(), 0
	for {
		sub, at, any := g.expiries.First()
		switch {
		case !any || now.Before(at):
			g.armExpiry()
			return
		case ended >= maxExpired:
			g.expiries.posted = g.loop.Post(g.expireDue)
			return
		}
		ended += g.expireWith(sub, now)
	}
}

// expireWith ends a due subscription and returns how many it ended. All due subscriptions
// of a stream end together, because each event of a stream has a cursor of all topics.
func (g *Group) expireWith(sub *subscription, now time.Time) int {
	s := sub.session
	topics := []pubsub.Topic{sub.name()}
	if s.group.formats[s.format].endpoint.isStream() {
		topics = topics[:0]
		for _, sub := range s.subs.all {
			if g.expiries.Ended(sub, now) {
				topics = append(topics, sub.name())
			}
		}
		slices.Sort(topics)
	}
	for _, name := range topics {
		s.Unsubscribe(name)
	}
	s.dialect.Unsubscribed(s, topics, pubsub.TokenExpired)
	return len(topics)
}
