// Package client subscribes to the topics of a notiflux server, and stays
// subscribed: it speaks the JSON protocol over a WebSocket, connects again when
// the connection ends, and goes on where it was. It publishes, too, and reads what
// was published and who is present.
//
// [NewCaller] is for who only publishes or reads: a [Caller] makes single calls
// over HTTP, and tries them again as long as that may help and does no harm.
//
// [Dial] connects, and [Client.Subscribe] gives what happens to topics as an
// iterator. What is lost cannot be overlooked, for it is an error and no event:
// a loop that ends at errors ends where something is missing, and one that goes
// on has said so.
//
//	for event, err := range c.Subscribe(ctx, client.Subscription{Topics: topics}) {
//		if lost, ok := errors.AsType[*client.LostError](err); ok {
//			reload(lost.Topic) // messages are missing; lost.Position is where it goes on
//			continue
//		}
//		if err != nil {
//			return err // also if one topic is refused: to continue goes on with the others
//		}
//		switch e := event.(type) {
//		case client.Message: // each once, in order
//		case client.Subscribed: // messages follow from here; nothing is missing
//		case client.Skipped: // asked for by Latest: older messages were left out
//		case client.Disconnected: // messages may be late from now on
//		}
//	}
//
// A message passes from the socket through one goroutine to the loop that takes
// it, without a queue: at most one message per client is held outside the
// system's buffers. A loop that is slow makes the server wait, and with it the
// other loops of the same client; who needs them apart dials twice. A server
// that has waited too long ends the connection, and the client resumes.
//
// Where something between the client and the server lets no WebSocket through, the
// client takes to event streams, of up to 64 topics each. To a loop nothing
// changes, but that there is no presence. When topics come or go, a stream is
// replaced by one that begins at the position of each: see relay for the rule that
// keeps this from losing anything. After ten minutes the next connection is tried
// as a WebSocket again.
//
// Invariants: within a topic and epoch, positions given to a loop strictly
// increase. What a loop has taken is asked for never again, and what it has not
// taken is asked for when the client resumes. A topic has one subscription per
// client. A token is in no error and no log line.
//
// The package does not keep positions: who must go on after a restart of the
// program stores [Message.Position], and gives it back in [Subscription.Since].
package client

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// Options are the settings of a [Client] and of a [Caller]. The zero value connects,
// but whatever is asked for is refused with the code token_missing.
type Options struct {
	// Token allows what is asked for.
	Token Token
	// TokenSource, if set, is asked for the token instead: when one is needed
	// first, and once when a server refuses it as invalid, expired or revoked. Its
	// error is that of Dial and of calls; in a client that is connected what needs
	// the token waits and is tried again, and what is subscribed to goes on. One call
	// runs at a time, of at most 30 s.
	TokenSource func(context.Context) (Token, error)
	// NoRetry has each call of a [Caller] made once, but for a refused token. A
	// message is then published without a key, unless [Broadcast.Key] has one: keys
	// take memory of the server, of which each publisher has a share.
	NoRetry bool
	// Logger is told what the client does, at the levels Debug and Info; nil: nobody is.
	Logger *slog.Logger
	// HTTPClient makes the handshakes and the calls; its Timeout is not used. nil:
	// one that uses the proxy of the environment and follows no redirects, so that
	// the token stays with the server that it was meant for.
	HTTPClient *http.Client
}

// ErrClosed ends the iterators of a client after [Client.Close].
var ErrClosed = errors.New("the client is closed")

// A Client is subscribed to topics of one server, and makes calls to it as its
// [Caller] does. Make one with [Dial]. Its methods are safe for concurrent use.
type Client struct {
	*Caller

	// Immutable after Dial.
	cancel context.CancelFunc
	wake   chan struct{} // has room for one; run takes it: there is something to command
	done   chan struct{} // closed when run has ended

	faults atomic.Uint64 // frames that break the protocol

	// Owned by Dial, then by run.
	sessions uint64    // so far
	blocked  time.Time // until then no WebSocket is tried; zero: one is

	// Guarded by mu.
	mu            sync.Mutex
	subscriptions map[pubsub.Topic]*topicSubscription
	numbered      uint64         // subscriptions so far
	session       *session       // nil: not connected, or by event streams
	gone          []pubsub.Topic // to be unsubscribed from in session
	err           error          // why run has ended
}

// Dial connects to the server at base, as in https://host, and returns once it has
// been welcomed or takes to event streams. It waits for nothing to get better: what
// can be wrong with an address, a network or a server is told here, as a
// [*url.Error] with the cause, a [*StatusError] if the server answered. But to find
// out whether WebSockets are let through it may begin up to three handshakes, and
// ask the server by a plain request, each of up to 10 s. Afterwards the client
// connects again by itself, for as long as it has subscriptions. ctx bounds Dial
// alone.
func Dial(ctx context.Context, base string, o Options) (*Client, error) {
	caller, err := NewCaller(base, o)
	if err != nil {
		return nil, err
	}
	return dial(ctx, caller)
}

func dial(ctx context.Context, caller *Caller) (*Client, error) {
	c := &Client{
		Caller:        caller,
		wake:          make(chan struct{}, 1),
		done:          make(chan struct{}),
		subscriptions: map[pubsub.Topic]*topicSubscription{},
	}
	s, err := c.connect(ctx)
	if err != nil {
		caller.Close()
		return nil, &url.Error{Op: "Dial", URL: caller.base.String(), Err: err}
	}
	running, cancel := context.WithCancel(context.Background())
	c.cancel = cancel
	go c.run(running, s)
	return c, nil
}

// Close ends the connection and every iterator, and returns when no goroutine
// of the client is left. A server that does not say farewell is waited for, a
// second mostly and five at most. Calls are not ended: their contexts do that.
// The error is always nil.
func (c *Client) Close() error {
	c.cancel()
	<-c.done
	return c.Caller.Close()
}

// Connection returns the name that the server has given to the connection, for
// [Broadcast.Exclude]. It is empty while the client is not connected, and when it
// uses event streams; and it is another one each time it connects.
func (c *Client) Connection() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.session == nil {
		return ""
	}
	return c.session.connection
}

// wakeRun makes run look at what is to be commanded.
func (c *Client) wakeRun() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}
