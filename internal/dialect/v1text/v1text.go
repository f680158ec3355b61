// Package v1text is the dialect of the text protocol (docs/protocol.md, section 1).
//
// A message of a client is parsed as a [command] (command.go) and turned into calls of its
// session, the server's state of that client. A message of a topic is one WebSocket text
// frame with the published data (encoder.go).
//
// The protocol is frozen byte for byte. It has no answer to a successful command, no
// positions and no goodbye. So it cannot express a gap: a client that lost messages is
// closed with 1012, and must reload its state when it reconnects. It cannot express
// presence events or the end of a subscription either; the dialect drops those.
//
// Messages that are not commands are ignored. If they look like a mistake, for example JSON
// commands, the session logs a hint once.
//
// The dialect has no state, so all sessions share one value.
package v1text

import (
	"bytes"
	"time"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/session"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// Subprotocol is the WebSocket subprotocol that clients offer. Clients that offer none also
// speak this protocol.
const Subprotocol = "notiflux.v1.text"

// gapSpread is the time over which the closing of clients that lost messages is spread.
const gapSpread = 3 * time.Second

// endGap ends the session of a client that lost messages.
var endGap = session.End{Code: pubsub.Unavailable, CloseCode: wire.CloseRestart, Reason: "messages were lost: reconnect and reload your state"}

// Endpoint returns the endpoint of the dialect.
func Endpoint() *session.Endpoint {
	return &session.Endpoint{
		Subprotocol: Subprotocol,
		Default:     true,
		Encoding:    session.Encoding{Name: "text", New: newEncoder, Deflatable: true},
		Open:        func(*session.Session, session.Request) session.Dialect { return dialect{} },
	}
}

// dialect is the [session.Dialect] of all sessions. It has no state.
type dialect struct{}

// Receive implements [session.Dialect].
func (dialect) Receive(s *session.Session, message []byte, binary bool) {
	if binary {
		if bytes.HasPrefix(message, []byte("/")) {
			s.LogIgnored("a command in a binary message: send it as text")
		}
		return
	}
	c := parse(string(message))
	if c.verb == ignore {
		if bytes.HasPrefix(message, []byte("{")) {
			s.LogIgnored("a command of the JSON protocol: offer the subprotocol notiflux.v1.json")
		}
		return
	}
	if !s.Allow() {
		return
	}
	switch c.verb {
	case subscribe:
		subscribeTo(s, c)
	case subscribeWithoutToken:
		subscribePublic(s, c)
	case unsubscribe:
		s.Unsubscribe(pubsub.Topic(c.topic))
	case unsubscribeAll:
		s.UnsubscribeAll()
	case invalid:
		if string(message) == "/" { // Clients send "/" to learn that the server has executed their earlier commands.
			s.SendText([]byte(c.answer))
			return
		}
		refuse(s, c)
	}
}

// refuse answers a malformed command.
func refuse(s *session.Session, c command) {
	s.LogRefusal(nil, "", pubsub.Errorf(pubsub.Malformed, "%s", c.answer))
	s.SendText([]byte(c.answer))
}

// subscribePublic subscribes to a topic if it is public. For any other topic, the command is
// malformed.
func subscribePublic(s *session.Session, c command) {
	name := pubsub.Topic(c.topic)
	credential := s.Credential()
	if credential.Claims == nil || !credential.Claims.IsPublic(name) {
		refuse(s, c)
		return
	}
	s.Subscribe(credential, []session.Subscription{{Topic: name}}, subscribed)
}

// subscribeTo subscribes without an answer, or answers with the refusal.
func subscribeTo(s *session.Session, c command) {
	name, err := pubsub.ParseTopic(c.topic)
	if err != nil {
		s.RefuseTopic(nil, c.topic, err)
		deny(s, c.topic, err)
		return
	}
	s.Verify(auth.Token(c.token), func(credential session.Credential) {
		s.Subscribe(credential, []session.Subscription{{Topic: name}}, subscribed)
	})
}

// subscribed answers if the subscription to the topic was refused.
func subscribed(s *session.Session, results []session.Subscribed) {
	if r := results[0]; r.Err != nil {
		deny(s, string(r.Topic), r.Err)
	}
}

// deny answers a refused subscription.
func deny(s *session.Session, topic string, err error) {
	s.SendText([]byte(denied(topic, pubsub.Refusal(err))))
}

// Gap implements [session.Dialect]. The protocol cannot express a gap.
func (dialect) Gap(s *session.Session, _ pubsub.Topic, _ pubsub.Position) {
	s.EndWithin(endGap, gapSpread)
}

// Skipped implements [session.Dialect]. This protocol has no mode latest.
func (dialect) Skipped(*session.Session, pubsub.Topic, pubsub.Position, pubsub.Position) {}

// Unsubscribed implements [session.Dialect]. The protocol cannot express it.
func (dialect) Unsubscribed(*session.Session, []pubsub.Topic, pubsub.Code) {}

// Goodbye implements [session.Dialect].
func (dialect) Goodbye(_ *session.Session, e session.End) ([]byte, wire.CloseCode, string) {
	return nil, e.CloseCode, e.Reason
}
