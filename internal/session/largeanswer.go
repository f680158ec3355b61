package session

import (
	"context"

	"github.com/ikornaselur/notiflux/internal/answer"
	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// A largeAnswer is an answer of any size: a history or a list of members. It is encoded
// piece by piece while the socket takes it, as one message of several frames. No other
// message may come between these frames (RFC 6455 section 5.4).
type largeAnswer struct {
	answer     *answer.Answer
	ownedBytes int  // Answer.Owned before anything was written
	begun      bool // its first frame was encoded
}

// historyJSON answers with messages of a topic. A worker chooses the part of the log. The
// session encodes it piece by piece, see [Session.nextOfLargeAnswer].
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

// withReadAccess calls then with the claims of a command if they allow reading its topic.
// Otherwise it refuses the command.
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

// answerLarge queues a large answer.
func (s *Session) answerLarge(a *answer.Answer) {
	s.setLargeAnswer(&largeAnswer{answer: a, ownedBytes: a.Owned()})
	s.conn.Dirty()
}

// hasLargeAnswer reports whether a large answer is queued or written in part.
func (s *Session) hasLargeAnswer() bool { return s.json != nil && s.json.largeAnswer != nil }

// nextOfLargeAnswer is Next while there is a large answer. It returns earlier answers, then
// the frames of the large answer, one at a time.
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

// wroteLargeAnswer is Wrote for a frame of nextOfLargeAnswer. It copies the rest of the
// frame, because the loop owns the buffer.
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
