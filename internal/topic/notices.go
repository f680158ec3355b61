package topic

import (
	"strings"

	"github.com/ikornaselur/notiflux"
)

// noticesPrefix begins the name of no topic that anybody can publish to.
const noticesPrefix = "\x00"

// Notices returns the topic that carries notices about a topic: what nobody
// published, such as that a member joins. A listener reads that log by a cursor, as it
// reads any other, so a slow one costs no more.
func Notices(name notiflux.Topic) notiflux.Topic { return noticesPrefix + name }

// IsNotices reports whether a topic is one that carries notices.
func IsNotices(name notiflux.Topic) bool { return strings.HasPrefix(string(name), noticesPrefix) }

// Notify gives notices about a topic to its listeners, in order. If there are none,
// the notices are dropped. Their offsets mean nothing outside of their log.
func (s *Topics) Notify(name notiflux.Topic, notices ...[]byte) { s.tell(name, false, notices) }

// NotifyWhole is Notify of a notice that replaces all notices about the topic
// before it. A listener that is too far behind may go on from there.
func (s *Topics) NotifyWhole(name notiflux.Topic, notice []byte) {
	s.tell(name, true, [][]byte{notice})
}

func (s *Topics) tell(name notiflux.Topic, whole bool, notices [][]byte) {
	s.mu.RLock()
	t := s.topics[Notices(name)]
	s.mu.RUnlock()
	if t == nil {
		return
	}
	for _, l := range s.notify(t, whole, notices) {
		l.Wake()
	}
	s.shrink()
}

func (s *Topics) notify(t *Topic, whole bool, notices [][]byte) []Listener {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.forgotten {
		return nil
	}
	now := s.config.Now()
	s.changeLocked(t, func() {
		for _, data := range notices {
			body := notiflux.Body{Data: data, JSON: true, PresenceEvent: true, Snapshot: whole}
			t.log.Append(notiflux.Message{Topic: t.name, Position: s.Position(t.log.Head() + 1), Time: now, Body: body})
		}
		t.log.Expire(now)
	})
	s.queueLocked(t)
	return t.listeners.give()
}
