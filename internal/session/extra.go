package session

import (
	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/broker"
	"github.com/ikornaselur/notiflux/internal/fanout"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/topic"
)

// extra is state that a session has only if its dialect needs it. Methods that only read
// also work on nil.
type extra struct {
	connection pubsub.Connection // see Session.NameConnection
	claims     *auth.Claims      // of the connection's token
	refusal    error             // why the connection's token was refused
	large      *largeAnswer      // being written while commands wait; nil: none
	cursor     *streamCursor     // of streams

	attendance broker.Attendance              // the topics in which the client is present
	overlap    *fanout.Overlap[*subscription] // nil: the client has subscribed to no pattern

	ticks         bool // the dialect is a Ticker
	ending        bool // EndWithin was called
	ignoredLogged bool // LogIgnored was called
}

// ensureExtra returns s.extra, and creates it if necessary.
func (s *Session) ensureExtra() *extra {
	if s.extra == nil {
		s.extra = new(extra)
	}
	return s.extra
}

// name returns the name of the connection, or 0 if it has none.
func (x *extra) name() pubsub.Connection {
	if x == nil {
		return 0
	}
	return x.connection
}

// token returns the credential of the connection.
func (x *extra) token() Credential {
	if x == nil {
		return Credential{}
	}
	return Credential{Claims: x.claims, Err: x.refusal}
}

// overlapping returns the subscriptions that may match the same messages.
func (x *extra) overlapping() *fanout.Overlap[*subscription] {
	if x == nil {
		return nil
	}
	return x.overlap
}

// hasLarge reports whether a large answer is queued or written in part.
func (x *extra) hasLarge() bool { return x != nil && x.large != nil }

// excluded reports whether a message excludes the session.
func (x *extra) excluded(m *pubsub.Message) bool {
	return m.Exclude != 0 && m.Exclude == x.name()
}

// joinPresence makes the client of s a member of a topic, named by the subject of claims,
// and subscribes it to the presence events of the topic from now on. If it is not subscribed
// to them yet, events is the attachment of the presence topic.
func (x *extra) joinPresence(s *Session, name pubsub.Topic, claims *auth.Claims, events *broker.Attachment) error {
	if s.subs.find(s, topic.PresenceTopic(name)) == nil {
		if events == nil {
			return errExpiredMeanwhile
		}
		pin, err := events.Take()
		if err != nil {
			return err
		}
		s.group.subscribe(s, topic.PresenceTopic(name), pin, false)
	}
	info, _ := claims.Info() // subscribe checked the error.
	x.attendance.Join(s.group.config.Members, name, pubsub.Member{Sub: claims.Subject, Info: info})
	return nil
}

// leavePresence ends the presence of the client of s in a topic, if it is present.
func (x *extra) leavePresence(s *Session, name pubsub.Topic) {
	if x != nil && x.attendance.Leave(name) {
		s.Unsubscribe(topic.PresenceTopic(name))
	}
}
