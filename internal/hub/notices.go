package hub

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
func (h *Hub) Notify(name notiflux.Topic, notices ...[]byte) { h.tell(name, false, notices) }

// NotifyWhole is Notify of a notice that replaces all notices about the topic
// before it. A listener that is too far behind may go on from there.
func (h *Hub) NotifyWhole(name notiflux.Topic, notice []byte) { h.tell(name, true, [][]byte{notice}) }

func (h *Hub) tell(name notiflux.Topic, whole bool, notices [][]byte) {
	h.mu.RLock()
	t := h.topics[Notices(name)]
	h.mu.RUnlock()
	if t == nil {
		return
	}
	for _, l := range h.notify(t, whole, notices) {
		l.Wake()
	}
	h.shrink()
}

func (h *Hub) notify(t *Topic, whole bool, notices [][]byte) []Listener {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.forgotten {
		return nil
	}
	now := h.config.Now()
	h.changeLocked(t, func() {
		for _, data := range notices {
			body := notiflux.Body{Data: data, JSON: true, Notice: true, Whole: whole}
			t.log.Append(notiflux.Message{Topic: t.name, Position: h.Position(t.log.Head() + 1), Time: now, Body: body})
		}
		t.log.Expire(now)
	})
	h.queueLocked(t)
	return t.listeners.give()
}
