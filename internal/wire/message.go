// Package wire defines the bytes that clients and publishers see: commands, answers and
// events of the dialects, WebSocket frames as the server writes them, stream cursors,
// and the one table that maps an error to an HTTP status, a header or a close code.
//
// A message passes through this package once per encoding: an [Encoder] makes the frame
// that all subscribers of that encoding get. The parser of a dialect turns the message of
// a client into a command. An Append function for each type of answer
// and event writes what the server sends.
//
// All functions are pure: their results depend on their arguments only. The package does
// no I/O.
package wire

import (
	"bytes"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/ikornaselur/notiflux"
	"github.com/ikornaselur/notiflux/internal/wsframe"
)

// An Encoder encodes messages. The zero value is ready. It reuses memory, so only one
// goroutine may use it.
type Encoder struct {
	// Hash is the TopicHash of the next messages. If it is 0, Encode computes it for each.
	Hash uint64

	deflater Deflater
	scratch  []byte
}

// keepScratchBytes is the largest buffer that an Encoder keeps for the next message. It
// fits a message of the default limit whose size escapes double.
const keepScratchBytes = 256 << 10

// Encode returns the bytes that carry m to every client of encoding e. Those of
// streams carry the cursor of a client that has this one topic; [WithoutCursor]
// serves the others.
func (n *Encoder) Encode(m *notiflux.Message, e notiflux.Encoding) []byte {
	if kept := CachedEncoding(e); kept != e {
		return FrameFor(n.Encode(m, kept), e)
	}
	switch e {
	case notiflux.Text:
		return AppendText(nil, m.Body.Data)
	case notiflux.TextDeflated:
		return n.deflater.AppendFrame(nil, wsframe.Text, m.Body.Data)
	}
	if cap(n.scratch) > keepScratchBytes {
		n.scratch = nil
	}
	b := n.scratch[:0]
	defer func() { n.scratch = b }()
	switch e {
	case notiflux.JSON:
		b = AppendMessage(b, m)
		return AppendText(nil, b)
	case notiflux.JSONDeflated:
		b = AppendMessage(b, m)
		return n.deflater.AppendFrame(nil, wsframe.Text, b)
	case notiflux.SSEChunk:
		b = append(openChunk(b), "event: message\ndata: "...)
		b = AppendMessage(b, m)
		b = n.appendOwnCursor(append(b, sseCursor...), m)
		b = closeChunk(append(b, sseCursorEnd...), 0)
		return bytes.Clone(b)
	case notiflux.NDJSONChunk:
		b = appendOpenMessage(openChunk(b), m)
		b = n.appendOwnCursor(append(b, ndjsonCursor...), m)
		b = closeChunk(append(b, ndjsonCursorEnd...), 0)
		return bytes.Clone(b)
	}
	panic("wire: unknown encoding " + strconv.Itoa(int(e)))
}

// AppendMessage appends a message as the JSON object that all dialects except text use. A
// presence event is such an object already; only the JSON protocol delivers it.
func AppendMessage(dst []byte, m *notiflux.Message) []byte {
	if m.Presence != nil {
		return AppendPresenceEvent(dst, m.Presence)
	}
	return append(appendOpenMessage(dst, m), '}')
}

// appendOpenMessage appends the object without its closing brace.
func appendOpenMessage(dst []byte, m *notiflux.Message) []byte {
	dst = appendBeforeData(dst, m)
	if m.Body.JSON {
		return appendJSON(dst, m.Body.Data)
	}
	return appendString(dst, m.Body.Data)
}

// appendBeforeData appends the object up to the value that was published.
func appendBeforeData(dst []byte, m *notiflux.Message) []byte {
	dst = append(dst, `{"type":"message","topic":`...)
	dst = appendString(dst, string(m.Topic))
	dst = append(dst, `,"position":`...)
	dst = appendPosition(dst, m.Position)
	dst = append(dst, `,"time":`...)
	dst = strconv.AppendInt(dst, m.Time.UnixMilli(), 10)
	return append(dst, `,"data":`...)
}

// appendString appends s as a JSON string.
func appendString[S string | []byte](dst []byte, s S) []byte {
	// The error is about bytes that are not UTF-8. There are none, and were
	// there some, U+FFFD stands for them.
	from := len(dst)
	dst, _ = jsontext.AppendQuote(dst, s)
	return escapeBreaks(dst, from)
}

// appendPosition appends p as a JSON string. There is nothing to escape in it.
func appendPosition(dst []byte, p notiflux.Position) []byte {
	return append(p.AppendTo(append(dst, '"')), '"')
}
