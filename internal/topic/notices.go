package topic

import (
	"strings"

	"github.com/ikornaselur/notiflux"
)

// noticesPrefix begins no name that a client can use.
const noticesPrefix = "\x00"

// Notices returns the topic that carries notices about a topic: events that nobody
// published, such as that a member joined. Listeners read its log through cursors, like
// any other.
func Notices(name notiflux.Topic) notiflux.Topic { return noticesPrefix + name }

// IsNotices reports whether a topic carries notices about another one.
func IsNotices(name notiflux.Topic) bool { return strings.HasPrefix(string(name), noticesPrefix) }

// Notify appends notices about a topic to its log of notices, in order, and wakes the
// listeners. Without listeners it drops the notices. Their offsets count in that log only.
func (s *Topics) Notify(name notiflux.Topic, notices ...[]byte) { s.tell(name, false, notices) }

// NotifyWhole is Notify with one notice that supersedes all notices before it. A reader
// that is too far behind may skip to it.
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
	if t.dropped {
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
