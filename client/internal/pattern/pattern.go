// Package pattern keeps a subscription to a pattern: to all topics that begin in the same way.
//
// A [Reader] has a WebSocket of its own, because on a shared connection a message that several
// subscriptions match comes only once. Over event streams it does not work.
//
// The positions of messages are those of their topics. Therefore the server says from time to
// time that it has sent everything up to a position of the pattern, the mark. After a
// reconnect the Reader resumes from the mark. Then the server repeats what followed it, and
// the Reader drops what it has had, topic by topic (seen.go).
package pattern

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/ikornaselur/notiflux/client/internal/connect"
	"github.com/ikornaselur/notiflux/client/internal/rest"
	"github.com/ikornaselur/notiflux/client/internal/tokens"
	"github.com/ikornaselur/notiflux/client/internal/wire"
)

const (
	// steady is how long a connection must have held for the back-off to start again.
	steady = connect.MaxBackoff
	// closeTimeout is how long Run waits for the server to close its side.
	closeTimeout = time.Second
)

// Check returns the position of since, which may be empty, or what is wrong with the arguments.
func Check(pattern, since string) (at wire.Position, err error) {
	prefix, ok := strings.CutSuffix(pattern, "*")
	if !ok || prefix != "" && wire.CheckTopic(prefix) != nil {
		return at, fmt.Errorf("%q is not a pattern; use the beginning of topics followed by *", pattern)
	}
	if since == "" {
		return at, nil
	}
	if at, err = wire.ParsePosition(since); err != nil {
		return at, fmt.Errorf("the position in Since of %q: %w", pattern, err)
	}
	return at, nil
}

// An Event is what happens to a subscription.
type Event struct {
	Kind     Kind
	Frame    *wire.Frame   // of a Message
	From, To wire.Position // the mark before and after the event
	Replay   int           // of Subscribed: how many of the messages that follow exist already
	Resumed  bool          // of Subscribed: it is not the first one
	Err      error         // of Disconnected: why
}

// A Kind is the type of an [Event].
type Kind uint8

const (
	Message      Kind = iota
	Subscribed        // everything after To follows
	Reached           // everything up to To has come
	Expired           // messages after From, up to To, are no longer there
	Gap               // the server lost messages after From, up to To
	Disconnected      // the Reader connects again
)

// A Reader subscribes to one pattern.
type Reader struct {
	// Immutable.
	Dialer  *connect.Dialer
	Tokens  *tokens.Cache
	Pattern string
	Delay   func(attempt int) time.Duration // the pause before an attempt
	Log     *slog.Logger
	Yield   func(Event) // takes events, one at a time; it does not block

	// Owned by Run after its start.
	Mark     wire.Position // where to begin; without an epoch: now
	seen     seen
	resumed  bool // has been subscribed
	isCut    bool // the program knows that there is no connection
	renewed  bool // has a new token that the server has not accepted yet
	extended bool // has a token for the pattern that the server has not accepted yet
	failures int  // of attempts to subscribe, in a row
}

// A Refused is the error of a subscription that the server refuses or ends for good.
type Refused struct{ wire.Refusal }

// Error returns the code and the message.
func (e *Refused) Error() string { return e.Code + ": " + e.Message }

// A renewedError ends a connection whose token was revoked; the source is asked for another.
type renewedError struct{ error }

func (e *renewedError) Unwrap() error { return e.error }

// errAgain ends a connection that is made again at once, and of which the program need not know.
var errAgain = errors.New("subscribe again")

// Run reads messages until ctx ends, the server refuses the pattern, or the client must not
// connect again, and returns why. It has no goroutine when it returns.
func (r *Reader) Run(ctx context.Context) error {
	opened := false
	for attempt := 0; ; attempt++ {
		began := time.Now()
		err := r.connect(ctx, &opened)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if refused, ok := errors.AsType[*Refused](err); ok {
			return refused
		}
		if time.Since(began) >= steady {
			attempt = 0
		}
		wait, again := r.pause(err, attempt)
		if !again || !opened && rest.IsTLSRefusal(err) {
			return err
		}
		if err != errAgain && !r.isCut {
			r.isCut = true
			r.Yield(Event{Kind: Disconnected, From: r.Mark, To: r.Mark, Err: err})
		}
		r.Log.Info("connecting again", "pattern", r.Pattern, "error", err, "wait", wait)
		if !connect.Sleep(ctx, wait) {
			return context.Cause(ctx)
		}
	}
}

// pause returns how long to wait after err, and false if the Reader must not connect again.
func (r *Reader) pause(err error, attempt int) (time.Duration, bool) {
	switch {
	case err == errAgain:
		return r.Delay(r.failures), true
	case connect.IsIdle(err):
		return r.Delay(attempt), true
	}
	if _, ok := errors.AsType[*renewedError](err); ok {
		return r.Delay(attempt), true
	}
	return connect.Pause(err, attempt, r.Delay)
}

