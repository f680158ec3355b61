package session

import (
	"bytes"
	"math"

	"github.com/ikornaselur/notiflux/internal/answer"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// A Budget bounds what the sessions of all groups own for clients that have not
// read it yet. Safe for concurrent use.
type Budget interface {
	Charge(n int) (within bool) // counts n bytes in any case, and reports whether there was room for them
	Release(n int)
	Share() int // how many bytes one session may own now of what its commands ask for
}

// noBudget has room for everything.
type noBudget struct{}

func (noBudget) Charge(int) bool { return true }
func (noBudget) Release(int)     {}
func (noBudget) Share() int      { return math.MaxInt }

// freeUnread is how much every session may own without being charged for it. So
// small answers cost nothing, and find room also when other clients leave none.
const freeUnread = 4 << 10

// unreadBytes returns how many bytes the session is charged for: its answers, and the
// rest of a frame that only it has.
func (s *Session) unreadBytes() int {
	n := s.requestedBytes()
	if s.ownRest {
		n += cap(s.rest) + int(s.restWritten)
	}
	return max(0, n-freeUnread)
}

// requestedBytes returns how many bytes the session owns because its client asks and does not
// read.
func (s *Session) requestedBytes() int {
	n := cap(s.answers) + int(s.answersWritten)
	if s.hasLargeAnswer() {
		n += s.json.largeAnswer.ownedBytes
	}
	return n
}

// budget returns the one that the session is charged to.
func (s *Session) budget() Budget {
	if s.unauthenticated {
		return s.group.config.UnauthenticatedUnread
	}
	return s.group.config.Unread
}

// charge charges the session for what it owns now, after before.
func (s *Session) charge(before int) {
	now := s.unreadBytes()
	if before == 0 { // Else it stays where it is charged.
		s.unauthenticated = !s.authenticated()
	}
	switch {
	case now < before:
		s.budget().Release(before - now)
	case now > before:
		s.budget().Charge(now - before)
		if s.overBudget() {
			s.conn.Post(s.closeIfOverBudget) // Its caller is at work on it, and the client may read at once.
		}
	}
}

// authenticated reports whether the client has shown a valid token.
func (s *Session) authenticated() bool {
	return len(s.subs) > 0 || s.stream != nil || s.json != nil && s.json.claims != nil
}

// overBudget reports whether there is no room for what the client asked for. What it
// is given of its topics does not count, so a client that does not ask is never ended
// for it, however slowly it reads. That is at most one frame. Nor do the answers of an
// event stream, which asks once.
func (s *Session) overBudget() bool {
	return s.stream == nil && s.requestedBytes() > freeUnread && s.requestedBytes()-freeUnread > s.budget().Share()
}

func (s *Session) closeIfOverBudget() {
	if s.overBudget() {
		s.abort(closeOverBudget)
	}
}

// minLargeAnswerBytes is the least room for a frame of a reply: enough to get on.
const minLargeAnswerBytes = answer.MinRoom + 2<<10

// largeAnswerBytes returns how many bytes a frame of a reply may have. Where there is little
// room, it is small.
func (s *Session) largeAnswerBytes() int {
	return max(minLargeAnswerBytes, min(maxBatch-wire.HeaderRoom, s.budget().Share()))
}

// setAnswers replaces the answers that wait to be written by none, or by the same and
// more behind them.
func (s *Session) setAnswers(answers []byte) {
	before := s.unreadBytes()
	if cap(answers) != cap(s.answers) {
		s.answersWritten = 0 // They are in other memory now.
	}
	s.answers = answers
	s.charge(before)
}

// trimAnswers takes n bytes off the front of the answers.
func (s *Session) trimAnswers(n int) {
	before := s.unreadBytes()
	s.answers, s.answersWritten = trimFront(s.answers, s.answersWritten, n)
	s.charge(before)
}

// setLargeAnswer replaces the large answer under way; nil: there is none.
func (s *Session) setLargeAnswer(r *largeAnswer) {
	before := s.unreadBytes()
	s.json.largeAnswer = r
	s.charge(before)
}

// setRest replaces the rest of a frame that is under way. If it is not part of a
// frame that all share, it is copied: it may be in the loop's buffer, and the
// session is to own no more than that rest.
func (s *Session) setRest(rest []byte, own bool) {
	before := s.unreadBytes()
	if s.rest, s.ownRest, s.restWritten = rest, own, 0; own {
		s.rest = bytes.Clone(rest)
	}
	s.charge(before)
}

// trimRest takes n bytes off the front of the rest of a frame.
func (s *Session) trimRest(n int) {
	if !s.ownRest {
		s.rest = s.rest[n:]
		return
	}
	before := s.unreadBytes()
	s.rest, s.restWritten = trimFront(s.rest, s.restWritten, n)
	s.charge(before)
}

// trimFront takes n bytes off the front of p, in whose memory so many were taken before,
// and returns both anew. It copies the rest to memory of its own after some KB, or where
// that is large, once less than half of it is left. So what is taken in small pieces is
// copied a few times, not for each of them.
func trimFront(p []byte, taken uint32, n int) (rest []byte, before uint32) {
	rest = p[n:]
	unused := int(taken) + n
	if unused <= freeUnread || cap(rest) > maxBatch && unused <= min(cap(rest), math.MaxUint32) {
		return rest, uint32(unused)
	}
	return bytes.Clone(rest), 0
}
