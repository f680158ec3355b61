package session

import (
	"github.com/ikornaselur/notiflux/internal/topic"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// A LargeAnswer is an answer of any size; see [wire.LargeAnswer].
type LargeAnswer = wire.LargeAnswer

// largeAnswer is a [LargeAnswer] that is queued or partly written.
type largeAnswer struct {
	answer     LargeAnswer
	ownedBytes int  // Owned before anything was written
	begun      bool // its first frame was encoded
}

// sendLarge queues a large answer of s. It returns false if the budget has no room for it.
func (o *outbox) sendLarge(s *Session, a LargeAnswer) bool {
	o.setLarge(s, &largeAnswer{answer: a, ownedBytes: a.Owned()})
	if o.overBudget(s) {
		o.setLarge(s, nil)
	}
	s.conn.Dirty()
	return s.extra.hasLarge()
}

// setLarge sets the large answer that s is writing; nil for none.
func (o *outbox) setLarge(s *Session, a *largeAnswer) {
	before := o.unread(s)
	s.ensureExtra().large = a
	o.charge(s, before)
}

// nextOfLargeAnswer replaces next while there is a large answer. It returns earlier
// answers, then the frames of the large answer, one at a time.
func (w *write) nextOfLargeAnswer(s *Session) []byte {
	a := s.extra.large
	if !a.begun && len(s.out.answers) > 0 {
		return s.out.answers
	}
	// A frame is smaller when little of the budget is left.
	room := max(wire.MinLargeAnswerRoom, min(topic.MaxBatch-wire.HeaderRoom, s.out.budget(s).Share()))
	w.buffer = a.answer.Append(wire.AppendRoomForHeader(w.buffer[:0]), room)
	w.largeAnswer = wire.Fragment(w.buffer, !a.begun, a.answer.Len() == 0)
	a.begun = true
	return w.largeAnswer
}

// wroteLargeAnswer replaces wrote for a frame of nextOfLargeAnswer. It copies the rest of
// the frame, because the loop owns the buffer.
func (w *write) wroteLargeAnswer(s *Session, n int) {
	if n < len(w.largeAnswer) {
		s.out.behind = true
		s.out.setRest(s, w.largeAnswer[n:], true)
	}
	w.largeAnswer = nil
	if s.extra.large.answer.Len() > 0 {
		return
	}
	s.out.setLarge(s, nil)
	if !s.waiting {
		s.conn.Resume()
	}
}
