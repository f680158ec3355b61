package wire

import (
	"github.com/go-json-experiment/json/jsontext"

	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/strictjson"
)

// ReadBody returns the member `message` of a command or a request as a body in memory of
// its own. r must have read value. If the message has more than maxBytes, the error is
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
	// The capacity is the length: that is what the log counts.
	body.Data = append(make([]byte, 0, len(data)), data...)
	return body, nil
}
