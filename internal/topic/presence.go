package topic

import (
	"strings"

	"github.com/ikornaselur/notiflux"
)

// presencePrefix begins the names of presence topics. No valid topic name begins with it.
const presencePrefix = "\x00"

// PresenceTopic returns the name of the topic that holds the presence events of topic name.
// Its log is read by cursors like any other, so a slow reader costs no more.
func PresenceTopic(name notiflux.Topic) notiflux.Topic { return presencePrefix + name }

// IsPresenceTopic reports whether name is the result of a call of PresenceTopic.
func IsPresenceTopic(name notiflux.Topic) bool {
	return strings.HasPrefix(string(name), presencePrefix)
}

// AppendPresence appends events, in order, to the presence topic of a topic. Without
// listeners it drops them. Each event is a JSON object as clients get it. Topics owns the
// slices afterwards. The offsets of events mean nothing outside their log.
func (s *Topics) AppendPresence(name notiflux.Topic, events ...[]byte) {
	s.appendPresence(name, false, events)
}

// AppendPresenceSnapshot is AppendPresence for one event that supersedes all earlier ones.
// A reader that is too far behind may continue from it.
func (s *Topics) AppendPresenceSnapshot(name notiflux.Topic, event []byte) {
	s.appendPresence(name, true, [][]byte{event})
}

func (s *Topics) appendPresence(name notiflux.Topic, snapshot bool, events [][]byte) {
	s.mu.RLock()
	t := s.topics[PresenceTopic(name)]
	s.mu.RUnlock()
	if t == nil {
		return
	}
	for _, l := range s.appendEvents(t, snapshot, events) {
		l.Wake()
	}
	s.shrink()
}

func (s *Topics) appendEvents(t *Topic, snapshot bool, events [][]byte) []Listener {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.dropped {
		return nil
	}
	now := s.config.Now()
	s.changeLocked(t, func() {
		for _, data := range events {
			body := notiflux.Body{Data: data, JSON: true, PresenceEvent: true, Snapshot: snapshot}
			t.log.Append(notiflux.Message{Topic: t.name, Position: s.Position(t.log.Head() + 1), Time: now, Body: body})
		}
		t.log.Expire(now)
	})
	s.queueLocked(t)
	return t.listeners.give()
}
