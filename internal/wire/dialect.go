package wire

import (
	"bytes"
	"strconv"
	"time"

	"github.com/ikornaselur/notiflux"
)

// What is around a cursor at the end of an event and of a line.
const (
	sseCursor       = "\nid: "
	sseCursorEnd    = "\n\n"
	ndjsonCursor    = `,"cursor":"`
	ndjsonCursorEnd = "\"}\n"
)

// appendOwnCursor appends the cursor of a client that has the topic of m only
// and was given m.
func (n *Encoder) appendOwnCursor(dst []byte, m *notiflux.Message) []byte {
	places := [1]CursorOffset{{n.Hash, m.Position.Offset}}
	if n.Hash == 0 {
		places[0].Hash = TopicHash(m.Topic)
	}
	return AppendStreamCursor(dst, m.Position.Epoch, places[:])
}

// WithoutCursor returns what comes before the cursor in a frame that
// [Encoder.Encode] or [AppendObject] made for encoding e, one that has a cursor;
// [AppendWithCursor] takes it from there. It is a part of frame, which stays as
// it is.
//
// The place is unambiguous. A cursor is the last thing in its frame, and holds
// neither a newline nor a quote, so the last of what introduces it is the one;
// and an event has no newline inside its data, since JSON writes them as \n.
func WithoutCursor(frame []byte, e notiflux.Encoding) []byte {
	switch e {
	case notiflux.SSE, notiflux.SSEChunk:
		return frame[:bytes.LastIndex(frame, []byte(sseCursor))]
	case notiflux.NDJSON, notiflux.NDJSONChunk:
		return frame[:bytes.LastIndex(frame, []byte(ndjsonCursor))]
	}
	panic("wire: no cursor in encoding " + strconv.Itoa(int(e)))
}

// AppendWithCursor appends what [WithoutCursor] returned, with another cursor. The
// header of a chunk then says the new size.
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

// An Object is one of the JSON objects that the server sends, and what an event
// stream says around it.
type Object struct {
	JSON   []byte        // as one of the Append functions wrote it
	Event  string        // the name of the event, which is the type of the object
	Cursor []byte        // nil: none
	Retry  time.Duration // after which the client is to reconnect; 0: not said
}

// AppendObject appends o as clients of encoding e read it: as a text frame,
// which has the JSON only, as a server-sent event, or as a line, which has the
// cursor as its last member. Clients of the text protocol get no objects.
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

// Heartbeat returns what keeps a stream of encoding e alive and means nothing:
// a comment, or a line of type ping.
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
