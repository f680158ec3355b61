package client

import (
	"errors"
	"fmt"
	"time"

	"github.com/ikornaselur/notiflux/client/internal/call"
	"github.com/ikornaselur/notiflux/client/internal/wire"
)

// ErrClosed is the error of a closed client or subscription.
var ErrClosed = errors.New("the client or the subscription is closed")

// A LostReason says why messages are missing.
type LostReason string

// The reasons of a [LostError].
const (
	Gap      LostReason = "gap"      // the server lost messages while the client was connected
	Expired  LostReason = "expired"  // the server no longer has the messages, or was restarted
	Overflow LostReason = "overflow" // the loop was too slow, and the queue of the subscription was full
)

// A LostError reports that messages of a topic are missing, so the state that your program
// has built from them is out of date. The subscription continues after Position.
type LostError struct {
	Topic    string
	Since    Position // messages after it are missing
	Position Position // all messages after it follow
	Reason   LostReason
}

// Error names the topic and says what happened to the messages.
func (e *LostError) Error() string {
	why := "were lost"
	switch e.Reason {
	case Gap:
		why = "were lost by the server"
	case Expired:
		why = "are no longer in the server's history"
	case Overflow:
		why = "were dropped because the loop was too slow"
	}
	return fmt.Sprintf("messages of %q after %s %s", e.Topic, e.Since, why)
}

// An Error is a refusal by the server, or by a proxy in front of it. Switch on Code; the
// documentation of the protocol lists the codes.
type Error struct {
	Code       string        // empty if the server gave none, or a proxy answered
	Message    string        // a sentence that explains the refusal
	Topic      string        // if the server refused or ended the subscription to a topic
	Status     int           // of the HTTP response, if there was one
	Close      int           // close code of the WebSocket, if the server closed one
	RetryAfter time.Duration // how long the server asked the client to wait
}

// Error returns the code and the message, and the topic if there is one.
func (e *Error) Error() string {
	var text string
	switch {
	case e.Close != 0:
		text = fmt.Sprintf("the server closed the connection: %d %s", e.Close, e.Message)
	case e.Code == "" && e.Status == 0:
		text = e.Message
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

// about returns err as the end of one topic.
func about(topic string, err error) *Error {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		return &Error{Message: err.Error(), Topic: topic}
	}
	of := *e
	of.Topic = topic
	return &of
}

// publicError returns an error of an internal package as the program gets it.
func publicError(err error) error {
	if e, ok := errors.AsType[*call.Stopped](err); ok {
		return fmt.Errorf("%w: %w", publicError(e.Cause), publicError(e.Last))
	}
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
