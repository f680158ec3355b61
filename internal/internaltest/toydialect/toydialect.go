// Package toydialect is the smallest useful dialect (a protocol that clients speak). It
// shows what a new dialect has to implement. The server needs one more line, which
// registers it.
//
// A client sends "+topic token" to subscribe and "-topic" to unsubscribe. It gets
// "ok topic offset" or "no topic code", then messages as "topic offset data". Messages
// with JSON data cannot be expressed.
package toydialect

import (
	"fmt"
	"strings"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/session"
	"github.com/ikornaselur/notiflux/internal/topic"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// Subprotocol is what clients offer.
const Subprotocol = "toy"

// CloseCode is what the dialect closes its sessions with. It is not asked about closes of
// the transport, for instance for a frame that is invalid.
const CloseCode wire.CloseCode = 4999

// Endpoint returns the endpoint of the dialect.
func Endpoint() *session.Endpoint {
	return &session.Endpoint{
		Subprotocol: Subprotocol,
		Encoding:    session.Encoding{Name: "toy", New: func() session.Encoder { return encoder{} }, Deflatable: true},
		Open: func(s *session.Session, _ session.Request) session.Dialect {
			say(s, "hello %v", s.NameConnection())
			return dialect{}
		},
	}
}

func say(s *session.Session, format string, args ...any) {
	s.SendText(fmt.Appendf(nil, format, args...))
}

type encoder struct{}

func (encoder) Encode(e *topic.Entry) []byte {
	m := e.Message()
	if m.Presence != nil || m.Body.JSON {
		return nil
	}
	return wire.AppendText(nil, fmt.Appendf(nil, "%s %d %s", m.Topic, m.Position.Offset, m.Body.Data))
}

type dialect struct{}

func (dialect) Receive(s *session.Session, message []byte, _ bool) {
	if !s.Allow() {
		return
	}
	name, token, _ := strings.Cut(string(message), " ")
	switch {
	case strings.HasPrefix(name, "+"):
		want := session.Subscription{Topic: pubsub.Topic(name[1:])}
		s.Verify(auth.Token(token), func(c session.Credential) {
			s.Subscribe(c, []session.Subscription{want}, func(s *session.Session, all []session.Subscribed) { answer(s, all[0]) })
		})
	case strings.HasPrefix(name, "-"):
		s.Unsubscribe(pubsub.Topic(name[1:]))
	default:
		s.LogIgnored("a command begins with + or -")
	}
}

func answer(s *session.Session, r session.Subscribed) {
	if r.Err != nil {
		say(s, "no %s %s", r.Topic, pubsub.Refusal(r.Err).Code)
		return
	}
	say(s, "ok %s %d", r.Topic, r.Position.Offset)
}

func (dialect) Gap(s *session.Session, name pubsub.Topic, to pubsub.Position) {
	say(s, "gap %s %d", name, to.Offset)
}

func (dialect) Skipped(s *session.Session, name pubsub.Topic, _, to pubsub.Position) {
	say(s, "skipped %s %d", name, to.Offset)
}

func (dialect) Unsubscribed(s *session.Session, topics []pubsub.Topic, why pubsub.Code) {
	say(s, "over %s %s", topics, why)
}

func (dialect) Goodbye(_ *session.Session, e session.End) ([]byte, wire.CloseCode, string) {
	return wire.AppendText(nil, []byte("bye "+e.Code)), CloseCode, e.Reason
}
