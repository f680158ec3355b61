// Package pubsub is the vocabulary of the server: topics, messages, positions and errors.
// Every other package uses these words.
//
// A publisher sends a [Publication] to a [Topic]. A broker orders it and gives it a
// [Position]: an offset in the topic, and an epoch, which changes when messages may have
// been lost. Subscribers then receive it as a [Message]. Instead of a publication, a
// Message can hold a [PresenceEvent], which the server makes when the members of a topic
// change. A refusal that any client may see is an [Error]: its [Code] is for programs, its
// sentence for people.
//
// Invariants:
//   - A Message and everything that it points to never change.
//   - Each parser accepts only the form that the server itself writes, and its error is an
//     Error with a code.
//
// The package holds values only. It does no I/O, starts no goroutine, and imports only the
// standard library. The Go client has its own types.
package pubsub

import "time"

// A Message is a publication that has been ordered, or a presence event. It is immutable,
// so any number of goroutines may share it.
type Message struct {
	Topic    Topic
	Position Position  // offsets of a topic strictly increase within an epoch, with holes
	Time     time.Time // when it was ordered, with a monotonic clock reading
	Body     Body
	Exclude  Connection // a connection that must not receive it; 0 for none

	Presence *PresenceEvent // if not nil, this is a presence event, which has no publisher and an empty Body
}

// A Body is a published value: a string, or any other JSON value.
type Body struct {
	Data []byte // the bytes of the string (UTF-8), or compact JSON (RFC 8259)
	JSON bool   // Data is JSON, not a string
}
