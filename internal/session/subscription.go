package session

import (
	"slices"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/fanout"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/topic"
)

// topicSubscribers are the subscriptions of a group to one topic.
type topicSubscribers struct {
	fanout.Topic[*subscription]
	topic *topic.Topic
	hash  uint64 // wire.TopicHash of the topic; 0 until a stream needs it
}

// A subscription is the cursor of one session in one topic.
type subscription struct {
	session     *Session
	subscribers *topicSubscribers
	cursor      topic.Cursor
	nextDirty   *subscription
	claims      *auth.Claims // of the token that it was made with, last; nil for presence events
	index       int32        // in topicSubscribers
	cursorIndex uint8        // index in streamCursor.places; only for streams
	dirty       bool         // in the list subscriptions.dirty
	flags       uint8        // latest, asked
	skips       bool         // in Group.skips: it has skipped messages that were not reported to the dialect yet
}

const (
	latest = 1 << iota // mode latest: a client that is behind gets only the newest message
	asked              // the client gave the position where it began
)

func (sub *subscription) set(flag uint8, on bool) {
	if sub.flags &^= flag; on {
		sub.flags |= flag
	}
}

// Turn implements [fanout.Taker].
func (sub *subscription) Turn() (next **subscription, listed *bool) {
	return &sub.nextDirty, &sub.dirty
}

// name returns the topic of a subscription.
func (sub *subscription) name() pubsub.Topic { return sub.subscribers.topic.Name() }

func (sub *subscription) lag() uint64 { return sub.subscribers.topic.Lag(sub.cursor) }

// A skip says which messages a client in mode latest does not get.
type skip struct {
	from pubsub.Position // messages after this position
	gap  pubsub.Position // position after the last marker among them; zero: no marker
}

// delivered returns the position up to which the client has everything, apart from reported
// skips.
func (sub *subscription) delivered() pubsub.Position {
	if sub.skips {
		return sub.session.group.skips[sub].from
	}
	return sub.cursor.Position()
}

// skip moves the cursor to the newest message.
func (sub *subscription) skip() {
	newest := sub.subscribers.topic.Newest(sub.cursor)
	if newest == sub.cursor {
		return
	}
	k := sub.session.group.skips[sub]
	if !sub.skips {
		k.from = sub.cursor.Position()
	}
	if gap, ok := sub.cursor.LastMarker(newest); ok {
		k.gap = gap
	}
	sub.session.group.skips[sub] = k
	sub.cursor, sub.skips = newest, true
}

// reportSkipped reports a skip to the dialect: first the last marker, then the messages after
// it. The dialect may end the subscription.
func (sub *subscription) reportSkipped(s *Session) {
	k := s.group.skips[sub]
	if k.gap != (pubsub.Position{}) {
		k.from = k.gap
		s.dialect.Gap(s, sub.name(), k.gap)
	}
	delete(s.group.skips, sub)
	sub.skips = false
	if to := sub.cursor.Position(); sub.dirty && to != k.from {
		s.dialect.Skipped(s, sub.name(), k.from, to)
	}
}

// subscriptions are the subscriptions of one session.
type subscriptions struct {
	all   []*subscription
	dirty fanout.Turns[*subscription] // those with unread messages
}

// find returns the subscription of s to a topic, or nil.
func (l *subscriptions) find(s *Session, name pubsub.Topic) *subscription {
	// Walk the shorter list: the subscriptions of the topic, or those of the session.
	t := s.group.subscribers[name]
	if t == nil {
		return nil
	}
	if subs := t.All(); len(subs) < len(l.all) {
		for _, sub := range subs {
			if sub.session == s {
				return sub
			}
		}
		return nil
	}
	for _, sub := range l.all {
		if sub.subscribers == t {
			return sub
		}
	}
	return nil
}

// presenceOffset returns how far s is in the presence events of a topic, or 0.
func (l *subscriptions) presenceOffset(s *Session, name pubsub.Topic) uint64 {
	if sub := l.find(s, topic.PresenceTopic(name)); sub != nil {
		return sub.cursor.Position().Offset
	}
	return 0
}

// remove removes sub from all lists.
func (l *subscriptions) remove(sub *subscription) {
	l.dirty.Remove(sub)
	if i := slices.Index(l.all, sub); i >= 0 {
		last := len(l.all) - 1
		l.all[i], l.all[last] = l.all[last], nil
		l.all = l.all[:last]
	}
}

// markDirty appends sub to the list of subscriptions with unread messages, unless sub is in
// it.
func (l *subscriptions) markDirty(sub *subscription) {
	if l.dirty.Push(sub) {
		sub.session.conn.Dirty()
	}
}

// rotate chooses the topic that is written first. Without it, a client whose connection
// always breaks early would get the same topics each time. It does not use the random source
// of the group: the bytes that a client gets must not depend on which other clients the loop
// serves.
func (l *subscriptions) rotate(connection pubsub.Connection) {
	l.dirty.Rotate(func(n int) int {
		return int(fanout.Mix(uint64(connection)+l.dirty.First.cursor.Position().Offset*0x9e3779b97f4a7c15) % uint64(n))
	})
}

// jumpToSnapshot moves the cursors for presence events to the newest snapshot of each
// topic, which supersedes the events before it. It returns the number of bytes by which the
// lag decreases. The snapshot itself does not count, because a list of members can exceed
// the allowed lag.
func (l *subscriptions) jumpToSnapshot() (less uint64) {
	for sub := l.dirty.First; sub != nil; sub = sub.nextDirty {
		lag := sub.lag()
		if lag == 0 || !topic.IsPresenceTopic(sub.name()) {
			continue
		}
		if at, ok := fanout.NewestSnapshot(sub.cursor); ok {
			sub.cursor = at
			_, behind, _ := at.Next()
			less += lag - sub.subscribers.topic.Lag(behind)
		}
	}
	return less
}
