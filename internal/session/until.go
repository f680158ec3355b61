package session

import (
	"slices"
	"time"

	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// expireWith ends a subscription at the time `until` of its token, and returns how many it
// ended. All due subscriptions of a stream end together, because each event of a stream has a
// cursor of all topics.
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
