package client

import (
	"fmt"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/ikornaselur/notiflux"
)

// An Event is what a subscription yields when nothing is lost: a [Message],
// [Subscribed], [Skipped] or [Disconnected]. Later versions may add others,
// which a program may ignore.
type Event interface{ event() }

// A Message was published to a topic.
type Message struct {
	Topic    notiflux.Topic
	Position notiflux.Position // behind it: to resume after this message
	Time     time.Time         // when the server ordered it, to the millisecond
	Data     []byte            // the published value as JSON; whoever takes the message owns it
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
	Topic    notiflux.Topic
	Position notiflux.Position // everything after it follows
	Replay   int               // so many messages after it were published before, and follow at once
	Resumed  bool              // the client has been connected again, and the topic goes on where it was
}

// Skipped says that a subscription with [Subscription.Latest] was behind and has
// jumped: messages after From up to and including To were left out.
type Skipped struct {
	Topic    notiflux.Topic
	From, To notiflux.Position
}

// Disconnected says that the connection has ended, and that the client connects
// again. [Subscribed] or a [LostError] of each topic follows when it has.
type Disconnected struct {
	Err error // why
}

func (Message) event()      {}
func (Subscribed) event()   {}
func (Skipped) event()      {}
func (Disconnected) event() {}

// A LostError says that messages of a topic are missing: what the program knows
// of the topic is out of date. The iteration goes on, with what comes after
// Position, and the topic counts as subscribed.
type LostError struct {
	Topic    notiflux.Topic
	Since    notiflux.Position // after it messages are missing
	Position notiflux.Position // after it nothing is
	Gap      bool              // lost while connected, by the server; else by being away for too long, or by a restart of the server
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
	Topic notiflux.Topic
	Err   *notiflux.Error // the server's code and its sentence
}

// Error names the topic and the reason.
func (e *RefusedError) Error() string { return fmt.Sprintf("subscribe to %q: %v", e.Topic, e.Err) }

// Unwrap returns the reason.
func (e *RefusedError) Unwrap() error { return e.Err }

// A HandshakeError is a server's answer to a handshake that is not a WebSocket.
type HandshakeError struct {
	Status int             // of the HTTP answer
	Err    *notiflux.Error // what the server said, if it was a notiflux server; else nil
	After  time.Duration   // how long it asked to stay away; 0: it did not say
}

// Error tells what the server said.
func (e *HandshakeError) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("%s: %v", e.Err.Code, e.Err)
	}
	return fmt.Sprintf("the server answered with status %d", e.Status)
}

// A CloseError is the end of a connection that the server has closed.
type CloseError struct {
	Code   int           // of the close frame; docs/protocol.md lists them
	Reason string        // of the close frame
	Bye    notiflux.Code // what the server said before; empty: nothing
	After  time.Duration // how long it asked to stay away; 0: it did not say
}

// Error tells code and reason.
func (e *CloseError) Error() string {
	return fmt.Sprintf("the server closed the connection: %d %s", e.Code, e.Reason)
}
