package client

import (
	"errors"
	"fmt"
	"time"

	"github.com/ikornaselur/notiflux/client/internal/wire"
)

// ErrClosed ends the subscriptions of a client or a subscription that was closed, and
// is the error of calls to a closed client.
var ErrClosed = errors.New("the client is closed")

// A LostReason says why messages are missing.
type LostReason string

// The reasons of a [LostError].
const (
	Gap      LostReason = "gap"      // the server lost them, while the client was connected
	Expired  LostReason = "expired"  // the server no longer has them, or has restarted
	Overflow LostReason = "overflow" // the loop was too slow for [SubscribeOptions.Buffer]
)

// A LostError reports that messages of a topic are missing: what the program knows
// of the topic is out of date. The subscription continues with the messages after
// Position.
type LostError struct {
	Topic    string
	Since    Position // messages after it are missing
	Position Position // messages after it follow
	Reason   LostReason
}

// Error names the topic, and what happened to the messages.
func (e *LostError) Error() string {
	why := "were lost"
	switch e.Reason {
	case Gap:
		why = "were lost by the server"
	case Expired:
		why = "are no longer known to the server"
	case Overflow:
		why = "were dropped because the loop is too slow"
	}
	return fmt.Sprintf("messages of %q after %s %s", e.Topic, e.Since, why)
}

// An Error is what a server, or a proxy before it, answered instead of success. To
// tell errors apart, switch on Code.
type Error struct {
	Code       string        // as the documentation of the protocol lists them; empty: no notiflux server answered
	Message    string        // a sentence that says what is wrong; do not parse it
	Topic      string        // if a subscription to a topic was refused or ended
	Status     int           // of an HTTP answer
	Close      int           // close code of a WebSocket that the server closed
	RetryAfter time.Duration // for how long the server asked the client to stay away
}

// Error contains everything but RetryAfter.
func (e *Error) Error() string {
	text := e.Message
	switch {
	case e.Close != 0:
		text = fmt.Sprintf("the server closed the connection: %d %s", e.Close, e.Message)
	case e.Code == "":
		text = fmt.Sprintf("the server answered with status %d", e.Status)
	default:
		text = e.Code + ": " + e.Message
	}
	if e.Topic != "" {
		text = fmt.Sprintf("subscribe to %q: %s", e.Topic, text)
	}
	return text
}

// codeOf returns the code of an [Error]; empty: err is another one.
func codeOf(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return ""
}

// publicError returns an error of the connection as the program sees it.
func publicError(err error) error {
	if e, ok := errors.AsType[*wire.Close](err); ok {
		if e.Code == 0 {
			return &Error{Code: e.Bye, Message: "the server ended the event stream", RetryAfter: e.After}
		}
		return &Error{Code: e.Bye, Message: e.Reason, Close: e.Code, RetryAfter: e.After}
	}
	if e, ok := errors.AsType[*wire.Status](err); ok {
		return &Error{Code: e.Code, Message: e.Message, Status: e.Status, RetryAfter: e.After}
	}
	if e, ok := errors.AsType[*wire.Interrupted](err); ok {
		return e.Err
	}
	return err
}
