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
	Conn    net.Conn // without deadlines; the caller closes it; bytes written to it are the body, after Head
	Head    []byte   // the caller writes it first; nil: it was already written
	Early   []byte   // bytes that the client has already sent after its request
	Chunked bool     // the bytes written to Conn must be chunks (RFC 9112 section 7.1)

	response *responseConn // nil: the connection was hijacked
}

// SetStreamHeader sets the headers of every stream in h: its type, and that proxies must
// not cache or buffer it.
func SetStreamHeader(h http.Header, contentType string) {
	h.Set("Content-Type", contentType)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no")
}

// TakeOver answers a request with 200 and the headers that are set on w, and takes the
// response over from net/http. With HTTP/1 it takes the whole connection, which then serves
// no further request. If a request has no connection of its own, as in HTTP/2, it takes the
// writer w. With HTTP/1.1 the body is chunked; with HTTP/1.0 it ends with the connection.
// After an error the request cannot be answered.
//
// The handler of the request must call [Taken.Wait] before it returns.
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

// streamHead returns the head of the last response of a connection. Its body is chunked, or
// ends with the connection (RFC 9112 section 6.3).
func streamHead(h http.Header, chunked bool) []byte {
	h.Set("Connection", "close")
	if chunked {
		h.Set("Transfer-Encoding", "chunked")
	}
	h.Set("Date", time.Now().UTC().Format(http.TimeFormat))
	var head bytes.Buffer
	head.WriteString("HTTP/1.1 200 OK\r\n")
	_ = h.Write(&head) // a Buffer never fails
	head.WriteString("\r\n")
	return head.Bytes()
}

// takeWriter is TakeOver for a response without a connection of its own.
func takeWriter(w http.ResponseWriter, r *http.Request) (Taken, error) {
	c := newResponseConn(w, r)
	// A writer that does not support deadlines has none.
	_ = c.control.SetReadDeadline(time.Time{})
	_ = c.control.SetWriteDeadline(time.Time{})
	w.WriteHeader(http.StatusOK)
	if err := c.control.Flush(); err != nil {
		return Taken{}, fmt.Errorf("take over: %w", err)
	}
	return Taken{Conn: c, response: c}, nil
}

// Wait returns when net/http may use the response again: at once after a hijack, otherwise
// when Conn is closed.
func (t *Taken) Wait() {
	if t.response != nil {
		t.response.wait()
	}
}
