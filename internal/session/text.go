package session

import (
	"bytes"

	"github.com/ikornaselur/notiflux"
	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// receiveText handles one message of a client of the text protocol (docs/protocol.md,
// section 1).
func (s *Session) receiveText(message []byte, binary bool) {
	if binary {
		if bytes.HasPrefix(message, []byte("/")) {
			s.logIgnored("a command in a binary message: send it as text")
		}
		return
	}
	c := wire.ParseText(string(message))
	if c.Verb == wire.Ignore {
		if bytes.HasPrefix(message, []byte("{")) {
			s.logIgnored("a command of the JSON protocol: offer the subprotocol notiflux.v1.json")
		}
		return
	}
	if !s.allow() {
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
		if string(message) != "/" { // A client sends it to learn that its earlier commands were handled.
			s.logRefusal(nil, "", notiflux.Errorf(notiflux.Malformed, "%s", c.Answer))
		}
		s.answer([]byte(c.Answer))
	}
}

// subscribeText subscribes without an answer, or answers with the refusal.
func (s *Session) subscribeText(c wire.Command) {
	topic, err := notiflux.ParseTopic(c.Topic)
	if err != nil {
		s.deny(c.Topic, nil, err)
		return
	}
	s.verify(auth.Token(c.Token), func(claims *auth.Claims, err error) {
		if err == nil {
			_, err = s.subscribe(topic, claims, subscribeOptions{})
		}
		if err != nil {
			s.deny(string(topic), claims, err)
		}
	})
}

// deny answers a refused subscription.
func (s *Session) deny(topic string, claims *auth.Claims, err error) {
	s.logRefusal(claims, topic, err)
	s.group.config.Stats.Refused.Add(1)
	s.answer([]byte(wire.Denied(topic, notiflux.Refusal(err))))
}
