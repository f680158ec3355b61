package wire

import (
	"bytes"
	"strconv"
	"time"

	"github.com/ikornaselur/notiflux"
)

// The text around a stream cursor at the end of an SSE event and of an NDJSON line.
const (
	sseCursor       = "\nid: "
	sseCursorEnd    = "\n\n"
	ndjsonCursor    = `,"cursor":"`
	ndjsonCursorEnd = "\"}\n"
)

// appendOwnCursor appends the cursor of a client that has only the topic of m and has
// received m.
func (n *Encoder) appendOwnCursor(dst []byte, m *notiflux.Message) []byte {
	places := [1]CursorPlace{{n.Hash, m.Position}}
	if n.Hash == 0 {
		places[0].Hash = TopicHash(m.Topic)
	}
	return AppendStreamCursor(dst, places[:])
}

// WithoutCursor returns the part of a frame before its stream cursor. [Encoder.Encode] or
// [AppendObject] made the frame for encoding e. [AppendWithCursor] completes the part with
// another cursor. The result shares the memory of frame.
//
// The end of the part is unambiguous. The cursor comes last in a frame and contains neither
// a newline nor a quote, so the last occurrence of its prefix is the right one. The data of
// an event has no newline, because JSON escapes it.
func WithoutCursor(frame []byte, e notiflux.Encoding) []byte {
	switch e {
	case notiflux.SSE, notiflux.SSEChunk:
		return frame[:bytes.LastIndex(frame, []byte(sseCursor))]
	case notiflux.NDJSON, notiflux.NDJSONChunk:
		return frame[:bytes.LastIndex(frame, []byte(ndjsonCursor))]
	}
	panic("wire: no cursor in encoding " + strconv.Itoa(int(e)))
}

// AppendWithCursor appends a result of [WithoutCursor] with another cursor. It corrects the
// size in the header of a chunk.
func AppendWithCursor(dst, frame []byte, e notiflux.Encoding, cursor []byte) []byte {
	before, after := sseCursor, sseCursorEnd
	if e == notiflux.NDJSON || e == notiflux.NDJSONChunk {
		before, after = ndjsonCursor, ndjsonCursorEnd
	}
	at := len(dst)
	dst = append(append(dst, frame...), before...)
	dst = append(append(dst, cursor...), after...)
	if isChunk(e) {
		return closeChunk(dst, at)
	}
	return dst
}

// An Object is an answer or event of the server: a JSON object, and the fields that an SSE
// event has besides.
type Object struct {
	JSON   []byte        // from one of the Append functions
	Event  string        // the name of the event: the type of the object
	Cursor []byte        // nil for none
	Retry  time.Duration // after which the client should reconnect; 0 for none
}

// AppendObject appends o in encoding e: as a text frame with the JSON only, as an SSE event,
// or as an NDJSON line with the cursor as its last member. The text protocol has no
// objects.
func AppendObject(dst []byte, e notiflux.Encoding, o Object) []byte {
	switch e {
	case notiflux.SSEChunk, notiflux.NDJSONChunk:
		return closeChunk(AppendObject(openChunk(dst), dataOf(e), o), len(dst))
	case notiflux.JSON, notiflux.JSONDeflated:
		return AppendText(dst, o.JSON)
	case notiflux.SSE:
		if o.Retry > 0 {
			dst = append(dst, "retry: "...)
			dst = append(strconv.AppendInt(dst, o.Retry.Milliseconds(), 10), '\n')
		}
		dst = append(append(dst, "event: "...), o.Event...)
		dst = append(append(dst, "\ndata: "...), o.JSON...)
		if o.Cursor != nil {
			return AppendWithCursor(dst, nil, e, o.Cursor)
		}
		return append(dst, "\n\n"...)
	case notiflux.NDJSON:
		if o.Cursor != nil {
			return AppendWithCursor(dst, o.JSON[:len(o.JSON)-1], e, o.Cursor)
		}
		return append(append(dst, o.JSON...), '\n')
	}
	panic("wire: no objects in encoding " + strconv.Itoa(int(e)))
}

// Heartbeat returns what the server writes to keep a stream of encoding e alive: an SSE
// comment, or an NDJSON line of type ping.
func Heartbeat(e notiflux.Encoding) string {
	switch e {
	case notiflux.SSE:
		return ":\n\n"
	case notiflux.NDJSON:
		return "{\"type\":\"ping\"}\n"
	case notiflux.SSEChunk, notiflux.NDJSONChunk:
		return string(closeChunk(append(openChunk(nil), Heartbeat(dataOf(e))...), 0))
	}
	panic("wire: no heartbeat in encoding " + strconv.Itoa(int(e)))
}
