package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"sync/atomic"
	"time"

	"github.com/ikornaselur/notiflux/internal/pubsub"
)

const (
	// callTimeout is longer than a server takes that means to answer.
	callTimeout = 15 * time.Second
	// keyWindow is how long a server knows a key at least, less what a request may
	// still be under way when it is given up.
	keyWindow = 2*time.Minute - callTimeout - 5*time.Second

	// maxAnswerBytes is above every answer: 1 MiB of messages and one more, of at most
	// 8 MiB, which grows up to six times as a JSON string.
	maxAnswerBytes = 64 << 20
	// keptConnections are for calls that follow each other.
	keptConnections = 16
)

// A Caller publishes and reads by single calls over HTTP. It holds no connection to
// the server besides those that calls use one after the other, so it is what a back
// end needs that only publishes. Make one with [NewCaller]; a [Client] has one as well.
// Its methods are safe for concurrent use.
//
// A call is made again after a failure that may pass: a network error, except a
// certificate or a TLS version that one side does not accept, or a server that speaks
// no TLS; the codes internal, unavailable, draining, over_capacity, outcome_unknown and
// too_many; and the same statuses from a proxy before the server. The call waits as
// long as the server says, plus a random part of a growing time. It stops when its
// context ends, so give the context a deadline. [Options.NoRetry] switches this off.
//
// After the server refuses a token, the call asks [Options.TokenSource] for another one
// once. Any other refusal is the error of the call, with a [*pubsub.Error] or else a
// [*StatusError] in its chain.
type Caller struct {
	// Immutable after NewCaller.
	base   *url.URL
	http   *http.Client
	own    bool // http is of nobody else
	log    *slog.Logger
	tokens *tokenCache
	tries  bool                            // calls that fail are made again
	delay  func(attempt int) time.Duration // before an attempt
}

// NewCaller returns a Caller for the server at base, as in https://host. It does
// not look whether it is there.
func NewCaller(base string, o Options) (*Caller, error) {
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("the base address of a server looks like http://host:port or https://host")
	}
	c := &Caller{base: u, http: newHTTPClient(), own: o.HTTPClient == nil, log: o.Logger, tokens: newTokenCache(o.Token, o.TokenSource), tries: !o.NoRetry, delay: backoff}
	if !c.own {
		without := *o.HTTPClient
		without.Timeout = 0 // it would end streams
		c.http = &without
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	return c, nil
}

func newHTTPClient() *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			Proxy:               http.ProxyFromEnvironment,
			ForceAttemptHTTP2:   true,
			MaxIdleConnsPerHost: keptConnections,
			IdleConnTimeout:     time.Minute,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Close closes the connections that wait for a next call; a call may still follow.
// Those of [Options.HTTPClient] are its owner's. The error is always nil.
func (c *Caller) Close() error {
	if c.own {
		c.http.CloseIdleConnections()
	}
	return nil
}

// A request is what a call asks for.
type request struct {
	method, path string
	query        url.Values
	body         []byte // JSON; nil: none
}

// retries are the attempts of one call.
type retries struct {
	caller *Caller

	attempt    int
	generation uint64    // of the token of the last attempt
	renewed    bool      // a token was asked for on behalf of the call
	doubt      time.Time // when the first attempt began that may have succeeded unseen; zero: there is none
}

// ask makes a request until it succeeds, fails for good, or ctx ends.
func (c *Caller) ask(ctx context.Context, r request) ([]byte, error) {
	tries := retries{caller: c}
	for {
		body, err := c.once(ctx, r, &tries)
		if err == nil {
			return body, nil
		}
		if err := tries.next(ctx, err); err != nil {
			return nil, err
		}
	}
}

// once makes a request, and returns what the server answered with success.
func (c *Caller) once(ctx context.Context, r request, t *retries) ([]byte, error) {
	token, generation, err := c.tokens.get(ctx)
	if err != nil {
		return nil, err
	}
	t.generation = generation
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	ctx, sent := watchSending(ctx)
	began := time.Now()
	body, err := c.exchange(ctx, r, token)
	if err != nil && r.method == http.MethodPost && t.doubt.IsZero() && sent.Load() && outcomeUnknown(err) {
		t.doubt = began
	}
	return body, err
}

