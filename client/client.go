// Package client publishes to the topics of a notiflux server and subscribes to them.
// It needs the address of the server and a token:
//
//	c, err := client.New("http://127.0.0.1:8080", client.Options{Token: token})
//	…
//	defer c.Close()
//	for event, err := range c.Subscribe("news").Events(ctx) {
//		if err != nil {
//			log.Fatal(err) // a *client.LostError: messages are missing
//		}
//		if m, ok := event.(client.Message); ok {
//			fmt.Println(m.Topic, m.Text())
//		}
//	}
//
// A loss cannot be overlooked, because it is an error and not an event: a loop that
// ends at errors ends where something is missing, and a loop that continues has decided
// to. A subscription connects when it is made and again whenever its connection ends,
// and resumes where it was.
//
// A message passes from the connection through one goroutine into a bounded queue of
// each subscription to its topic, and from there to the loop. So a slow loop delays no
// other. What does not fit into its queue is lost to it, which is a [LostError].
//
// All subscriptions share one connection as long as they can. A topic that is subscribed
// to twice, in ways that the server has to tell apart, takes a second one. Where
// something between client and server blocks WebSockets, the client uses event streams
// instead: everything works, except presence.
//
// Within a topic, positions that a subscription yields strictly increase until the
// server restarts. No token is in an error or a log line. The package stores nothing: to
// resume after a restart of the program, store [Message.Position] and give it back in
// [SubscribeOptions.Since].
package client

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/ikornaselur/notiflux/client/internal/connect"
	"github.com/ikornaselur/notiflux/client/internal/rest"
	"github.com/ikornaselur/notiflux/client/internal/tokens"
)

// defaultTimeout is longer than a server that restarts is away.
const defaultTimeout = 30 * time.Second

// Options are the settings of a [Client]. The zero value works, but without a token
// a server refuses every request.
type Options struct {
	// Token is sent with every request: a JWT that the server accepts.
	Token string
	// TokenSource returns the token instead. The client asks it when it first needs
	// a token for a scope, when a server refuses the token as invalid, expired or
	// revoked, and once per operation when the token does not allow a topic or the
	// scope; this answer is then used for these topics. An error fails the call. A
	// subscription tries again later, and the ones that run continue. One call runs
	// at a time, and its context ends after 30 s.
	TokenSource func(ctx context.Context, r TokenRequest) (string, error)
	// Timeout is the deadline of a call whose context has none; 0: 30 s.
	Timeout time.Duration
	// NoRetry makes each call once, except after a refused token. A message is then
	// published without a key, unless [Publication.Key] is set.
	NoRetry bool
	// HTTPClient makes all requests; its Timeout is not used. nil: one that uses
	// the proxy of the environment and follows no redirects, so that the token stays
	// with the server.
	HTTPClient *http.Client
	// Logger gets what the client does, at the levels Debug and Info; nil: nothing.
	Logger *slog.Logger
}

// A Client publishes and subscribes to topics of one server. Make one with [New]. Its
// methods are safe for concurrent use.
//
// A call is retried after a failure that may pass: a network error, a server or a proxy
// that is overloaded, restarting or unavailable. It waits as long as the server says,
// plus a random time that grows, until its context ends. A certificate or a TLS version
// that one side does not accept is final. A refusal is an [*Error].
type Client struct {
	hub    *hub
	tokens *tokens.Cache
}

// A hub is what the views of a client share.
type hub struct {
	// Immutable after New.
	server  *rest.Server
	log     *slog.Logger
	timeout time.Duration
	retry   bool                            // calls that fail are made again
	delay   func(attempt int) time.Duration // before an attempt

	dialer  connect.Dialer
	running sync.WaitGroup // of the lanes

	// Guarded by mu.
	mu            sync.Mutex
	closed        bool
	err           error // why subscriptions end; nil: they run
	lanes         []*lane
	subscriptions map[*Subscription]bool
	feeds         uint64 // so far
	faults        uint64 // frames that break the protocol
}

// New returns a client for the server at url, as in https://host. It does no I/O.
func New(url string, o Options) (*Client, error) {
	server, err := rest.New(url, o.HTTPClient)
	if err != nil {
		return nil, err
	}
	if o.Timeout < 0 {
		return nil, errors.New("client options: Timeout is negative")
	}
	if o.Token != "" && o.TokenSource != nil {
		return nil, errors.New("client options: set Token or TokenSource, not both")
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

// WithToken returns a view of the client whose calls and subscriptions use another
// token, on the same connections. Closing either closes both.
func (c *Client) WithToken(token string) *Client { return &Client{c.hub, tokens.New(token, nil)} }

// Connect connects to the server and returns what is wrong with the address, the
// network or the server, as a [*url.Error] with the cause. It does not retry. Calling it
// is optional: subscriptions connect on their own. ctx bounds the waiting only.
func (c *Client) Connect(ctx context.Context) error {
	h := c.hub
	h.mu.Lock()
	if h.err != nil {
		defer h.mu.Unlock()
		return h.err
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
	var err error
	select {
	case <-attempt.done:
		err = attempt.err
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if err != nil && err != ErrClosed {
		err = &url.Error{Op: "connect", URL: h.server.Base.String(), Err: err}
	}
	return err
}

// Close ends the connections and every subscription, and waits until no goroutine of
// the client is left: until the server has closed as well, which takes a second at most.
// Calls that are running are not ended. The error is always nil.
func (c *Client) Close() error {
	h := c.hub
	h.mu.Lock()
	h.closed = true
	h.endLocked(ErrClosed)
	h.mu.Unlock()
	h.running.Wait()
	h.server.Close()
	return nil
}

// endLocked ends all lanes, and with them all subscriptions.
func (h *hub) endLocked(err error) {
	if h.err == nil || err == ErrClosed {
		h.err = err
	}
	for _, l := range h.lanes {
		l.stop()
	}
	for s := range h.subscriptions {
		if err == ErrClosed {
			s.queue.close()
		} else {
			s.queue.finish(err)
		}
	}
	clear(h.subscriptions)
}
