package posts

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// maxKept is the maximum size of memory that an answer keeps for the next one.
const maxKept = 2 * bufferBytes

// An answer is the [http.ResponseWriter] of a small post. It also has the methods of an
// [http.ResponseController] for deadlines and for flushing.
type answer struct {
	// Immutable.
	conn *conn

	status    int          // of lines
	formatted http.Header  // that lines has
	lines     bytes.Buffer // the status and the header of the last answer
	dated     int64        // the second of date, since 1970
	date      []byte       // see dateLine

	header  http.Header
	head    bytes.Buffer // without its end, until it is sent; empty before WriteHeader
	body    []byte       // not sent
	sized   bool         // head has Content-Length
	rest    int64        // if sized: how much of the body the handler has not written
	sent    bool         // head is sent
	close   bool         // close the connection afterwards
	says    bool         // the end of head says so
	failure error        // of a write
}

// reset begins the answer to the next post.
func (a *answer) reset() {
	clear(a.header)
	a.head.Reset()
	if a.head.Cap() > maxKept {
		a.head = bytes.Buffer{}
	}
	if a.lines.Cap() > maxKept {
		a.lines, a.status = bytes.Buffer{}, 0
	}
	if cap(a.body) > maxKept {
		a.body = nil
	}
	a.body, a.sized, a.rest, a.sent, a.close, a.says, a.failure = a.body[:0], false, 0, false, false, false, nil
}

// Header implements [http.ResponseWriter].
func (a *answer) Header() http.Header { return a.header }

// WriteHeader implements [http.ResponseWriter].
func (a *answer) WriteHeader(status int) {
	if a.head.Len() > 0 || a.sent {
		return
	}
	if a.says = a.conn.server.stopping.Load(); a.says {
		a.header.Del("Connection")
	}
	// Most answers have the same header as the one before.
	if status != a.status || !maps.EqualFunc(a.header, a.formatted, slices.Equal[[]string]) {
		a.format(status)
	}
	a.head.Write(a.lines.Bytes())
	if length := a.header.Get("Content-Length"); length != "" {
		a.sized = true
		a.rest, _ = strconv.ParseInt(length, 10, 64)
	}
	a.close = a.says || a.header.Get("Connection") == "close"
	a.head.Write(a.dateLine())
}

// format formats the status and the header.
func (a *answer) format(status int) {
	a.status, a.formatted = status, a.header.Clone()
	a.lines.Reset()
	fmt.Fprintf(&a.lines, "HTTP/1.1 %d %s\r\n", status, http.StatusText(status))
	_ = a.header.Write(&a.lines) // a bytes.Buffer takes everything
}

// dateLine returns the Date header line. It formats it once a second.
func (a *answer) dateLine() []byte {
	if now := time.Now(); now.Unix() != a.dated {
		a.dated = now.Unix()
		a.date = now.UTC().AppendFormat(append(a.date[:0], "Date: "...), http.TimeFormat)
		a.date = append(a.date, "\r\n"...)
	}
	return a.date
}

// Write implements [http.ResponseWriter].
func (a *answer) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	if a.sized {
		if int64(len(p)) > a.rest {
			return 0, http.ErrContentLength
		}
		a.rest -= int64(len(p))
	}
	if a.sized && len(a.body)+len(p) > bufferBytes {
		if a.send(); a.failure == nil {
			_, a.failure = a.conn.socket.Write(p)
		}
	} else {
		a.body = append(a.body, p...)
	}
	if a.failure != nil {
		return 0, a.failure
	}
	return len(p), nil
}

// send sends what there is of the answer. If the length of the body is not set, that must be
// all of it.
func (a *answer) send() {
	b := a.head.AvailableBuffer()
	if !a.sent {
		if !a.sized {
			b = append(b, "Content-Length: "...)
			b = strconv.AppendInt(b, int64(len(a.body)), 10)
			b = append(b, "\r\n"...)
		}
		if a.says {
			b = append(b, "Connection: close\r\n"...)
		}
		b = append(b, "\r\n"...)
	}
	a.head.Write(append(b, a.body...))
	a.sent, a.body = true, a.body[:0]
	if a.failure == nil && a.head.Len() > 0 {
		_, a.failure = a.conn.socket.Write(a.head.Bytes())
	}
	a.head.Reset()
}

// finish sends the rest of the answer after the handler has returned. It returns false if the
// client does not get as much as the head says. Another answer would seem to be the rest.
func (a *answer) finish() (ok bool) {
	a.WriteHeader(http.StatusOK)
	a.send()
	return a.failure == nil && a.rest == 0
}

// FlushError sends what the handler has written.
func (a *answer) FlushError() error {
	if a.sized {
		a.send()
	}
	return a.failure
}

// SetReadDeadline does nothing, because the body has arrived.
func (a *answer) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline replaces the deadline until the end of the request.
func (a *answer) SetWriteDeadline(t time.Time) error {
	a.conn.writing = time.Time{} // limitWrite sets it again
	return a.conn.socket.SetWriteDeadline(t)
}
