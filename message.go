// Package notiflux is the vocabulary of the server: topics, messages,
// positions and errors. Every other package speaks in these words.
//
// A message is published to a [Topic] and gets a [Position] when it is ordered;
// a refusal that any client may see is an [Error].
//
// The package holds values only: no I/O, no goroutine, nothing but the
// standard library.
package notiflux

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

// An Encoding names one way in which messages are written to clients.
// A message is encoded once per Encoding below [Encodings], whatever the number of
// clients. Each of the others is a part of one of those.
type Encoding uint8

// The encodings in use.
const (
	Text         Encoding = iota // a WebSocket text frame that holds Body.Data
	TextDeflated                 // the same, compressed where that makes it shorter (RFC 7692)
	JSON                         // a WebSocket text frame that holds the message as a JSON object
	JSONDeflated                 // the same, compressed where that makes it shorter
	SSEChunk                     // a chunk of HTTP/1.1 with a server-sent event that holds that object (RFC 9112 section 7.1; HTML standard, section 9.2)
	NDJSONChunk                  // a chunk of HTTP/1.1 with that object on a line of its own
	Encodings                    // how many a log keeps
	SSE                          // the event of an SSEChunk
	NDJSON                       // the line of a NDJSONChunk
)
