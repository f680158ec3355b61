package session

import "bytes"

// A Budget bounds what the sessions of all groups own for clients that have not
// read it yet. Safe for concurrent use.
type Budget interface {
	Charge(n int) (within bool) // counts n bytes in any case, and reports whether there was room for them
	Release(n int)
}

// noBudget has room for everything.
type noBudget struct{}

func (noBudget) Charge(int) bool { return true }
func (noBudget) Release(int)     {}

// freeUnread is how much every session may own without being charged for it. So
// small answers cost nothing, and find room also when other clients leave none.
const freeUnread = 4 << 10

// unread returns how many bytes the session is charged for: its answers, and the
// rest of a frame that only it has.
func (s *Session) unread() int {
	n := cap(s.answers)
	if s.replying() {
		n += s.json.reply.bytes
	}
	if s.ownCut {
		n += cap(s.cut)
	}
	return max(0, n-freeUnread)
}

// charge charges the session for what it owns now, after before. If there is no
// room, the session ends, in the next turn: its caller is at work on it.
func (s *Session) charge(before int) {
	now := s.unread()
	switch {
	case now < before:
		s.group.config.Unread.Release(before - now)
	case now > before && !s.group.config.Unread.Charge(now-before):
		s.conn.Post(s.endWithoutRoom)
	}
}

func (s *Session) endWithoutRoom() { s.cutOff(endNoRoom) }

// setAnswers replaces the answers that wait to be written. They are the session's,
// and begin where their memory does.
func (s *Session) setAnswers(answers []byte) {
	before := s.unread()
	s.answers = answers
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
	if s.cut, s.ownCut = rest, own; own {
		s.cut = bytes.Clone(rest)
	}
	s.charge(before)
}
