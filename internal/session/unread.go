package session

import (
	"bytes"
	"math"

	"github.com/ikornaselur/notiflux/internal/answer"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// A Budget bounds the memory that sessions of all groups own for bytes that clients have
// not read yet. Safe for concurrent use.
type Budget interface {
	Charge(n int) (within bool) // adds n bytes in any case and reports whether the budget allows them
	Release(n int)
	Share() int // how many requested bytes one session may own now
}

// noBudget is a Budget without a bound.
type noBudget struct{}

func (noBudget) Charge(int) bool { return true }
func (noBudget) Release(int)     {}
func (noBudget) Share() int      { return math.MaxInt }

// freeUnread is how many bytes a session owns free of charge. So small answers cost
// nothing, and always fit.
const freeUnread = 4 << 10

// unreadBytes returns how many bytes the session is charged for: its answers and the rest
// of a frame, if that is its own memory.
func (s *Session) unreadBytes() int {
	n := s.requestedBytes()
	if s.ownRest {
		n += cap(s.rest) + int(s.restWritten)
	}
	return max(0, n-freeUnread)
}

// requestedBytes returns how many bytes the session owns because its client sent commands
// and does not read the answers.
func (s *Session) requestedBytes() int {
	n := cap(s.answers) + int(s.answersWritten)
	if s.hasLargeAnswer() {
		n += s.json.largeAnswer.ownedBytes
	}
	return n
}

// budget returns the budget that the session is charged to.
func (s *Session) budget() Budget {
	if s.unauthenticated {
		return s.group.config.UnauthenticatedUnread
	}
	return s.group.config.Unread
}

// charge updates the budget after unreadBytes was before.
func (s *Session) charge(before int) {
	now := s.unreadBytes()
	if before == 0 { // A session that is charged keeps its budget.
		s.unauthenticated = !s.authenticated()
	}
	switch {
	case now < before:
		s.budget().Release(before - now)
	case now > before:
		s.budget().Charge(now - before)
		if s.overBudget() {
			s.conn.Post(s.closeIfOverBudget) // Later, because the caller still works on the session, and the client may read first.
		}
	}
}

// authenticated reports whether the client has sent a valid token.
func (s *Session) authenticated() bool {
	return len(s.subs) > 0 || s.stream != nil || s.json != nil && s.json.claims != nil
}

// overBudget reports whether the answers that the client requested exceed its share of the
// budget. The rest of a message frame does not count: a client that sends no commands is
// never closed for it, however slowly it reads. Streams never exceed it: they send one
// request.
func (s *Session) overBudget() bool {
	return s.stream == nil && s.requestedBytes() > freeUnread && s.requestedBytes()-freeUnread > s.budget().Share()
}

func (s *Session) closeIfOverBudget() {
	if s.overBudget() {
		s.abort(closeOverBudget)
	}
}

// minLargeAnswerBytes is the smallest size of a frame of a large answer that makes progress.
const minLargeAnswerBytes = answer.MinRoom + 2<<10

// largeAnswerBytes returns the maximum size of a frame of a large answer. It is smaller when
// little of the budget is left.
func (s *Session) largeAnswerBytes() int {
	return max(minLargeAnswerBytes, min(maxBatch-wire.HeaderRoom, s.budget().Share()))
}

// setAnswers sets the queued answers: nil, or the present ones with more appended.
func (s *Session) setAnswers(answers []byte) {
	before := s.unreadBytes()
	if cap(answers) != cap(s.answers) {
		s.answersWritten = 0 // They were moved to other memory.
	}
	s.answers = answers
	s.charge(before)
}

// trimAnswers removes n written bytes from the front of the answers.
func (s *Session) trimAnswers(n int) {
	before := s.unreadBytes()
	s.answers, s.answersWritten = trimFront(s.answers, s.answersWritten, n)
	s.charge(before)
}

// setLargeAnswer sets the large answer that is being written; nil for none.
func (s *Session) setLargeAnswer(r *largeAnswer) {
	before := s.unreadBytes()
	s.json.largeAnswer = r
	s.charge(before)
}

// setRest sets the rest of a frame that was written in part. If own, the rest is not part
// of a shared frame. It is copied then, because it may be in the loop's buffer.
func (s *Session) setRest(rest []byte, own bool) {
	before := s.unreadBytes()
	if s.rest, s.ownRest, s.restWritten = rest, own, 0; own {
		s.rest = bytes.Clone(rest)
	}
	s.charge(before)
}

// trimRest removes n written bytes from the front of the rest of a frame.
func (s *Session) trimRest(n int) {
	if !s.ownRest {
		s.rest = s.rest[n:]
		return
	}
	before := s.unreadBytes()
	s.rest, s.restWritten = trimFront(s.rest, s.restWritten, n)
	s.charge(before)
}

// trimFront removes n bytes from the front of p. taken is how many bytes were removed
// before in the same memory. It returns the rest and the new number. After a few KB, or
// for a large p once less than half is left, it copies the rest so that the memory before
// it is freed. So p is copied a few times, not once for each write.
func trimFront(p []byte, taken uint32, n int) (rest []byte, before uint32) {
	rest = p[n:]
	unused := int(taken) + n
	if unused <= freeUnread || cap(rest) > maxBatch && unused <= min(cap(rest), math.MaxUint32) {
		return rest, uint32(unused)
	}
	return bytes.Clone(rest), 0
}
