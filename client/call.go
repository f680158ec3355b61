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
	// attemptTimeout is longer than a server takes that is going to answer.
	attemptTimeout = 15 * time.Second
	// keyWindow is how long a server knows a key at least, less what a request may
	// still be under way when it is given up.
	keyWindow = 2*time.Minute - attemptTimeout - 5*time.Second
)

// A call is one call of a method, with all its attempts.
type call struct {
	client *Client
	scope  string
	topics []string

	attempt  int
	token    string    // of the last attempt
	renewed  bool      // a new token was asked for
	extended bool      // a token that allows the topics was asked for
	doubt    time.Time // when the first attempt began that may have succeeded unseen; zero: there is none
}

// begin returns a call, and ctx with a deadline. A closed client makes none.
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

// ask makes a request about one topic until it succeeds, fails for good, or ctx ends.
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

// once makes a request, and returns what the server answered with success.
func (c *call) once(ctx context.Context, r rest.Request) ([]byte, error) {
	token, err := c.client.tokens.Get(ctx, c.scope, c.topics)
	if err != nil {
		return nil, err
	}
	c.token = token
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	// A server that was not reached has not done anything.
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

// outcomeUnknown reports whether a request that failed with err may have been carried
// out. It was not if a notiflux server says so.
func outcomeUnknown(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return !ok || e.Code == "" && e.Status >= 500 || e.Code == wire.OutcomeUnknown
}

// errDoubt is why a call is not made again that may be carried out twice then.
var errDoubt = &Error{Code: wire.OutcomeUnknown, Message: "no answer came while the server knew the key of the message; it may have been published"}

// next waits until a call is to be made again; an error says why it is not.
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
	if !sleep(ctx, wait) {
		if cause := context.Cause(ctx); !errors.Is(err, cause) { // else ctx ended during the attempt, which says so
			err = fmt.Errorf("%w: %w", cause, err)
		}
		return err
	}
	return nil
}

// mayHelp reports whether another token may help against a code, and is yet to be tried.
func (c *call) mayHelp(code string) bool {
	return c.client.tokens.HasSource() && (wire.Renewable(code) && !c.renewed || wire.Extensible(code) && !c.extended)
}

// retryable reports whether what failed with err may succeed a little later.
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
