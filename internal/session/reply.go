package session

import (
	"context"

	"github.com/ikornaselur/notiflux/internal/answer"
	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// A reply is an answer that can be large: a history or a list of members. It is encoded
// piece by piece while the socket takes it, as one message of several frames. No other
// message comes between these frames (RFC 6455 section 5.4).
type reply struct {
	answer *answer.Answer
	bytes  int  // that the answer owned when the reply was made
	begun  bool // its first frame is made
}

// historyJSON reads what a topic holds. What is chosen off the loop is a part of the
// log; its encoding is made piece by piece, see [Session.nextOfReply].
func (s *Session) historyJSON(c wire.JSONCommand) {
	s.reading(c, func(claims *auth.Claims) {
		var a *answer.Answer
		read := func(ctx context.Context) {
			messages := answer.UpTo(c.Limit)
			end := messages.History(ctx, s.group.config.Topics.History(c.Topic, c.Since[c.Topic], c.Limit))
			a = messages.Answer(wire.AppendHistoryHead(nil, c.ID, c.Topic), wire.AppendPageEnd(nil, end))
		}
		s.wait(s.group.config.Waiting, read, func(refused error) {
			if refused != nil {
				s.refuse(c, claims, refused)
				return
			}
			s.reply(a)
		})
	})
}

// reading calls then with the claims of a command if they allow to read its topic. Else
// it refuses the command.
func (s *Session) reading(c wire.JSONCommand, then func(*auth.Claims)) {
	s.credential(c, func(claims *auth.Claims, err error) {
		if err == nil {
			err = s.mayRead(claims, c.Topic)
		}
		if err != nil {
			s.refuse(c, claims, err)
			return
		}
		then(claims)
	})
}

// reply has a large answer given.
func (s *Session) reply(a *answer.Answer) {
	s.setReply(&reply{answer: a, bytes: a.Owned()})
	s.conn.Dirty()
}

// replying reports whether a reply is to be given, or is not given whole.
func (s *Session) replying() bool { return s.json != nil && s.json.reply != nil }

// nextOfReply is Next while there is a reply: what was answered before it, then its
// frames, one at a time.
func (s *Session) nextOfReply(p *pull) []byte {
	r := s.json.reply
	if !r.begun && len(s.answers) > 0 {
		return s.answers
	}
	p.buffer = r.answer.Append(wire.AppendRoomForHeader(p.buffer[:0]), s.roomForReply())
	p.reply = wire.Fragment(p.buffer, !r.begun, r.answer.Len() == 0)
	r.begun = true
	return p.reply
}

// wroteReply counts n bytes against the frame that nextOfReply gave. The rest of it is
// the session's own: the buffer is the loop's.
func (s *Session) wroteReply(n int) {
	p := &s.group.pulled
	if n < len(p.reply) {
		s.behind = true
		s.setCut(p.reply[n:], true)
	}
	p.reply = nil
	if s.json.reply.answer.Len() > 0 {
		return
	}
	s.setReply(nil)
	if !s.waiting {
		s.conn.Resume()
	}
}
