package httpstream

import (
	"github.com/ikornaselur/notiflux"
	"github.com/ikornaselur/notiflux/internal/session"
	"github.com/ikornaselur/notiflux/internal/topic"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// A dialect is a [session.Dialect] of all sessions of a format: it has no state.
type dialect notiflux.Encoding

const (
	sse         = dialect(notiflux.SSE)
	sseChunk    = dialect(notiflux.SSEChunk)
	ndjson      = dialect(notiflux.NDJSON)
	ndjsonChunk = dialect(notiflux.NDJSONChunk)
)

func (d dialect) heartbeat() []byte { return []byte(wire.Heartbeat(notiflux.Encoding(d))) }

func (d dialect) appendObject(dst []byte, o wire.Object) []byte {
	return wire.AppendObject(dst, notiflux.Encoding(d), o)
}

// AppendWithCursor implements [session.CursorWriter].
func (d dialect) AppendWithCursor(dst, frame, cursor []byte) []byte {
	return wire.AppendWithCursor(dst, wire.WithoutCursor(frame, notiflux.Encoding(d)), notiflux.Encoding(d), cursor)
}

// encoder encodes messages as chunks.
type encoder struct {
	dialect dialect
	wire    wire.Encoder
	topic   notiflux.Topic // whose hash wire has
}

func newEncoder(d dialect) session.Encoder { return &encoder{dialect: d} }

// Encode implements [session.Encoder]. Presence events cannot be expressed.
func (n *encoder) Encode(e *topic.Entry) []byte {
	m := e.Message()
	if m.Presence != nil {
		return nil
	}
	if n.topic != m.Topic {
		n.topic, n.wire.Hash = m.Topic, wire.TopicHash(m.Topic)
	}
	return n.wire.Encode(m, notiflux.Encoding(n.dialect))
}
