// Package client publishes to the topics of a notiflux server and subscribes to them.
// It needs the address of the server and a token:
//
//	c, err := client.New("http://127.0.0.1:8080", client.Options{Token: token})
//	…
//	defer c.Close()
//	for event, err := range c.Subscribe("news").Events(ctx) {
//		if err != nil {
//			log.Fatal(err) // if it is a *client.LostError, messages are missing
//		}
//		if m, ok := event.(client.Message); ok {
//			fmt.Println(m.Topic, m.Text())
//		}
//	}
//
// A lost message is reported as an error, so it cannot go unnoticed: a loop that stops at
// the first error stops where messages are missing. A subscription connects when it is made,
// reconnects whenever its connection ends, and resumes where it left off.
//
// One goroutine reads each connection. It puts a message into the queue of each
// subscription to its topic, and the loops take it from there. A slow loop delays no
// other, because the queues are bounded: when one is full, its subscription loses
// messages and yields a [LostError].
//
// Subscriptions share one connection. The client makes another one for a topic that is
// subscribed to twice with different tokens or options, and for topics beyond the number
// that the server takes on one connection, by default 1,000. It also spaces out what it sends
// on a connection, to stay below the server's rate limit. Where a proxy blocks WebSockets,
// the client uses event streams. Over these, it has no presence, and a publisher cannot
// exclude it from a message, because its connection has no name.
//
// Each message has a position in its topic. The positions that a subscription yields
// strictly increase within a topic, until the server restarts, or the program removes the
// topic and adds it again. Tokens never appear in errors or log lines. The package stores
// nothing: to resume after a restart of the program, store [Message.Position] and pass it
// in [SubscribeOptions.Since].
package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/ikornaselur/notiflux/client/internal/call"
	"github.com/ikornaselur/notiflux/client/internal/connect"
	"github.com/ikornaselur/notiflux/client/internal/rest"
	"github.com/ikornaselur/notiflux/client/internal/tokens"
	"github.com/ikornaselur/notiflux/client/internal/wire"
)

// defaultTimeout is longer than a server that restarts is away.
const defaultTimeout = 30 * time.Second

// Options are the settings of a [Client]. The zero value works, but without a token
// a server refuses every request.
type Options struct {
	// Token is sent with every request: a JWT that the server accepts.
	Token string
	// TokenSource, if set, returns tokens in place of Token. The client calls it when
	// it first needs a token for a scope, and again when the server refuses that
	// token as invalid, expired or revoked. When the server denies a topic or the
	// scope, the client asks once more for each call or subscription, and uses that
	// token for the denied topics only. If TokenSource fails, the method that needed
	// the token returns that error, and a subscription tries again later. TokenSource
	// never runs twice at the same time. Its context ends after 30 s, when the context of
	// the call that needs the token ends, or when the client is closed; it must return
	// then. It may close the client, but must not call
	// other methods of it.
	TokenSource func(ctx context.Context, r TokenRequest) (string, error)
	// Timeout bounds each call whose context has no deadline; 0: 30 s.
	Timeout time.Duration
	// NoRetry switches retries off, except the one with a new token. Messages are
	// then published without a key, unless [Publication.Key] is set.
	NoRetry bool
	// HTTPClient makes all requests, and its Timeout is ignored. nil: a client that
	// uses the proxy of the environment, and follows no redirects so that the token
	// goes to the server only.
	HTTPClient *http.Client
	// Logger receives log records of the levels Debug and Info; nil: none.
	Logger *slog.Logger
}

// A Client publishes and subscribes to topics of one server. Make one with [New]. Its
// methods are safe for concurrent use.
//
// A call retries after a failure that may pass: a network error, or a server or proxy that
// is overloaded, restarting or unavailable. Between attempts it waits as long as the server
// says, plus a random time that grows. It stops when its context ends. It does not retry
// after any other refusal, or when one side does not accept the other's certificate or TLS
// version.
type Client struct {
	hub    *hub
	tokens *tokens.Cache
}

// A hub is the state that all views of a client share.
type hub struct {
	// Immutable after New.
	server  *rest.Server
	log     *slog.Logger
	timeout time.Duration
	retry   bool                            // calls retry
	delay   func(attempt int) time.Duration // the pause before an attempt

	dialer  connect.Dialer
	running sync.WaitGroup // the goroutines of the lanes and patterns

	// Guarded by mu.
	mu            sync.Mutex
	closed        bool
	lanes         []*lane
	subscriptions map[*Subscription]bool
	feeds         uint64 // number of feeds made so far
	faults        uint64 // number of frames that broke the protocol
}