// exchange sends a request and reads the answer.
func (c *Caller) exchange(ctx context.Context, r request, token Token) ([]byte, error) {
	response, err := c.send(ctx, r, token)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK && response.StatusCode != http.StatusMultiStatus {
		return nil, statusError(response)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswerBytes))
	if err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	return body, nil
}

// send sends a request, and returns the answer whatever it is.
func (c *Caller) send(ctx context.Context, r request, token Token) (*http.Response, error) {
	u := c.base.JoinPath(r.path)
	u.RawQuery = r.query.Encode()
	request, err := http.NewRequestWithContext(ctx, r.method, u.String(), bytes.NewReader(r.body))
	if err != nil {
		return nil, err
	}
	if r.body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+string(token))
	}
	response, err := c.http.Do(request)
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err // it repeats the address
	}
	return response, err
}

// watchSending returns a context for one request, and whether any of it has been
// sent: a server that was not reached has not done anything.
func watchSending(ctx context.Context) (context.Context, *atomic.Bool) {
	var sent atomic.Bool
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { sent.Store(true) }}), &sent
}

// outcomeUnknown reports whether a request that failed with err may have been carried
// out: it was not if a notiflux server says so.
func outcomeUnknown(err error) bool {
	e, ok := errors.AsType[*StatusError](err)
	return !ok || e.Err == nil && e.Status >= 500 || e.Err != nil && e.Err.Code == pubsub.OutcomeUnknown
}

// errDoubt is why a call is not made again that may be carried out twice then.
var errDoubt = pubsub.Errorf(pubsub.OutcomeUnknown, "no answer came for as long as the server knows the key of a message: it may have been published or not")

// next waits until a call is to be made again; an error says why it is not.
func (t *retries) next(ctx context.Context, err error) error {
	if t.mayRenew(err) {
		t.renewed = true
		t.caller.tokens.invalidate(t.generation)
		return nil
	}
	if ctx.Err() == nil && !retryable(err) || !t.caller.tries {
		return err
	}
	wait := t.caller.delay(t.attempt)
	if e, ok := errors.AsType[*StatusError](err); ok {
		wait += max(0, min(e.After, mostAfter))
	}
	t.attempt++
	if !t.doubt.IsZero() && time.Since(t.doubt)+wait > keyWindow {
		return fmt.Errorf("%w: %w", errDoubt, err)
	}
	if !sleep(ctx, wait) {
		if cause := context.Cause(ctx); !errors.Is(err, cause) { // Else ctx ended during the attempt, which says so.
			err = fmt.Errorf("%w: %w", cause, err)
		}
		return err
	}
	return nil
}

// mayRenew reports whether another token may help against err, and is yet to be tried.
func (t *retries) mayRenew(err error) bool {
	refusal, ok := errors.AsType[*pubsub.Error](err)
	return ok && renewable(refusal.Code) && t.caller.tokens.source != nil && !t.renewed
}

// retryable reports whether what failed with err may succeed a little later.
func retryable(err error) bool {
	if refusal, ok := errors.AsType[*pubsub.Error](err); ok {
		return passing(refusal.Code) || refusal.Code == pubsub.TooMany
	}
	if e, ok := errors.AsType[*StatusError](err); ok {
		return e.Status >= 500 || e.Status == http.StatusTooManyRequests
	}
	_, ours := errors.AsType[*tokenError](err)
	return !ours && err != errProtocol && !isTLSRefusal(err)
}

// isTLSRefusal reports whether err is the end of a TLS handshake that would end the same
// way again: this side does not trust the certificate, the other side speaks no TLS,
// or it refused the certificate or the TLS version of this side.
func isTLSRefusal(err error) bool {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return true
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok || errors.Is(err, http.ErrSchemeMismatch) {
		return true
	}
	// crypto/tls does not export the type of an alert that it received, but its text.
	alert, ok := errors.AsType[*net.OpError](err)
	return ok && alert.Op == "remote error" && slices.ContainsFunc(lastingAlerts, func(a tls.AlertError) bool {
		return alert.Err.Error() == a.Error()
	})
}

// lastingAlerts are the alerts about a certificate or a version (RFC 8446 section 6.2).
// A proxy may send any other while it reads its configuration again.
var lastingAlerts = []tls.AlertError{
	42,  // bad_certificate
	43,  // unsupported_certificate
	44,  // certificate_revoked
	45,  // certificate_expired
	46,  // certificate_unknown
	48,  // unknown_ca
	70,  // protocol_version
	116, // certificate_required
}
