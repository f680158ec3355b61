package call

import (
	"errors"
	"unicode/utf8"

	"github.com/ikornaselur/notiflux/client/internal/wire"
)

// A Body is what a program publishes.
type Body struct {
	Topic        string
	Data         []byte // published as a string, if JSON is nil
	JSON         any    // published as encoding/json encodes it
	Key, Exclude string // empty: none
}

var (
	errNotUTF8 = errors.New("the message is not UTF-8; publish binary data as text, for example as base64")
	errBoth    = errors.New("the message has both Data and JSON; set one of them")
)

// Encode returns b as the server takes it.
func (b Body) Encode() ([]byte, error) {
	if err := wire.CheckTopic(b.Topic); err != nil {
		return nil, err
	}
	message := b.JSON
	switch {
	case message == nil && !utf8.Valid(b.Data):
		return nil, errNotUTF8 // encoding/json would replace the invalid bytes
	case message == nil:
		message = string(b.Data)
	case b.Data != nil:
		return nil, errBoth
	}
	return wire.Encode(struct {
		Topic   string `json:"topic"`
		Message any    `json:"message"`
		Key     string `json:"key,omitempty"`
		Exclude string `json:"exclude,omitempty"`
	}{b.Topic, message, b.Key, b.Exclude})
}
