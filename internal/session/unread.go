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

// unread returns how many bytes the session is charged for: its answers, and the
// rest of a frame that only it has.
func (s *Session) unread() int {
	n := s.asked()
	if s.ownCut {
		n += cap(s.cut) + int(s.cutTaken)
	}
	return max(0, n-freeUnread)
}

// asked returns how many bytes the session owns because its client asks and does not
// read.
func (s *Session) asked() int {
	n := cap(s.answers) + int(s.answersTaken)
	if s.replying() {
		n += s.json.reply.bytes
	}
	return n
}

// budget returns the one that the session is charged to.
func (s *Session) budget() Budget {
	if s.stranger {
		return s.group.config.Strangers
	}
	return s.group.config.Unread
}

// charge charges the session for what it owns now, after before.
func (s *Session) charge(before int) {
	now := s.unread()
	if before == 0 { // Else it stays where it is charged.
		s.stranger = !s.known()
	}
	switch {
	case now < before:
		s.budget().Release(before - now)
	case now > before:
		s.budget().Charge(now - before)
		if s.askedTooMuch() {
			s.conn.Post(s.endWithoutRoom) // Its caller is at work on it, and the client may read at once.
		}
	}
}

// known reports whether the client has shown a valid token.
func (s *Session) known() bool {
	return len(s.subs) > 0 || s.set != nil || s.json != nil && s.json.claims != nil
}

// askedTooMuch reports whether there is no room for what the client asked for. What it
// is given of its topics does not count, so a client that does not ask is never ended
// for it, however slowly it reads. That is at most one frame. Nor do the answers of an
// event stream, which asks once.
func (s *Session) askedTooMuch() bool {
	return s.set == nil && s.asked() > freeUnread && s.asked()-freeUnread > s.budget().Share()
}

func (s *Session) endWithoutRoom() {
	if s.askedTooMuch() {
		s.cutOff(endNoRoom)
	}
}

// minReply is the least room for a frame of a reply: enough to get on.
const minReply = answer.MinRoom + 2<<10

// roomForReply returns how many bytes a frame of a reply may have. Where there is little
// room, it is small.
func (s *Session) roomForReply() int {
	return max(minReply, min(maxBatch-wire.HeaderRoom, s.budget().Share()))
}

// setAnswers replaces the answers that wait to be written by none, or by the same and
// more behind them.
func (s *Session) setAnswers(answers []byte) {
	before := s.unread()
	if cap(answers) != cap(s.answers) {
		s.answersTaken = 0 // They are in other memory now.
	}
	s.answers = answers
	s.charge(before)
}

// cutAnswers takes n bytes off the front of the answers.
func (s *Session) cutAnswers(n int) {
	before := s.unread()
	s.answers, s.answersTaken = shorten(s.answers, s.answersTaken, n)
	s.charge(before)
}

// setReply replaces the large answer under way; nil: there is none.
func (s *Session) setReply(r *reply) {
	before := s.unread()
	s.json.reply = r
	s.charge(before)
}

// setCut replaces the rest of a frame that is under way. If it is not part of a
// frame that all share, it is copied: it may be in the loop's buffer, and the
// session is to own no more than that rest.
func (s *Session) setCut(rest []byte, own bool) {
	before := s.unread()
	if s.cut, s.ownCut, s.cutTaken = rest, own, 0; own {
		s.cut = bytes.Clone(rest)
	}
	s.charge(before)
}

// cutAgain takes n bytes off the front of the rest of a frame.
func (s *Session) cutAgain(n int) {
	if !s.ownCut {
		s.cut = s.cut[n:]
		return
	}
	before := s.unread()
	s.cut, s.cutTaken = shorten(s.cut, s.cutTaken, n)
	s.charge(before)
}

// shorten takes n bytes off the front of p, in whose memory so many were taken before,
// and returns both anew. It copies the rest to memory of its own after some KB, or where
// that is large, once less than half of it is left. So what is taken in small pieces is
// copied a few times, not for each of them.
func shorten(p []byte, taken uint32, n int) (rest []byte, before uint32) {
	rest = p[n:]
	unused := int(taken) + n
	if unused <= freeUnread || cap(rest) > maxBatch && unused <= min(cap(rest), math.MaxUint32) {
		return rest, uint32(unused)
	}
	return bytes.Clone(rest), 0
}
