package session

import (
	"context"

	"github.com/ikornaselur/notiflux/internal/answer"
	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// A largeAnswer is an answer that can be large: a history or a list of members. It is encoded
// piece by piece while the socket takes it, as one message of several frames. No other
// message comes between these frames (RFC 6455 section 5.4).
type largeAnswer struct {
	answer     *answer.Answer
	ownedBytes int  // that the answer owned when the reply was made
	begun      bool // its first frame is made
}

// historyJSON reads what a topic holds. What is chosen off the loop is a part of the
// log; its encoding is made piece by piece, see [Session.nextOfLargeAnswer].
func (s *Session) historyJSON(c wire.JSONCommand) {
	s.withReadAccess(c, func(claims *auth.Claims) {
		var a *answer.Answer
		read := func(ctx context.Context) {
			messages := answer.UpTo(c.Limit)
			end := messages.History(ctx, s.group.config.Topics.History(c.Topic, c.Since[c.Topic], c.Limit))
			a = messages.Answer(wire.AppendHistoryStart(nil, c.ID, c.Topic), wire.AppendHistoryEnd(nil, end))
		}
		s.wait(s.group.config.WaitWorkers, read, func(refused error) {
			if refused != nil {
				s.refuse(c, claims, refused)
				return
			}
			s.answerLarge(a)
		})
	})
}

// withReadAccess calls then with the claims of a command if they allow to read its topic. Else
// it refuses the command.
func (s *Session) withReadAccess(c wire.JSONCommand, then func(*auth.Claims)) {
	s.withClaims(c, func(claims *auth.Claims, err error) {
		if err == nil {
			err = s.checkRead(claims, c.Topic)
		}
		if err != nil {
			s.refuse(c, claims, err)
			return
		}
		then(claims)
	})
}

// answerLarge has a large answer given.
func (s *Session) answerLarge(a *answer.Answer) {
	s.setLargeAnswer(&largeAnswer{answer: a, ownedBytes: a.Owned()})
	s.conn.Dirty()
}

// hasLargeAnswer reports whether a reply is to be given, or is not given whole.
func (s *Session) hasLargeAnswer() bool { return s.json != nil && s.json.largeAnswer != nil }

// nextOfLargeAnswer is Next while there is a reply: what was answered before it, then its
// frames, one at a time.
func (s *Session) nextOfLargeAnswer(w *write) []byte {
	r := s.json.largeAnswer
	if !r.begun && len(s.answers) > 0 {
		return s.answers
	}
	w.buffer = r.answer.Append(wire.AppendRoomForHeader(w.buffer[:0]), s.largeAnswerBytes())
	w.largeAnswer = wire.Fragment(w.buffer, !r.begun, r.answer.Len() == 0)
	r.begun = true
	return w.largeAnswer
}

// wroteLargeAnswer counts n bytes against the frame that nextOfLargeAnswer gave. The rest of it is
// the session's own: the buffer is the loop's.
func (s *Session) wroteLargeAnswer(n int) {
	w := &s.group.write
	if n < len(w.largeAnswer) {
		s.behind = true
		s.setRest(w.largeAnswer[n:], true)
	}
	w.largeAnswer = nil
	if s.json.largeAnswer.answer.Len() > 0 {
		return
	}
	s.setLargeAnswer(nil)
	if !s.waiting {
		s.conn.Resume()
	}
}
