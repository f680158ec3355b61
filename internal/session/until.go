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
	if s.group.IsStream(s) {
		topics = topics[:0]
		for _, sub := range s.subs.all {
			if g.expiries.Ended(sub, now) {
				topics = append(topics, sub.name())
			}
		}
	}
	return endTopics(s, topics, pubsub.TokenExpired)
}

// endTopics ends the subscriptions to topics, tells the client why, and returns how many.
func endTopics(s *Session, topics []pubsub.Topic, why pubsub.Code) int {
	slices.Sort(topics)
	for _, name := range topics {
		s.Unsubscribe(name)
	}
	if len(topics) > 0 {
		s.dialect.Unsubscribed(s, topics, why)
	}
	return len(topics)
}
