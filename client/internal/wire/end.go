package wire

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
)

// maxProblemBytes is above the size of any answer without success.
const maxProblemBytes = 64 << 10

// A Close is the error of a connection that the server closed.
type Close struct {
	Code   int           // of the close frame; 0: an event stream, which has none
	Reason string        // of the close frame
	Bye    string        // code of the bye frame; empty: there was none
	After  time.Duration // how long the server asked the client to stay away
}

// Error returns a sentence with the code and the reason.
func (e *Close) Error() string {
	if e.Code == 0 {
		return fmt.Sprintf("the server ended the event stream: %s", e.Bye)
	}
	return fmt.Sprintf("the server closed the connection: %d %s", e.Code, e.Reason)
}

// A Status is the error for an HTTP answer without success.
type Status struct {
	Status  int
	Code    string        // why; empty: the answer is not one of a notiflux server
	Message string        // for people; empty likewise
	After   time.Duration // how long the server asked the client to stay away
}

// Error returns the code and the message, or else the status.
func (e *Status) Error() string {
	if e.Code != "" {
		return e.Code + ": " + e.Message
	}
	return fmt.Sprintf("the server answered with status %d", e.Status)
}

// StatusOf returns the error for an HTTP answer without success: a [*Status], or a network
// error if the answer breaks off. It reads up to 64 KiB of the body, and leaves closing it to
// the caller.
func StatusOf(response *http.Response) error {
	body, err := io.ReadAll(io.LimitReader(response.Body, maxProblemBytes))
	if err != nil {
		return fmt.Errorf("read the response: %w", err)
	}
	e := &Status{Status: response.StatusCode, After: retryAfter(response.Header.Get("Retry-After"))}
	if code, detail := parseProblem(body); code != "" {
		e.Code, e.Message = code, detail
	}
	return e
}

// parseProblem returns the members code and detail of a JSON object, as far as it goes: of
// the answer to a handshake, the WebSocket package keeps only the first KiB.
func parseProblem(body []byte) (code, detail string) {
	d := json.NewDecoder(bytes.NewReader(body))
	if start, err := d.Token(); err != nil || start != json.Delim('{') {
		return "", ""
	}
	for d.More() {
		var value any
		name, err := d.Token()
		if err == nil {
			err = d.Decode(&value)
		}
		if err != nil {
			break
		}
		text, _ := value.(string)
		switch name {
		case "code":
			code = text
		case "detail":
			detail = text
		}
	}
	return code, detail
}

// Pieces are the parts of an answer or a frame, each of which is a sign of life.
type Pieces struct {
	io.Reader
	Heard func() // called after each read
}

// Read reads the next part.
func (p Pieces) Read(b []byte) (int, error) {
	n, err := p.Reader.Read(b)
	p.Heard()
	return n, err
}

// retryAfter parses a Retry-After header (RFC 9110 section 10.2.3). It returns 0 if the
// header is missing or malformed.
func retryAfter(value string) time.Duration {
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(0, time.Until(at))
	}
	return 0
}

// An Interrupted is the error of a handshake that was sent and got no answer, or of a
// connection that ended before the server's welcome. It is a sign that something between the
// client and the server blocks WebSockets.
type Interrupted struct{ Err error }

// Error returns the text of Err.
func (e *Interrupted) Error() string { return e.Err.Error() }

// Unwrap returns Err.
func (e *Interrupted) Unwrap() error { return e.Err }
