package session

import (
	"time"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/topic"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// An Endpoint says where clients find a dialect, and how their sessions begin. The server
// lists its endpoints, one line each. Package httpapi mounts them.
type Endpoint struct {
	// For WebSockets: the subprotocol that clients offer at /ws (RFC 6455 section 1.9). The
	// default endpoint also serves clients that offer no known subprotocol.
	Subprotocol  string
	Default      bool
	ConnectToken bool // verify the token that a client connects with, for Request.Credential

	// For streams: the response to GET Path has no end.
	Path, MediaType string
	Heartbeat       []byte // a frame that keeps the stream alive and has no meaning

	Encoding Encoding

	// Open begins the dialect's side of a session. It may send messages or end the session.
	// The Dialect may be shared by all sessions or new for each. All loops call Open
	// concurrently.
	Open func(*Session, Request) Dialect
}

// isStream reports whether clients of e send no commands and keep a stream cursor.
func (e *Endpoint) isStream() bool { return e.Path != "" }

// A Request is the information from a client's HTTP request.
type Request struct {
	Credential Credential    // of the connection's token, if Endpoint.ConnectToken is set
	Now        time.Duration // by the loop's clock
	Compressed bool          // for WebSockets: permessage-deflate was negotiated
	Chunked    bool          // for streams: its frames are chunks of HTTP/1.1

	// For streams: the topics to subscribe to (at least one, no duplicates, in byte order),
	// the pin where each begins, which the session then owns, and the end of the
	// subscriptions (zero: never). The caller has checked that the client may read the
	// topics.
	Subscriptions []Subscription
	Pins          []topic.Pin
	Until         time.Time

	// For streams: the outcome for each topic, in byte order. Open of the group sets it
	// before it calls Open of the endpoint.
	Subscribed []Subscribed
}

// A Credential is the outcome of verifying a token. The zero value means that there is no
// token.
type Credential struct {
	Claims *auth.Claims
	Err    error // why the token was refused
}

// A Dialect is the language of an endpoint's clients. It turns their messages into calls of
// a [Session]. It turns events of the session into bytes, which it queues with
// [Session.Send] or [Session.SendText]. The session calls it on its loop, one call at a
// time.
type Dialect interface {
	// Receive handles one message of the client, which is valid during the call. Text is
	// valid UTF-8. The session is not Busy. Streams never call it.
	Receive(s *Session, message []byte, binary bool)

	// Gap reports that messages of a topic are missing up to position to. Everything before
	// the gap has been written. A dialect that cannot express a gap calls s.EndWithin.
	Gap(s *Session, name pubsub.Topic, to pubsub.Position)

	// Skipped reports that a client in mode latest does not get the messages after from, up
	// to and including to.
	Skipped(s *Session, name pubsub.Topic, from, to pubsub.Position)

	// Unsubscribed reports that the server ended subscriptions.
	Unsubscribed(s *Session, topics []pubsub.Topic, why pubsub.Code)

	// Goodbye returns the last frames of the session (nil for none), and the close code and
	// the reason, usually those of e.
	Goodbye(s *Session, e End) (frames []byte, code wire.CloseCode, reason string)
}

// A Ticker is a [Dialect] with timers. The session calls Tick at each tick of its
// connection, and at the times requested with [Session.Arm].
type Ticker interface {
	Tick(s *Session, now time.Duration)
}

// A CursorWriter is a [Dialect] of streams. The frames of a stream of several topics differ
// from those that an [Encoder] makes, because each has the stream cursor of its session.
type CursorWriter interface {
	// AppendWithCursor appends frame with another stream cursor. The encoder made frame for
	// clients of this one topic.
	AppendWithCursor(dst, frame, cursor []byte) []byte
}

// An Encoding is one form in which log entries are written. An entry is encoded once for
// all sessions of an encoding. Encodings of several endpoints are the same if their names
// are.
type Encoding struct {
	Name string
	New  func() Encoder // returns the encoder of one loop

	// Chunked says that each frame is one chunk of HTTP/1.1 (wire.OpenChunk). Streams
	// require it. Clients of other versions get the content of the chunk, without a copy.
	Chunked bool

	// Deflatable says that each frame is one WebSocket text frame. Clients that negotiated
	// permessage-deflate get a compressed form, which the session makes. Several frames at
	// once are not compressed.
	Deflatable bool
}

// An Encoder turns entries into frames. It always returns the same bytes for the same
// entry. It returns nil for an entry that the dialect cannot express; the session skips the
// entry. An Encoder is for one goroutine.
type Encoder = topic.Encoder

// An End says why the server ends a session.
type End struct {
	Code      pubsub.Code    // for clients; empty: the close code is enough
	CloseCode wire.CloseCode // for WebSockets; also counted in the metrics
	Reason    string

	// The client should reconnect after a random time between Least and Most. The session
	// sets After before it calls [Dialect.Goodbye].
	Least, Most time.Duration
	After       time.Duration
}

// A format is the form in which sessions of an endpoint get log entries: plain or
// compressed, with or without chunks. Each endpoint has two.
type format struct {
	topic.Format
	endpoint  *Endpoint
	lastChunk string // ends the body of a stream properly; empty without chunks
}

// newFormats returns the formats of a loop, two for each endpoint.
func newFormats(endpoints []*Endpoint) []format {
	formats := make([]format, 0, 2*len(endpoints))
	first := make(map[string]int) // index of the first format of each encoding, by name
	deflater := new(wire.Deflater)
	for _, e := range endpoints {
		plain := format{endpoint: e}
		if at, known := first[e.Encoding.Name]; known {
			plain.Format = formats[at].Format
		} else {
			first[e.Encoding.Name] = len(formats)
			plain.Format = topic.Format{Encoding: uint8(len(formats)), Encoder: e.Encoding.New()}
		}
		other := plain
		switch {
		case e.Encoding.Chunked:
			plain.lastChunk = wire.LastChunk
			other.Front, other.Back = wire.ChunkFront, wire.ChunkBack
		case e.Encoding.Deflatable:
			other.Encoding++
			other.Encoder = &topic.Derived{From: plain.Format, Change: deflater.Deflate}
		}
		formats = append(formats, plain, other)
	}
	return formats
}

// formatOf returns the index of the format of a client of e.
func (g *Group) formatOf(e *Endpoint, r Request) uint8 {
	for i := range g.formats {
		if g.formats[i].endpoint != e {
			continue
		}
		if e.Encoding.Chunked && !r.Chunked || e.Encoding.Deflatable && r.Compressed {
			i++
		}
		return uint8(i)
	}
	panic("session: endpoint is not in Config.Endpoints")
}
