package topic

import (
	"strings"

	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// presencePrefix begins the names of presence topics. No valid topic name begins with it.
const presencePrefix = "\x00"

// PresenceTopic returns the name of the topic that holds the presence events of the topic
// name. Cursors read its log like any other, so slow readers cost no more. Each node has
// its own log of a presence topic, which has no tombstone. While the topic is live, a broker
// of several nodes keeps this node's members of the topic name up to date.
func PresenceTopic(name pubsub.Topic) pubsub.Topic { return presencePrefix + name }

// IsPresenceTopic reports whether name is a result of PresenceTopic.
func IsPresenceTopic(name pubsub.Topic) bool {
	return strings.HasPrefix(string(name), presencePrefix)
}

// Watched returns the topic whose presence events are in the presence topic name. It returns
// false if name is not a presence topic.
func Watched(name pubsub.Topic) (watched pubsub.Topic, ok bool) {
	text, ok := strings.CutPrefix(string(name), presencePrefix)
	return pubsub.Topic(text), ok
}

// AppendPresence appends events, in order, to the presence topic of the topic name, and
// wakes its listeners. Without listeners it drops the events. The offsets of events mean
// nothing outside their log.
func (s *Topics) AppendPresence(name pubsub.Topic, events ...*pubsub.PresenceEvent) {
	t := s.live(PresenceTopic(name))
	if t == nil {
		return
	}
	now := s.config.Now()
	s.extend(t, func() bool {
		for _, e := range events {
			position := t.log.Head()
			position.Offset++
			t.log.Append(pubsub.Message{Topic: t.name, Position: position, Time: now, Presence: e})
		}
		t.log.Expire(now)
		return true
	})
	s.shrink()
}
