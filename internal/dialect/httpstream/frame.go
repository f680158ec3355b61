package httpstream

import (
	"bytes"
	"strconv"
	"time"

	"github.com/ikornaselur/notiflux/internal/wire"
)

// A syntax is the form in which a stream is written.
type syntax uint8

const (
	sse    syntax = iota // server-sent events (HTML standard, section 9.2)
	ndjson               // JSON objects, one per line
)

// cursorText is the text around a stream cursor, which ends a frame.
var cursorText = [...]struct{ before, after string }{
	sse:    {"\nid: ", "\n\n"},
	ndjson: {`,"cursor":"`, "\"}\n"},
}

// An object is a JSON object, and the information that a stream adds to it.
type object struct {
	event  string // its type
	json   []byte
	cursor []byte        // nil: no cursor
	retry  time.Duration // after which the client should reconnect; 0: left out; only for SSE
}

// appendObject appends a frame with o.
func (d *dialect) appendObject(dst []byte, o object) []byte {
	begin := len(dst)
	if d.chunked {
		dst = wire.OpenChunk(dst)
	}
	if d.syntax == sse && o.retry > 0 {
		dst = append(dst, "retry: "...)
		dst = append(strconv.AppendInt(dst, o.retry.Milliseconds(), 10), '\n')
	}
	dst = d.syntax.appendStart(dst, o.event)
	switch dst = append(dst, o.json...); {
	case o.cursor != nil:
		dst = d.syntax.appendCursor(d.syntax.openObject(dst), o.cursor)
	case d.syntax == sse:
		dst = append(dst, "\n\n"...)
	default:
		dst = append(dst, '\n')
	}
	if d.chunked {
		dst = wire.CloseChunk(dst, begin)
	}
	return dst
}

// appendStart appends the part of a frame before its object.
func (x syntax) appendStart(dst []byte, event string) []byte {
	if x == ndjson {
		return dst
	}
	return append(append(append(dst, "event: "...), event...), "\ndata: "...)
}

// openObject prepares dst, which ends with an object, for a cursor: in NDJSON the cursor is
// the last member of the object.
func (x syntax) openObject(dst []byte) []byte {
	if x == ndjson {
		return dst[:len(dst)-1]
	}
	return dst
}

// appendCursor appends a cursor and the end of the frame.
func (x syntax) appendCursor(dst, cursor []byte) []byte {
	dst = append(append(dst, cursorText[x].before...), cursor...)
	return append(dst, cursorText[x].after...)
}

// AppendWithCursor implements [session.CursorWriter].
//
// The place of the cursor in frame is unambiguous. The cursor comes last and contains
// neither a newline nor a quote, so the last occurrence of the text before it is the right
// one. The data of an event contains no newline, because JSON escapes it.
func (d *dialect) AppendWithCursor(dst, frame, cursor []byte) []byte {
	begin := len(dst)
	dst = append(dst, frame[:bytes.LastIndex(frame, []byte(cursorText[d.syntax].before))]...)
	dst = d.syntax.appendCursor(dst, cursor)
	if d.chunked {
		dst = wire.CloseChunk(dst, begin)
	}
	return dst
}

// heartbeat returns a frame that clients ignore: a comment, or an object of type ping.
func (d *dialect) heartbeat() []byte {
	text := ":\n\n"
	if d.syntax == ndjson {
		text = "{\"type\":\"ping\"}\n"
	}
	if d.chunked {
		return wire.CloseChunk(append(wire.OpenChunk(nil), text...), 0)
	}
	return []byte(text)
}
