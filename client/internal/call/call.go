// Package call makes the calls of a client. A call is a request with a token, which is
// repeated until it succeeds, fails for good or its context ends. [Caller.Ask] makes a
// request about one topic. [Caller.Publish] publishes one message, and [Caller.PublishAll] many
// with few requests.
//
// An attempt whose answer is lost may have published its messages. From then on they are in
// doubt. Each message has a key by which the server recognizes it for two minutes, so it can be
// sent again only during that time. After that the call fails with the code outcome_unknown, and
// does not send the messages again.
//
// Errors are those of packages rest and tokens, and [*Stopped]. The package knows nothing of
// subscriptions, and looks into neither tokens nor messages.
package call

import (
	"context"
	"errors"
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
	// answerTimeout is longer than a working server takes to answer, and than a working
	// network pauses within an answer.
	answerTimeout = 15 * time.Second
	// slowest is the rate, in bytes per second, of the slowest network that can send
	// large messages.
	slowest = 32 << 10
	// keyLifetime is for how long a server knows a key, less what clocks may differ.
	keyLifetime = 2*time.Minute - 5*time.Second
)

// A Caller makes calls to one server. It is safe for concurrent use.
type Caller struct {
	// Immutable.
	Server *rest.Server
	Tokens *tokens.Cache
	Retry  bool                            // repeat requests that failed for now
	Delay  func(attempt int) time.Duration // the pause before an attempt
}

// A Stopped is the error of a call that ended although another attempt might have succeeded.
type Stopped struct {
	Cause error // why there was no further attempt
	Last  error // of the last attempt
}

// Error returns the texts of both errors.
func (e *Stopped) Error() string { return e.Cause.Error() + ": " + e.Last.Error() }

// Unwrap returns both errors.
func (e *Stopped) Unwrap() []error { return []error{e.Cause, e.Last} }

// Ask repeats a request about one topic until it succeeds, and returns the body of the
// answer. Its scope is a scope of package tokens. The context must have a deadline.
func (c *Caller) Ask(ctx context.Context, scope, topic string, r rest.Request) ([]byte, error) {
	call := &call{Caller: c, scope: scope, topics: []string{topic}}
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

// A call is one call with all its attempts.
type call struct {
	*Caller
	scope  string
	topics []string

	attempt  int
	token    string    // of the last attempt
	renewed  bool      // has fetched a new token
	extended bool      // has fetched a token for the topics
	doubt    time.Time // start of the first attempt whose outcome is unknown; zero: there is none
	last     error     // of the last attempt
}

// once makes a request once, and returns the body of a successful answer.
func (c *call) once(ctx context.Context, r rest.Request) ([]byte, error) {
	token, err := c.Tokens.Get(ctx, c.scope, c.topics)
	if err != nil {
		return nil, err
	}
	c.token = token
	r.Timeout = answerTimeout + time.Duration(len(r.Body))*time.Second/slowest
	// The server may get this attempt as late as its timeout.
	if !c.doubt.IsZero() && time.Since(c.doubt)+r.Timeout > keyLifetime {
		return nil, &Stopped{errDoubt(), c.last}
	}
	// If nothing was sent, the server has done nothing. A transport that does not say whether
	// it had a connection may have sent everything.
	var dialled, connected atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(string) { dialled.Store(true) },
		GotConn: func(httptrace.GotConnInfo) { connected.Store(true) },
	})
	began := time.Now()
	body, err := c.Server.Ask(ctx, r, token)
	c.last = err
	if err != nil && r.Method == http.MethodPost && c.doubt.IsZero() && (connected.Load() || !dialled.Load()) && outcomeUnknown(err) {
		c.doubt = began
	}
	return body, err
}

// outcomeUnknown reports whether a request may have succeeded although it failed with err.
// A refusal of a notiflux server excludes that.
func outcomeUnknown(err error) bool {
	e, ok := errors.AsType[*wire.Status](err)
	return !ok || e.Code == "" && e.Status >= 500 || e.Code == wire.OutcomeUnknown
}

// errDoubt returns the error of a call after which another attempt might publish the message
// twice.
func errDoubt() error {
	return &wire.Status{Code: wire.OutcomeUnknown, Message: "no answer came while the server knew the key of the message; it may have been published"}
}

// next waits until it is time for the next attempt after err. If there must be none, it
// returns the error of the call.
func (c *call) next(ctx context.Context, err error) error {
	return c.doubtful(c.wait(ctx, err))
}

// doubtful returns the error of a call that ends with err. A refusal of the last attempt does
// not hide that an earlier one may have published.
func (c *call) doubtful(err error) error {
	e, refused := errors.AsType[*wire.Status](err)
	if c.doubt.IsZero() || !refused || e.Code == "" || e.Code == wire.OutcomeUnknown {
		return err
	}
	return &Stopped{errDoubt(), err}
}

func (c *call) wait(ctx context.Context, err error) error {
	if code := codeOf(err); c.mayHelp(code) {
		if wire.Renewable(code) {
			c.renewed = true
			c.Tokens.Renew(c.scope, c.token, code)
		} else {
			c.extended = true
			c.Tokens.Extend(c.scope, c.topics, code)
		}
		return nil
	}
	if ctx.Err() == nil && !retryable(err) || !c.Retry {
		return err
	}
	wait := c.Delay(c.attempt)
	if e, ok := errors.AsType[*wire.Status](err); ok {
		wait += connect.Bounded(e.After)
	}
	c.attempt++
	if !c.doubt.IsZero() && time.Since(c.doubt)+wait+answerTimeout > keyLifetime {
		return &Stopped{errDoubt(), err}
	}
	if !connect.Sleep(ctx, wait) {
		if cause := context.Cause(ctx); !errors.Is(err, cause) { // else ctx ended during the attempt, which says so
			err = &Stopped{cause, err}
		}
		return err
	}
	return nil
}

// mayHelp reports whether another token may help against a code, and has not been tried.
func (c *call) mayHelp(code string) bool {
	return c.Tokens.HasSource() && (wire.Renewable(code) && !c.renewed || wire.Extensible(code) && !c.extended)
}

// retryable reports whether another attempt may succeed after err.
func retryable(err error) bool {
	if _, stopped := errors.AsType[*Stopped](err); stopped {
		return false
	}
	if e, ok := errors.AsType[*wire.Status](err); ok {
		if e.Code != "" {
			return wire.Passing(e.Code) || e.Code == wire.TooMany
		}
		return e.Status >= 500 || e.Status == http.StatusTooManyRequests
	}
	_, source := errors.AsType[*tokens.Error](err)
	return !source && err != wire.ErrProtocol && !rest.IsTLSRefusal(err)
}

// codeOf returns the code with which a server refused a request, and nothing for other
// errors.
func codeOf(err error) string {
	if e, ok := err.(*wire.Status); ok {
		return e.Code
	}
	return ""
}
