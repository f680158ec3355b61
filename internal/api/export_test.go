package api

import (
	"github.com/ikornaselur/notiflux"
	"github.com/ikornaselur/notiflux/internal/auth"
)

// A DecoderForTest decodes bodies of broadcasts one after the other, in the
// same memory.
type DecoderForTest struct{ decoder }

// Decode decodes text; messages may have up to messageBytes.
func (d *DecoderForTest) Decode(text []byte, messageBytes int) (notiflux.Topic, notiflux.Body, auth.Token, error) {
	d.body.Reset()
	d.body.Write(text)
	b, err := d.decode(limits{messageBytes: messageBytes})
	return b.topic, b.body, b.token, err
}
