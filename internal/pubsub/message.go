// Package pubsub is the vocabulary of the server: topics, messages,
// positions and errors. Every other package speaks in these words.
//
// A message is published to a [Topic] and gets a [Position] when it is ordered;
// a refusal that any client may see is an [Error].
//
// The package holds values only: no I/O, no goroutine, nothing but the
// standard library.
package pubsub

import "time"

// A Message is what a publisher sent to a topic, once it is ordered.
// It is immutable, and so may be shared by any number of goroutines.
type Message struct {
	Topic    Topic
	Position Position  // its place: offsets of a topic strictly increase within an epoch, with holes
	Time     time.Time // when it was ordered, with the monotonic clock's reading
	Body     Body
	Exclude  Connection // does not get it; 0: nobody

	Presence *PresenceEvent // not nil: nobody published the message, it says who is present, and Body is empty
}

// A Body is the value that was published: a string, or any other JSON value.
type Body struct {
	Data []byte // the string's own bytes (UTF-8), or the compact JSON (RFC 8259)
	JSON bool   // Data is JSON, not a string
}
