// Package wire defines bytes that several dialects, HTTP answers and publishers share: the
// JSON object of a message, events, stream cursors, frames that the server writes, and the
// one table that maps an error to an HTTP status, a header or a close code.
//
// A dialect makes the frame of a message from [AppendMessage] and from what it puts around
// it. Other objects have an Append function each.
//
// All functions are pure: their results depend on their arguments only. The package does
// no I/O.
package wire

import (
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// AppendMessage appends a message as the JSON object that all dialects except text use.
func AppendMessage(dst []byte, m *pubsub.Message) []byte {
	dst = appendBeforeData(dst, m)
	if m.Body.JSON {
		dst = appendJSON(dst, m.Body.Data)
	} else {
		dst = AppendString(dst, m.Body.Data)
	}
	return append(dst, '}')
}

// appendBeforeData appends the object up to the value that was published.
func appendBeforeData(dst []byte, m *pubsub.Message) []byte {
	dst = append(dst, `{"type":"message","topic":`...)
	dst = AppendString(dst, string(m.Topic))
	dst = append(dst, `,"position":`...)
	dst = AppendPosition(dst, m.Position)
	dst = append(dst, `,"time":`...)
	dst = strconv.AppendInt(dst, m.Time.UnixMilli(), 10)
	return append(dst, `,"data":`...)
}

// AppendString appends s as a JSON string.
func AppendString[S string | []byte](dst []byte, s S) []byte {
	// The error is about bytes that are not UTF-8. There are none, and were
	// there some, U+FFFD stands for them.
	from := len(dst)
	dst, _ = jsontext.AppendQuote(dst, s)
	return escapeBreaks(dst, from)
}

// AppendPosition appends p as a JSON string. There is nothing to escape in it.
func AppendPosition(dst []byte, p pubsub.Position) []byte {
	return append(p.AppendTo(append(dst, '"')), '"')
}
