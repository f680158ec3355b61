package session

import (
	"time"

	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// Reasons why the session itself ends, independent of its dialect.
var (
	endDraining   = End{CloseCode: wire.CloseRestart, Reason: "this server is shutting down: reconnect", Code: pubsub.Draining, Least: 500 * time.Millisecond, Most: 3 * time.Second}
	endTooMany    = End{CloseCode: wire.CloseTooMany, Reason: "too many commands per second", Code: pubsub.TooMany, Least: time.Second, Most: 5 * time.Second}
	endOverBudget = End{CloseCode: wire.CloseOverCapacity, Reason: "too many answers are unread: read answers before sending commands", Code: pubsub.OverCapacity, Least: 2 * time.Second, Most: 5 * time.Second}
)

// End closes the connection after the queued bytes and the dialect's goodbye. Only the
// first call counts. Inside a large answer there is no goodbye.
func (s *Session) End(e End) {
	if s.closing {
		return
	}
	s.closing = true
	if s.dialect == nil { // Endpoint.Open has called End; Group.Open ends the session.
		kept := e
		s.pendingEnd = &kept
		return
	}
	s.group.cancelAttaching(s)
	logEnd(s, e)
	e.After = s.RandomBetween(e.Least, e.Most)
	goodbye, code, reason := s.dialect.Goodbye(s, e)
	switch last := s.group.formats[s.format].LastChunk; {
	case s.extra.hasLarge() && s.extra.large.begun:
		goodbye = nil
	case len(goodbye) > 0:
		goodbye = append(goodbye, last...)
	}
	s.conn.Close(goodbye, code, reason)
}

// EndWhenDelivered ends the session once everything is delivered. It keeps e.
func (s *Session) EndWhenDelivered(e *End) {
	if s.closing {
		return
	}
	s.pendingEnd = e
	s.conn.WillClose()
	s.conn.Dirty()
}

// EndWithin ends the session at a random time within spread, so that many clients do not
// reconnect at once. Only the first call counts.
func (s *Session) EndWithin(e End, spread time.Duration) {
	x := s.ensureExtra()
	if x.ending {
		return
	}
	x.ending = true
	time.AfterFunc(s.RandomBetween(0, spread), func() { s.conn.Post(func() { s.End(e) }) })
}

// RandomBetween returns a random duration in [least, most).
func (s *Session) RandomBetween(least, most time.Duration) time.Duration {
	if most <= least {
		return least
	}
	return least + time.Duration(s.group.config.Random.Int64N(int64(most-least)))
}

// abort ends the session and drops all unwritten messages and answers.
func (s *Session) abort(e End) {
	s.End(e)
	if !s.out.answerBegun {
		s.out.setAnswers(s, nil) // They would be written before the close frame.
	}
	s.release() // Its cursors keep messages in memory.
}

// drain ends the session once everything is delivered, including messages for which it was
// not marked dirty yet.
func (s *Session) drain() {
	if s.gone {
		return
	}
	for _, sub := range s.subs.all {
		if !sub.cursor.AtTail() {
			s.subs.markDirty(sub)
		}
	}
	s.EndWhenDelivered(&endDraining)
}

// Gone ends the session after its connection was closed. Further calls do nothing.
func (s *Session) Gone() {
	if s.gone {
		return
	}
	s.gone = true
	s.group.cancelAttaching(s)
	s.release()
	s.out.setRest(s, nil, false)
	s.out.setAnswers(s, nil)
	s.group.remove(s)
	s.group.config.Stats.Sessions.Add(-1)
}

// release drops everything that keeps messages in memory for the session.
func (s *Session) release() {
	s.UnsubscribeAll()
	if s.extra.hasLarge() {
		s.out.setLarge(s, nil)
	}
}
