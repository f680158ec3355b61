// Package wire defines the bytes that several dialects, HTTP answers and publishers share.
//
// It appends the JSON object of a message ([AppendMessage]), and those of events and
// answers (answers.go, presence.go). It reads the members that commands and request bodies
// share (body.go, members.go). It also has stream cursors ([StreamCursor]). It puts
// what the server writes into HTTP chunks or, with package wsframe, WebSocket frames, and
// compresses these. One table maps error codes to HTTP statuses and headers
// ([ErrorResponseOf]).
//
// A dialect builds the frame of a message from AppendMessage and its own framing. The log
// caches that frame, so a message is encoded once for each dialect (and once more for
// compression), not once for each client. A large answer is instead encoded piece by piece
// ([BeginMessage], [Partial]).
//
// Invariants:
//   - The result of a function depends only on its arguments.
//   - JSON is compact and contains no character that a program may take for the end of a
//     line.
//   - A stream cursor that the server once wrote is still accepted by later versions of the
//     server.
//
// The package does no I/O, except that [WriteProblem] writes to a
// [net/http.ResponseWriter]. It does not know any dialect.
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

// appendBeforeData appends the object up to the published value.
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
	// An error would mean invalid UTF-8. There should be none, and U+FFFD replaces it.
	from := len(dst)
	dst, _ = jsontext.AppendQuote(dst, s)
	return escapeBreaks(dst, from)
}

// AppendPosition appends p as a JSON string. Positions need no escapes.
func AppendPosition(dst []byte, p pubsub.Position) []byte {
	return append(p.AppendTo(append(dst, '"')), '"')
}
