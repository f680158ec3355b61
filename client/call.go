package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"

	"github.com/ikornaselur/notiflux/client/internal/connect"
	"github.com/ikornaselur/notiflux/client/internal/rest"
	"github.com/ikornaselur/notiflux/client/internal/tokens"
	"github.com/ikornaselur/notiflux/client/internal/wire"
)

const (
	// attemptTimeout is longer than a working server takes to answer.
	attemptTimeout = 15 * time.Second
	// keyWindow is for how long an attempt with the same key is safe: a server knows a
	// key for two minutes, and the last attempt may still be on its way then.
	keyWindow = 2*time.Minute - attemptTimeout - 5*time.Second
)

// A call is one call of a method of Client, with all its attempts.
type call struct {
	client *Client
	scope  string
	topics []string

	attempt  int
	token    string    // of the last attempt
	renewed  bool      // has fetched a new token
	extended bool      // has fetched a token for the topics
	doubt    time.Time // start of the first attempt whose outcome is unknown; zero: there is none
}

// begin returns a call, and ctx with a deadline. The error is ErrClosed if the client is
// closed, or about a topic.
func (c *Client) begin(ctx context.Context, scope string, topics ...string) (*call, context.Context, context.CancelFunc, error) {
	c.hub.mu.Lock()
	closed := c.hub.closed
	c.hub.mu.Unlock()
	if closed {
		return nil, nil, nil, ErrClosed
	}
	for _, topic := range topics {
		if err := wire.CheckTopic(topic); err != nil {
			return nil, nil, nil, err
		}
	}
	cancel := context.CancelFunc(func() {})
	if _, ok := ctx.Deadline(); !ok {
		ctx, cancel = context.WithTimeout(ctx, c.hub.timeout)
	}
	return &call{client: c, scope: scope, topics: topics}, ctx, cancel, nil
}

// ask repeats a request about one topic until it succeeds, fails for good, or ctx ends.
func (c *Client) ask(ctx context.Context, scope, topic string, r rest.Request) ([]byte, error) {
	call, ctx, cancel, err := c.begin(ctx, scope, topic)
	if err != nil {
		return nil, err
	}
	defer cancel()
	for {
		body, err := call.once(ctx, r)
		if err == nil {
			return body, nil
		}
		if err := call.next(ctx, err); err != nil {
			return nil, err
		}
	}
}

// once makes a request once, and returns the body of a successful answer.
func (c *call) once(ctx context.Context, r rest.Request) ([]byte, error) {
	token, err := c.client.tokens.Get(ctx, c.scope, c.topics)
	if err != nil {
		return nil, err
	}
	c.token = token
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	// If nothing was sent, the server has done nothing.
	var sent atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { sent.Store(true) }})
	began := time.Now()
	body, err := c.client.hub.server.Ask(ctx, r, token)
	err = publicError(err)
	if err != nil && r.Method == http.MethodPost && c.doubt.IsZero() && sent.Load() && outcomeUnknown(err) {
		c.doubt = began
	}
	return body, err
}

// outcomeUnknown reports whether a request may have succeeded although it failed with err.
// A refusal of a notiflux server excludes that.
func outcomeUnknown(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return !ok || e.Code == "" && e.Status >= 500 || e.Code == wire.OutcomeUnknown
}

// errDoubt ends a call when another attempt might publish the message twice.
var errDoubt = &Error{Code: wire.OutcomeUnknown, Message: "no answer came while the server knew the key of the message; it may have been published"}

// next waits until it is time for the next attempt after err. If there must be none, it
// returns the error of the call.
func (c *call) next(ctx context.Context, err error) error {
	if e, ok := errors.AsType[*Error](err); ok && c.mayHelp(e.Code) {
		if wire.Renewable(e.Code) {
			c.renewed = true
			c.client.tokens.Renew(c.scope, c.token, e.Code)
		} else {
			c.extended = true
			c.client.tokens.Extend(c.scope, c.topics, e.Code)
		}
		return nil
	}
	h := c.client.hub
	if ctx.Err() == nil && !retryable(err) || !h.retry {
		return err
	}
	wait := h.delay(c.attempt)
	if e, ok := errors.AsType[*Error](err); ok {
		wait += connect.Bounded(e.RetryAfter)
	}
	c.attempt++
	if !c.doubt.IsZero() && time.Since(c.doubt)+wait > keyWindow {
		return fmt.Errorf("%w: %w", errDoubt, err)
	}
	if !connect.Sleep(ctx, wait) {
		if cause := context.Cause(ctx); !errors.Is(err, cause) { // else ctx ended during the attempt, which says so
			err = fmt.Errorf("%w: %w", cause, err)
		}
		return err
	}
	return nil
}

// mayHelp reports whether another token may help against a code, and has not been tried.
func (c *call) mayHelp(code string) bool {
	return c.client.tokens.HasSource() && (wire.Renewable(code) && !c.renewed || wire.Extensible(code) && !c.extended)
}

// retryable reports whether another attempt may succeed after err.
func retryable(err error) bool {
	if e, ok := errors.AsType[*Error](err); ok {
		if e.Code != "" {
			return wire.Passing(e.Code) || e.Code == wire.TooMany
		}
		return e.Status >= 500 || e.Status == http.StatusTooManyRequests
	}
	_, source := errors.AsType[*tokens.Error](err)
	return !source && err != wire.ErrProtocol && !rest.IsTLSRefusal(err)
}
