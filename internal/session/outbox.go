package session

import (
	"bytes"
	"math"

	"github.com/ikornaselur/notiflux/internal/topic"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// A Budget limits the memory that sessions of all groups own for bytes that clients have
// not read yet.
type Budget = wire.Budget

const (
	// maxAnswers is the size of queued answers, in bytes, above which the session accepts
	// no further commands.
	maxAnswers = 16 << 10
	// freeUnread is the number of bytes that a session owns free of charge. So small
	// answers cost nothing and always fit.
	freeUnread = 4 << 10
)

// outbox holds what waits to be written in addition to the messages in the logs: answers,
// and the rest of a partly written message frame. Its session is charged for the memory.
type outbox struct {
	rest    []byte // the unwritten part of a message frame; shared memory unless ownRest
	answers []byte // frames that wait to be written

	restWritten    uint32 // bytes before rest in its memory; only if ownRest
	answersWritten uint32 // bytes before answers in its memory

	answerBegun     bool // answers begins in the middle of a frame
	ownRest         bool // rest is the session's own memory, not part of a shared frame
	behind          bool // the socket did not take all bytes of the last write
	cursors         bool // a stream of several topics or of patterns: frames are not shared, because each has the session's cursor
	unauthenticated bool // unread bytes are charged to Config.UnauthenticatedUnread
}

// unread returns how many bytes s is charged for: its answers, and the rest of a frame if
// the session owns it.
func (o *outbox) unread(s *Session) int {
	n := o.requested(s)
	if o.ownRest {
		n += cap(o.rest) + int(o.restWritten)
	}
	return max(0, n-freeUnread)
}

// requested returns how many bytes s owns because its client sends commands without reading
// the answers.
func (o *outbox) requested(s *Session) int {
	n := cap(o.answers) + int(o.answersWritten)
	if s.extra.hasLarge() {
		n += s.extra.large.ownedBytes
	}
	return n
}

// budget returns the budget that s is charged to.
func (o *outbox) budget(s *Session) Budget {
	if o.unauthenticated {
		return s.group.config.UnauthenticatedUnread
	}
	return s.group.config.Unread
}

// charge updates the budget. before is the earlier result of unread.
func (o *outbox) charge(s *Session, before int) {
	now := o.unread(s)
	if before == 0 { // A charged session keeps its budget.
		o.unauthenticated = len(s.subs.all) == 0 && !s.group.IsStream(s) && s.extra.token().Claims == nil
	}
	switch {
	case now < before:
		o.budget(s).Release(before - now)
	case now > before:
		o.budget(s).Charge(now - before)
		if o.overBudget(s) {
			// Later, because the caller still works on the session, and the client may read
			// first.
			s.conn.Post(func() {
				if o.overBudget(s) {
					s.abort(endOverBudget)
				}
			})
		}
	}
}

// overBudget reports whether the answers that the client requested exceed its share of the
// budget. The rest of a message frame does not count: the server never closes a client that
// sends no commands because of it, however slowly the client reads. Streams never exceed
// the budget, because they send one request.
func (o *outbox) overBudget(s *Session) bool {
	return !s.group.IsStream(s) && o.requested(s) > freeUnread && o.requested(s)-freeUnread > o.budget(s).Share()
}

// setAnswers sets the queued answers: nil, or the current ones with more appended.
func (o *outbox) setAnswers(s *Session, answers []byte) {
	before := o.unread(s)
	if cap(answers) != cap(o.answers) {
		o.answersWritten = 0 // The answers moved to other memory.
	}
	o.answers = answers
	o.charge(s, before)
}

// wroteAnswers removes up to n written bytes from the answers, and returns how many of n
// remain.
func (o *outbox) wroteAnswers(s *Session, n int) int {
	waiting := len(o.answers)
	if waiting == 0 || n == 0 {
		return n
	}
	if n < waiting {
		o.behind, o.answerBegun = true, true
		before := o.unread(s)
		o.answers, o.answersWritten = trimFront(o.answers, o.answersWritten, n)
		o.charge(s, before)
		n = 0
	} else {
		o.answerBegun = false
		o.setAnswers(s, nil)
		n -= waiting
	}
	if waiting > maxAnswers && len(o.answers) <= maxAnswers && !s.waiting {
		s.conn.Resume()
	}
	return n
}

// setRest sets the rest of a partly written frame. own says that the rest is not part of a
// shared frame. It is then copied, because it may be in the loop's buffer.
func (o *outbox) setRest(s *Session, rest []byte, own bool) {
	before := o.unread(s)
	if o.rest, o.ownRest, o.restWritten = rest, own, 0; own {
		o.rest = bytes.Clone(rest)
	}
	o.charge(s, before)
}

// trimRest removes n written bytes from the front of the rest of a frame.
func (o *outbox) trimRest(s *Session, n int) {
	if !o.ownRest {
		o.rest = o.rest[n:]
		return
	}
	before := o.unread(s)
	o.rest, o.restWritten = trimFront(o.rest, o.restWritten, n)
	o.charge(s, before)
}

// wroteRest removes up to n written bytes from the rest of a frame, and returns how many of
// n remain.
func (o *outbox) wroteRest(s *Session, n int) int {
	if n < len(o.rest) {
		o.behind = true
		o.trimRest(s, n)
		return 0
	}
	n -= len(o.rest)
	if o.rest != nil {
		o.setRest(s, nil, false)
	}
	return n
}

// trimFront removes n bytes from the front of p. taken is the number of bytes already
// removed in the same memory. It returns the rest and the new number. Once a few KB are
// unused, or for a large p more than half, it copies the rest to free the memory before it.
// So p is copied a few times, not once for each write.
func trimFront(p []byte, taken uint32, n int) (rest []byte, before uint32) {
	rest = p[n:]
	unused := int(taken) + n
	if unused <= freeUnread || cap(rest) > topic.MaxBatch && unused <= min(cap(rest), math.MaxUint32) {
		return rest, uint32(unused)
	}
	return bytes.Clone(rest), 0
}
