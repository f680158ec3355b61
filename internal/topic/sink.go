package topic

import (
	"time"

	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// Open makes a topic live with an empty log that begins after head, and pins point in the
// same step. If the topic is already live, or Config.Heads has its head, head is ignored.
// It fails with OverCapacity if the topic limit is reached.
func (s *Topics) Open(name pubsub.Topic, head pubsub.Position, point ResumePoint) (Pin, error) {
	if name.IsPattern() {
		return openPattern(s, name, head, point)
	}
	t, err := s.locked(name, head)
	if err != nil {
		return Pin{}, err
	}
	defer t.mu.Unlock()
	return s.pinLocked(t, point), nil
}

// Pin pins point in a topic. It returns false if the topic is not live.
func (s *Topics) Pin(name pubsub.Topic, point ResumePoint) (Pin, bool) {
	t := s.live(name)
	if t == nil {
		return Pin{}, false
	}
	defer t.mu.Unlock()
	return s.pinLocked(t, point), true
}

// Append appends messages, whose positions and times are fixed, to the logs of their
// topics and of the patterns that match these, in order, and then wakes the listeners: once for
// each run of messages of a topic, so a broker should group messages by topic. It drops messages
// of topics that are not live. It skips a message at or below the head of a log, or in another
// epoch, so with patterns the order is that of all offsets.
func (s *Topics) Append(ms []pubsub.Message) {
	now := s.config.Now()
	var few [8][]Listener
	woken := few[:0]
	for len(ms) > 0 {
		n := 1
		for n < len(ms) && ms[n].Topic == ms[0].Topic {
			n++
		}
		woken = appendRun(s, ms[:n], now, woken)
		ms = ms[n:]
	}
	for _, listeners := range woken {
		wake(listeners)
	}
	s.shrink()
}

// appendRun appends messages of one topic, and the listeners to wake to woken.
func appendRun(s *Topics, ms []pubsub.Message, now time.Time, woken [][]Listener) [][]Listener {
	t := s.live(ms[0].Topic)
	if t == nil {
		t = &Topic{name: ms[0].Topic, dropped: true} // Patterns may match it.
		t.mu.Lock()
	}
	defer t.mu.Unlock()
	s.patterns.order.Lock()
	defer s.patterns.order.Unlock()
	patterns := s.patterns.live.Of(string(t.name), &t.patterns)
	for i := range ms {
		var e *Entry
		if !t.dropped {
			e = t.log.tail
			woken = append(woken, s.extendLocked(t, func() bool { return s.appendLocked(t, ms[i:i+1], now) }))
		}
		if len(patterns) > 0 && (e == nil || e == t.log.tail) {
			e = &Entry{message: ms[i]}
		}
		for _, p := range patterns {
			woken = append(woken, p.copy(s, e, now))
		}
	}
	return woken
}

// Patterns returns the pattern topics that are live, in no order.
func (s *Topics) Patterns() []*Topic { return s.patterns.live.All() }

// appendLocked appends messages to the log of their topic, and reports whether it appended any.
func (s *Topics) appendLocked(t *Topic, ms []pubsub.Message, now time.Time) bool {
	appended := uint64(0)
	for _, m := range ms {
		if head := t.log.Head(); m.Position.Epoch == head.Epoch && m.Position.Offset > head.Offset {
			m.Topic = t.name // Messages of a topic share the string.
			t.log.Append(m)
			appended++
		}
	}
	t.log.Expire(now)
	s.appended.Add(appended)
	return appended > 0
}

// extend calls add, which adds entries to the log of t, and unlocks t. If add returns true,
// extend then wakes the listeners.
func (s *Topics) extend(t *Topic, add func() bool) {
	woken := s.extendLocked(t, add)
	t.mu.Unlock()
	wake(woken)
}

// wake wakes listeners. It is called without a lock.
func wake(listeners []Listener) {
	for _, l := range listeners {
		l.Wake()
	}
}

func (s *Topics) extendLocked(t *Topic, add func() bool) (woken []Listener) {
	s.changeLocked(t, func() {
		if add() {
			woken = t.listeners.give()
		}
	})
	s.queueLocked(t)
	return woken
}

// Gap appends a marker to the log of a topic and wakes its listeners: either messages
// between the head and to are missing, or to begins a new epoch. The log continues after
// to. Gap does nothing if to has the epoch of the head and is not beyond it, or if the
// topic is not live.
func (s *Topics) Gap(name pubsub.Topic, to pubsub.Position) {
	t := s.live(name)
	if t == nil {
		return
	}
	s.extend(t, func() bool { return t.log.AppendMarker(to, s.config.Now()) })
	s.shrink()
}

// Close ends a topic and drops its log. It returns false and does nothing if the topic
// has listeners or pins.
func (s *Topics) Close(name pubsub.Topic) bool {
	t := s.live(name)
	if t == nil {
		return true
	}
	t.mu.Unlock()
	return s.drop(t, (*Topic).inUseLocked)
}
