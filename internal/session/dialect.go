package session

import (
	"slices"
	"time"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/format"
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
	// the pin where each begins, which the session then owns, and the claims of the token. The
	// caller has checked that the client may read the topics. If they are topics of patterns,
	// no pattern contains another one.
	Subscriptions []Subscription
	Pins          []topic.Pin
	Claims        *auth.Claims

	// For streams: the outcome for each topic, in byte order. Open of the group sets it
	// before it calls Open of the endpoint.
	Subscribed []Subscribed
}

// A Credential is the outcome of verifying a token. The zero value means that there is no
// token.
type Credential struct {
	Claims *auth.Claims
	Err    error // why the token was refused

	granted bool // the operator subscribes: what the token allows does not matter
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

	// Unsubscribed reports that the server ended subscriptions: TokenExpired at the time
	// `until` of their token, TokenRevoked by the operator.
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

// A CursorWriter is a [Dialect] of streams. The frames of a stream of several topics, or of
// patterns, differ from those that an [Encoder] makes, because each has the stream cursor of its
// session.
type CursorWriter interface {
	// AppendWithCursor appends frame with another stream cursor. The encoder made frame for
	// clients of this one topic.
	AppendWithCursor(dst, frame, cursor []byte) []byte
}

// An Encoding is one form in which log entries are written.
type Encoding = format.Encoding

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

// newFormats returns the formats of a loop, two for each endpoint.
func newFormats(endpoints []*Endpoint) []format.Format {
	encodings := make([]Encoding, len(endpoints))
	for i, e := range endpoints {
		encodings[i] = e.Encoding
	}
	return format.New(encodings)
}

// formatOf returns the index in Group.formats of the format of a client of e.
func (g *Group) formatOf(e *Endpoint, r Request) uint8 {
	i := 2 * slices.Index(g.config.Endpoints, e)
	if i < 0 {
		panic("session: endpoint is not in Config.Endpoints")
	}
	if e.Encoding.Chunked && !r.Chunked || e.Encoding.Deflatable && r.Compressed {
		i++
	}
	return uint8(i)
}
