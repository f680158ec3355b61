package session

import (
	"github.com/ikornaselur/notiflux"
	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// Receive takes one message of the client. It is the whole of the text
// protocol: docs/protocol.md, section 1. The caller sees that the session is
// not Busy.
func (s *Session) Receive(message []byte, binary bool) {
	if binary {
		return
	}
	c := wire.ParseText(string(message))
	if c.Verb == wire.Ignore {
		return
	}
	s.group.config.Stats.Commands.Add(1)
	if !s.allow() {
		s.conn.Close(nil, wire.CloseTooMany, "too many commands")
		return
	}
	switch c.Verb {
	case wire.Subscribe:
		s.subscribeText(c)
	case wire.Unsubscribe:
		s.unsubscribe(notiflux.Topic(c.Topic))
	case wire.UnsubscribeAll:
		s.unsubscribeAll()
	case wire.Invalid:
		s.answer(c.Answer)
	}
}

// subscribeText subscribes silently, or answers why not.
func (s *Session) subscribeText(c wire.Command) {
	deny := func(err error) {
		s.group.config.Stats.Refused.Add(1)
		s.answer(wire.Denied(c.Topic, notiflux.Refusal(err)))
	}
	topic, err := notiflux.ParseTopic(c.Topic)
	if err != nil {
		deny(err)
		return
	}
	s.judge(auth.Token(c.Token), func(claims *auth.Claims, err error) {
		if err == nil {
			err = s.subscribe(topic, claims)
		}
		if err != nil {
			deny(err)
		}
	})
}
