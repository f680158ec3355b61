package v1json

import (
	"github.com/ikornaselur/notiflux/internal/session"
	"github.com/ikornaselur/notiflux/internal/topic"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// keepScratchBytes is the maximum memory that an encoder keeps for the next message. It is
// enough for a message of the default size limit, even if escapes double it.
const keepScratchBytes = 256 << 10

// encoder encodes messages and presence events.
type encoder struct {
	scratch []byte
}

func newEncoder() session.Encoder { return new(encoder) }

// Encode implements [session.Encoder].
func (n *encoder) Encode(e *topic.Entry) []byte {
	if cap(n.scratch) > keepScratchBytes {
		n.scratch = nil
	}
	if m := e.Message(); m.Presence != nil {
		n.scratch = appendPresenceEvent(n.scratch[:0], m.Presence)
	} else {
		n.scratch = wire.AppendMessage(n.scratch[:0], m)
	}
	return wire.AppendText(nil, n.scratch)
}
