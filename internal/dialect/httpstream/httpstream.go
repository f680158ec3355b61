// Package httpstream is the dialect of the HTTP streams (docs/protocol.md, section 3):
// responses without end to GET /events (server-sent events) and GET /stream (NDJSON).
//
// A client names its topics in its request and sends no commands afterwards. Package
// httpapi checks the request, attaches the topics and opens the session. The first frame,
// hello, tells the client for each topic whether it resumed. Then each message, gap and end
// of a subscription becomes one frame.
//
// Every frame except heartbeats and the bye has a stream cursor: how far the client is in each
// topic. A client that reconnects sends the last one back to resume. The encoder makes the
// frame of a message once, with the cursor of a client that subscribes to that topic only
// (encoder.go). A client of several topics or of patterns gets a copy of that frame with its own cursor.
//
// A stream whose subscriptions have all ended is closed. A stream that the server ends gets
// a bye, which says why and when to reconnect.
//
// The streams carry no presence events. The dialect has no state and does no I/O; package
// transport writes the response.
package httpstream

import (
	"time"

	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/session"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// A client whose stream breaks reconnects after a random time between these two. The delay
// is short for a person, and spreads the load of the server.
const (
	minRetry = time.Second
	maxRetry = 3 * time.Second
)

// How a stream ends whose subscriptions have all ended.
var (
	endExpired = session.End{Code: pubsub.TokenExpired, CloseCode: wire.CloseNormal, Reason: "the last subscription has ended"}
	endRevoked = session.End{Code: pubsub.TokenRevoked, CloseCode: wire.CloseRevoked, Reason: "the operator has ended the last subscription"}
)

// Events returns the endpoint of server-sent events.
func Events() *session.Endpoint { return endpoint("/events", "text/event-stream", "sse", sse) }

// NDJSON returns the endpoint of NDJSON.
func NDJSON() *session.Endpoint {
	return endpoint("/stream", "application/x-ndjson", "ndjson", ndjson)
}

func endpoint(path, mediaType, name string, x syntax) *session.Endpoint {
	plain, chunked := &dialect{syntax: x}, &dialect{syntax: x, chunked: true}
	return &session.Endpoint{
		Path:      path,
		MediaType: mediaType,
		Heartbeat: chunked.heartbeat(),
		Encoding:  session.Encoding{Name: name, New: x.newEncoder, Chunked: true},
		Open: func(s *session.Session, r session.Request) session.Dialect {
			d := plain
			if r.Chunked {
				d = chunked
			}
			if len(r.Subscribed) > 0 {
				d.hello(s, r.Subscribed)
			}
			return d
		},
	}
}

// dialect is the [session.Dialect] of all sessions of a syntax, with or without chunks. It
// has no state.
type dialect struct {
	syntax  syntax
	chunked bool
}

func (d *dialect) hello(s *session.Session, subscribed []session.Subscribed) {
	topics := make([]wire.SubscribedTopic, len(subscribed))
	for i, r := range subscribed {
		topics[i] = wire.SubscribedTopic{Topic: r.Topic, Position: r.Position, Recovered: r.Recovered, Replay: r.Replay}
	}
	d.send(s, object{event: "hello", json: appendHello(nil, s.NameConnection().String(), topics), retry: s.RandomBetween(minRetry, maxRetry)})
}

// appendHello appends the first object of a stream.
func appendHello(dst []byte, connection string, topics []wire.SubscribedTopic) []byte {
	dst = append(dst, `{"type":"hello","connection":`...)
	dst = wire.AppendString(dst, connection)
	return append(wire.AppendSubscribedTopics(dst, topics), '}')
}

// send queues an object with the stream cursor of the session.
func (d *dialect) send(s *session.Session, o object) {
	o.cursor = s.AppendCursor(nil)
	s.Send(d.appendObject(nil, o))
}

// Receive implements [session.Dialect]. Clients of streams send no messages.
func (*dialect) Receive(*session.Session, []byte, bool) {}

// Gap implements [session.Dialect].
func (d *dialect) Gap(s *session.Session, name pubsub.Topic, to pubsub.Position) {
	d.send(s, object{event: "gap", json: wire.AppendGap(nil, name, to)})
}

// Skipped implements [session.Dialect].
func (d *dialect) Skipped(s *session.Session, name pubsub.Topic, from, to pubsub.Position) {
	d.send(s, object{event: "skipped", json: wire.AppendSkipped(nil, name, from, to)})
}

// Unsubscribed implements [session.Dialect].
func (d *dialect) Unsubscribed(s *session.Session, topics []pubsub.Topic, why pubsub.Code) {
	d.send(s, object{event: "unsubscribed", json: wire.AppendUnsubscribed(nil, topics, why)})
	switch {
	case len(s.Topics()) > 0:
	case why == pubsub.TokenRevoked:
		s.EndWhenDelivered(&endRevoked)
	default:
		s.EndWhenDelivered(&endExpired)
	}
}

// Goodbye implements [session.Dialect].
func (d *dialect) Goodbye(_ *session.Session, e session.End) ([]byte, wire.CloseCode, string) {
	if e.Code == "" {
		return nil, e.CloseCode, e.Reason
	}
	bye := object{event: "bye", json: wire.AppendBye(nil, e.Code, e.After), retry: e.After}
	return d.appendObject(nil, bye), e.CloseCode, e.Reason
}
