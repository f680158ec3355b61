package httpstream

import (
	"bytes"

	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/session"
	"github.com/ikornaselur/notiflux/internal/topic"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// keepScratchBytes is the maximum memory that an encoder keeps for the next message. It is
// enough for a message of the default size limit, even if escapes double it.
const keepScratchBytes = 256 << 10

// encoder encodes messages as chunks. Each chunk has the stream cursor of a client that
// subscribes to this topic only and has received the message.
type encoder struct {
	syntax  syntax
	scratch []byte
	topic   pubsub.Topic // of the last message
	hash    uint64       // of topic
}

func (x syntax) newEncoder() session.Encoder { return &encoder{syntax: x} }

// Encode implements [session.Encoder]. It returns nil for presence events, which a stream
// cannot express.
func (n *encoder) Encode(e *topic.Entry) []byte {
	m := e.Message()
	if m.Presence != nil {
		return nil
	}
	if n.topic != m.Topic || n.hash == 0 {
		n.topic, n.hash = m.Topic, wire.TopicHash(m.Topic)
	}
	if cap(n.scratch) > keepScratchBytes {
		n.scratch = nil
	}
	b := n.syntax.appendStart(wire.OpenChunk(n.scratch[:0]), "message")
	b = n.syntax.openObject(wire.AppendMessage(b, m))
	b = append(b, cursorText[n.syntax].before...)
	b = wire.AppendStreamCursor(b, []wire.CursorPlace{{Hash: n.hash, Position: m.Position}})
	b = append(b, cursorText[n.syntax].after...)
	n.scratch = wire.CloseChunk(b, 0)
	return bytes.Clone(n.scratch)
}