// New returns a client for the server at url, as in https://host. It does no I/O.
func New(url string, o Options) (*Client, error) {
	server, err := rest.New(url, o.HTTPClient)
	if err != nil {
		return nil, err
	}
	if o.Timeout < 0 {
		return nil, fmt.Errorf("client options: Timeout is %v; use a positive duration", o.Timeout)
	}
	if o.Token != "" && o.TokenSource != nil {
		return nil, errors.New("client options: set Token or TokenSource, not both")
	}
	if err := tokens.Check(o.Token); err != nil {
		return nil, fmt.Errorf("client options: %w", err)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	h := &hub{
		server: server, dialer: connect.Dialer{Server: server, Log: o.Logger},
		log: o.Logger, timeout: o.Timeout, retry: !o.NoRetry, delay: connect.Backoff,
		subscriptions: map[*Subscription]bool{},
	}
	if h.timeout == 0 {
		h.timeout = defaultTimeout
	}
	return &Client{h, o.tokens()}, nil
}

// WithToken returns a view of the client: its calls and subscriptions use another token on
// the same connections. Closing either closes both.
func (c *Client) WithToken(token string) *Client { return &Client{c.hub, tokens.New(token, nil)} }

// Connect makes one attempt to connect, unless the client is connected. It reports a wrong
// address, a broken network or a refusal as a [*url.Error] with the cause. Connect is
// optional: subscriptions connect on their own. If ctx ends first, the attempt continues.
func (c *Client) Connect(ctx context.Context) error {
	err := c.hub.connect(ctx)
	if err != nil && err != ErrClosed {
		err = &url.Error{Op: "connect", URL: c.hub.server.Base.String(), Err: err}
	}
	return err
}

func (h *hub) connect(ctx context.Context) error {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return ErrClosed
	}
	if len(h.lanes) == 0 {
		h.startLaneLocked()
	}
	first := h.lanes[0]
	if first.session != nil {
		h.mu.Unlock()
		return nil
	}
	first.wanted = true
	attempt := first.attempt
	first.wakeUp()
	h.mu.Unlock()
	select {
	case <-attempt.done:
		return attempt.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Close ends all subscriptions and closes the connections. It gives the server one second to
// close its side, and a token source one second to return. Calls in progress are not
// interrupted; nothing else of the client is left when Close returns. The error is always nil.
func (c *Client) Close() error {
	h := c.hub
	h.mu.Lock()
	h.closed = true
	for _, l := range h.lanes {
		l.stop()
	}
	for s := range h.subscriptions {
		s.stop()
		s.queue.close()
	}
	clear(h.subscriptions)
	h.mu.Unlock()
	h.running.Wait()
	h.server.Close()
	return nil
}

// begin returns ctx with a deadline, for a call that must end with the function it returns.
// The error is ErrClosed if the client is closed.
func (c *Client) begin(ctx context.Context) (_ context.Context, end func(), _ error) {
	h := c.hub
	if h.isClosed() {
		return nil, nil, ErrClosed
	}
	cancel := func() {}
	if _, ok := ctx.Deadline(); !ok {
		ctx, cancel = context.WithTimeout(ctx, h.timeout)
	}
	return ctx, func() {
		cancel()
		if h.isClosed() { // Close left the connection to this call
			h.server.Close()
		}
	}, nil
}

func (h *hub) isClosed() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.closed
}

func (c *Client) caller() *call.Caller {
	return &call.Caller{Server: c.hub.server, Tokens: c.tokens, Retry: c.hub.retry, Delay: c.hub.delay}
}

// get makes a request about a topic, and returns the body of the answer.
func (c *Client) get(ctx context.Context, path, topic string, query url.Values) ([]byte, error) {
	ctx, end, err := c.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	if err := wire.CheckTopic(topic); err != nil {
		return nil, err
	}
	query.Set("topic", topic)
	body, err := c.caller().Ask(ctx, tokens.Subscribe, topic, rest.Request{Method: http.MethodGet, Path: path, Query: query})
	return body, publicError(err)
}
