package wire

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
)

// maxProblemBytes is what the WebSocket package keeps of a refusal.
const maxProblemBytes = 1 << 10

// A Close is the end of a connection that the server has closed.
type Close struct {
	Code   int           // of the close frame; 0: it was an event stream, which has none
	Reason string        // of the close frame
	Bye    string        // code that the server gave before; empty: none
	After  time.Duration // for how long it asked the client to stay away
}

// Error tells code and reason.
func (e *Close) Error() string {
	if e.Code == 0 {
		return fmt.Sprintf("the server ended the event stream: %s", e.Bye)
	}
	return fmt.Sprintf("the server closed the connection: %d %s", e.Code, e.Reason)
}

// A Status is an HTTP answer that is no success.
type Status struct {
	Status  int
	Code    string // of the problem that a notiflux server describes; empty: it was another
	Message string // likewise
	After   time.Duration
}

// Error tells what the server said.
func (e *Status) Error() string {
	if e.Code != "" {
		return e.Code + ": " + e.Message
	}
	return fmt.Sprintf("the server answered with status %d", e.Status)
}

// StatusOf returns an answer that is no success as an error. It reads a part of the body,
// and does not close it.
func StatusOf(response *http.Response) *Status {
	e := &Status{Status: response.StatusCode, After: retryAfter(response.Header.Get("Retry-After"))}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxProblemBytes))
	var problem struct {
		Code   string `json:"code"`
		Detail string `json:"detail"`
	}
	if err == nil && json.Unmarshal(body, &problem) == nil && problem.Code != "" {
		e.Code, e.Message = problem.Code, problem.Detail
	}
	return e
}

// retryAfter reads a Retry-After header (RFC 9110 section 10.2.3); 0: it says nothing.
func retryAfter(value string) time.Duration {
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(0, time.Until(at))
	}
	return 0
}

// An Interrupted is the end of a handshake that was sent and got no answer, or of a
// connection right after it: something between client and server may not let it pass.
type Interrupted struct{ Err error }

// Error is that of Err.
func (e *Interrupted) Error() string { return e.Err.Error() }

// Unwrap returns Err.
func (e *Interrupted) Unwrap() error { return e.Err }
