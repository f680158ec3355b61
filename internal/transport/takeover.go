package transport

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// A Taken is a response without end that was taken over from net/http.
type Taken struct {
	Conn    net.Conn // without deadlines; the caller's to close. What is written to it is the body, behind Head
	Head    []byte   // to be written first; nil: it is written
	Early   []byte   // what the client sent already behind its request
	Chunked bool     // what is written to Conn is to be chunks (RFC 9112 section 7.1)

	response *responseConn // nil: the connection was hijacked
}

// SetStreamHeader sets in h what the head of every stream says, whoever asks
// for it: its type, and that nobody between may keep it or hold it back.
func SetStreamHeader(h http.Header, contentType string) {
	h.Set("Content-Type", contentType)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no")
}

// TakeOver answers a request with 200 and the headers that are set on w, and
// takes the response over from net/http: with HTTP/1 the whole connection, which
// serves no further request; with anything that has no connection of its own to
// give, HTTP/2 above all, the writer w. With HTTP/1.1 the body is in chunks, with
// HTTP/1.0 it ends with the connection. On an error nothing can be answered any more.
//
// The handler of the request calls [Taken.Wait] before it returns.
func TakeOver(w http.ResponseWriter, r *http.Request) (Taken, error) {
	conn, rw, err := http.NewResponseController(w).Hijack()
	if errors.Is(err, http.ErrNotSupported) {
		return takeWriter(w, r)
	}
	if err != nil {
		return Taken{}, fmt.Errorf("take over: %w", err)
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		conn.Close()
		return Taken{}, fmt.Errorf("take over: %w", err)
	}
	chunked := r.ProtoAtLeast(1, 1)
	return Taken{Conn: conn, Head: streamHead(w.Header(), chunked), Early: buffered(rw.Reader), Chunked: chunked}, nil
}

// streamHead returns the head of the last response of a connection. Its body is in
// chunks, or ends with the connection (RFC 9112 section 6.3).
func streamHead(h http.Header, chunked bool) []byte {
	h.Set("Connection", "close")
	if chunked {
		h.Set("Transfer-Encoding", "chunked")
	}
	h.Set("Date", time.Now().UTC().Format(http.TimeFormat))
	var head bytes.Buffer
	head.WriteString("HTTP/1.1 200 OK\r\n")
	_ = h.Write(&head) // a Buffer takes everything
	head.WriteString("\r\n")
	return head.Bytes()
}

// takeWriter is TakeOver of a response that has no connection to give.
func takeWriter(w http.ResponseWriter, r *http.Request) (Taken, error) {
	c := newResponseConn(w, r)
	// A writer that knows no deadlines has none.
	_ = c.control.SetReadDeadline(time.Time{})
	_ = c.control.SetWriteDeadline(time.Time{})
	w.WriteHeader(http.StatusOK)
	if err := c.control.Flush(); err != nil {
		return Taken{}, fmt.Errorf("take over: %w", err)
	}
	return Taken{Conn: c, response: c}, nil
}

// Wait returns when net/http may have back what was not taken: at once after a
// hijack, else when Conn is closed.
func (t *Taken) Wait() {
	if t.response != nil {
		t.response.wait()
	}
}
