package client

import (
	"fmt"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// An Event is what a subscription yields when nothing is lost: a [Message],
// [Subscribed], [Skipped] or [Disconnected], and with [Subscription.Presence] a
// [Present], [Joined] or [Left]. Later versions may add others, which a program
// may ignore.
type Event interface{ event() }

// A Message was published to a topic.
type Message struct {
	Topic    pubsub.Topic
	Position pubsub.Position // behind it: to resume after this message
	Time     time.Time       // when the server ordered it, to the millisecond
	Data     []byte          // the published value as JSON; whoever takes the message owns it
}

// Text returns the published value if it is a string; false if it is any other
// JSON value.
func (m Message) Text() (string, bool) {
	if jsontext.Value(m.Data).Kind() != jsontext.KindString {
		return "", false
	}
	text, err := jsontext.AppendUnquote(nil, m.Data)
	return string(text), err == nil
}

// Subscribed says that a topic is subscribed to and that nothing is missing:
// messages follow from a position on.
type Subscribed struct {
	Topic    pubsub.Topic
	Position pubsub.Position // everything after it follows
	Replay   int             // so many messages after it were published before, and follow at once
	Resumed  bool            // the client has been connected again, and the topic goes on where it was
}

// Skipped says that a subscription with [Subscription.Latest] was behind and has
// jumped: messages after From up to and including To were left out.
type Skipped struct {
	Topic    pubsub.Topic
	From, To pubsub.Position
}

// Disconnected says that the connection has ended, and that the client connects
// again. [Subscribed] or a [LostError] of each topic follows when it has.
type Disconnected struct {
	Err error // why
}

// A Member is who is present on a topic, however many connections it has.
type Member struct {
	Sub  string // the claim of its token that says who it is
	Info []byte // the JSON object that its token has for others; nil: none
}

// Present says who is present on a topic. It comes after each [Subscribed] or
// [LostError] of a topic with presence, and takes the place of all that was known
// before: who joined or left while the client was not connected is told by it
// alone. It comes as well, at most once a second, from a topic that has too many
// members for a [Joined] each.
type Present struct {
	Topic       pubsub.Topic
	Count       int      // members
	Subscribers int      // subscriptions to the topic, with presence or without
	Members     []Member // by Sub; the first ones, or none, if they are fewer than Count
}

// Joined says that members have come. One that is known already is no other: only
// its Info may be.
type Joined struct {
	Topic   pubsub.Topic
	Members []Member
}

// Left says that members are gone; they have no Info.
type Left struct {
	Topic   pubsub.Topic
	Members []Member
}

func (Message) event()      {}
func (Subscribed) event()   {}
func (Skipped) event()      {}
func (Disconnected) event() {}
func (Present) event()      {}
func (Joined) event()       {}
func (Left) event()         {}

// A LostError says that messages of a topic are missing: what the program knows
// of the topic is out of date. The iteration goes on, with what comes after
// Position, and the topic counts as subscribed.
type LostError struct {
	Topic    pubsub.Topic
	Since    pubsub.Position // after it messages are missing
	Position pubsub.Position // after it nothing is
	Gap      bool            // lost while connected, by the server; else by being away for too long, or by a restart of the server
}

// Error tells what is lost.
func (e *LostError) Error() string {
	if e.Gap {
		return fmt.Sprintf("messages of %q after %v were lost by the server", e.Topic, e.Since)
	}
	return fmt.Sprintf("messages of %q after %v are no longer known to the server", e.Topic, e.Since)
}

// A RefusedError says that a topic is not subscribed to, or not any longer. The
// iteration goes on with the other topics; it ends when there are none.
type RefusedError struct {
	Topic pubsub.Topic
	Err   *pubsub.Error // the server's code and its sentence
}

// Error names the topic, the code and the reason.
func (e *RefusedError) Error() string {
	return fmt.Sprintf("subscribe to %q: %s: %v", e.Topic, e.Err.Code, e.Err)
}

// Unwrap returns the reason.
func (e *RefusedError) Unwrap() error { return e.Err }

// A StatusError is a server's answer that is no success: to the handshake of a
// connection, or to a call.
type StatusError struct {
	Status int           // of the HTTP answer
	Err    *pubsub.Error // what the server said, if it was a notiflux server; else nil
	After  time.Duration // how long it asked to stay away; 0: it did not say
}

// Error tells what the server said.
func (e *StatusError) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("%s: %v", e.Err.Code, e.Err)
	}
	return fmt.Sprintf("the server answered with status %d", e.Status)
}

// Unwrap returns what a notiflux server said.
func (e *StatusError) Unwrap() error {
	if e.Err == nil {
		return nil
	}
	return e.Err
}

// A CloseError is the end of a connection that the server has closed.
type CloseError struct {
	Code   int           // of the close frame, docs/protocol.md lists them; 0: it was an event stream, which has none
	Reason string        // of the close frame
	Bye    pubsub.Code   // what the server said before; empty: nothing
	After  time.Duration // how long it asked to stay away; 0: it did not say
}

// Error tells code and reason.
func (e *CloseError) Error() string {
	if e.Code == 0 {
		return fmt.Sprintf("the server ended the event stream: %s", e.Bye)
	}
	return fmt.Sprintf("the server closed the connection: %d %s", e.Code, e.Reason)
}
