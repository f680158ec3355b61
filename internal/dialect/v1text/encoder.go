package v1text

import (
	"github.com/ikornaselur/notiflux/internal/session"
	"github.com/ikornaselur/notiflux/internal/topic"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// encoder encodes messages. It has no state.
type encoder struct{}

func newEncoder() session.Encoder { return encoder{} }

// Encode implements [session.Encoder]. It returns nil for presence events, which the
// protocol cannot express.
func (encoder) Encode(e *topic.Entry) []byte {
	m := e.Message()
	if m.Presence != nil {
		return nil
	}
	return wire.AppendText(nil, m.Body.Data)
}