// connect connects, subscribes, and reads until the connection ends.
func (r *Reader) connect(ctx context.Context, opened *bool) error {
	// Before there is a connection: the server does not wait for the source.
	token, err := r.Tokens.Get(ctx, tokens.Subscribe, []string{tokens.Pattern(r.Pattern)})
	if err != nil {
		r.failures++
		r.Log.Info("trying again later", "pattern", r.Pattern, "error", err)
		return errAgain
	}
	conn, streams, err := r.Dialer.Dial(ctx)
	if err != nil {
		return err
	}
	*opened = true
	closeOnce := sync.OnceFunc(func() {
		closing, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		_ = conn.Close(closing) // the connection ends whether or not the server notices
	})
	defer closeOnce()
	if streams {
		return &Refused{errStreams}
	}
	reading, cut := context.WithCancelCause(ctx)
	defer cut(nil)
	stop := context.AfterFunc(reading, closeOnce) // makes Read return
	defer stop()
	late := time.AfterFunc(connect.AnswerTimeout, func() { cut(connect.ErrNoAnswer) })
	defer late.Stop()
	if err := conn.Write(reading, r.command(token)); err != nil {
		return err
	}
	for live := false; ; {
		f, err := conn.Read()
		if err != nil {
			if connect.IsRevoked(err) && r.renew(token, wire.TokenRevoked) {
				return &renewedError{err}
			}
			return cmp.Or(context.Cause(reading), err)
		}
		if live {
			err = r.receive(f, token)
		} else if live, err = r.answered(f, token); live {
			late.Stop()
		}
		if err != nil {
			return err
		}
	}
}

// errStreams is why there are no patterns over event streams.
var errStreams = wire.Refusal{Code: wire.UpgradeRequired, Message: "patterns need a WebSocket, and something between the client and the server blocks WebSockets"}

func (r *Reader) command(token string) *wire.Command {
	c := &wire.Command{Type: "subscribe", ID: 1, Patterns: []string{r.Pattern}, Token: token}
	if r.Mark.Epoch != "" {
		c.Since = map[string]string{r.Pattern: r.Mark.String()}
	}
	return c
}

// answered handles a frame before the pattern is live. It reports whether it is now.
func (r *Reader) answered(f *wire.Frame, token string) (live bool, err error) {
	switch {
	case f.Type == "error":
		return false, r.refused(wire.Refusal{Code: f.Code, Message: f.Message}, f.Retry, token)
	case f.Type != "subscribed":
		return false, nil
	}
	if refusal, ok := f.Refused[r.Pattern]; ok {
		return false, r.refused(refusal, false, token)
	}
	a := f.PatternAnswers()[r.Pattern]
	to, err := wire.ParsePosition(a.Position)
	if err != nil {
		return false, wire.ErrProtocol
	}
	e := Event{Kind: Subscribed, From: r.Mark, To: to, Replay: a.Replay, Resumed: r.resumed}
	if !a.Recovered && r.Mark.Epoch != "" {
		e.Kind = Expired
	}
	r.resumed, r.isCut, r.renewed, r.extended, r.failures = true, false, false, false, 0
	r.move(e)
	return true, nil
}

// move yields an event after which the pattern is at another position.
func (r *Reader) move(e Event) {
	r.Mark = e.To
	r.Yield(e)
}

// receive handles a frame of a pattern that is live.
func (r *Reader) receive(f *wire.Frame, token string) error {
	switch f.Type {
	case "message":
		p, err := wire.ParsePosition(f.Position)
		if err != nil {
			return wire.ErrProtocol
		}
		if r.seen.pass(f.Topic, p) {
			r.Yield(Event{Kind: Message, Frame: f, From: r.Mark, To: r.Mark})
		}
	case "position", "gap":
		to, err := wire.ParsePosition(f.Position)
		if err != nil {
			return wire.ErrProtocol
		}
		e := Event{Kind: Reached, From: r.Mark, To: to}
		if f.Type == "gap" {
			e.Kind = Gap
		}
		r.move(e)
	case "unsubscribed":
		message := cmp.Or(f.Message, "the server ended the subscription")
		return r.refused(wire.Refusal{Code: f.Code, Message: message}, f.Code == "", token)
	}
	return nil
}

// refused returns how the connection ends after the server refused the pattern: errAgain if
// another token, or some time, may help.
func (r *Reader) refused(refusal wire.Refusal, retry bool, token string) error {
	if token != "" {
		refusal.Message = strings.ReplaceAll(refusal.Message, token, "REDACTED")
	}
	switch {
	case r.renew(token, refusal.Code):
	case r.Tokens.HasSource() && wire.Extensible(refusal.Code) && !r.extended:
		r.extended = true
		r.Tokens.Extend(tokens.Subscribe, []string{tokens.Pattern(r.Pattern)}, refusal.Code)
	case retry || wire.Passing(refusal.Code):
		r.failures++
	case refusal.Code == wire.Malformed:
		refusal.Message = "the server is too old for subscriptions to patterns; update it (" + refusal.Message + ")"
		return &Refused{refusal}
	default:
		return &Refused{refusal}
	}
	return errAgain
}

// renew has the source asked for another token, if that may help and has not been tried yet.
func (r *Reader) renew(token, code string) bool {
	if !r.Tokens.HasSource() || !wire.Renewable(code) || r.renewed {
		return false
	}
	r.renewed = true
	r.Tokens.Renew(tokens.Subscribe, token, code)
	return true
}
