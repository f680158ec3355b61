package wire

import (
	"github.com/go-json-experiment/json/jsontext"

	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/strictjson"
)

// ReadBody returns the member `message` of a command or a request as a body, in new memory.
// value must come from r. If the message is longer than maxBytes, the error is
// [pubsub.TooLarge].
func ReadBody(r *strictjson.Reader, value jsontext.Value, maxBytes int) (body pubsub.Body, err error) {
	var data []byte
	if body.JSON = value.Kind() != jsontext.KindString; body.JSON {
		data, err = r.Compact(value)
	} else {
		data, err = r.Text(value, "`message`")
	}
	switch {
	case err != nil:
		return pubsub.Body{}, err
	case len(data) > maxBytes:
		return pubsub.Body{}, pubsub.Errorf(pubsub.TooLarge, "the message has %d bytes; the limit is %d", len(data), maxBytes)
	}
	// The capacity is exactly the length, because the log counts the length.
	body.Data = append(make([]byte, 0, len(data)), data...)
	return body, nil
}
