// Package httpapi holds every HTTP route of the public listener, one file per route:
//
//	/broadcast     broadcast.go
//	/ws            websocket.go
//	/events, /stream           stream.go
//	/poll          poll.go
//	/history       history.go
//	/presence      presence.go
//	/health, /livez, /readyz   health.go
//	/openapi.json  openapi.go
//
// [API.Routes] lists them. Handlers return their errors, and internal/router writes all
// errors in one form. The handler of a broadcast checks, in this order,
//
//	media type → size → JSON → token → permissions
//
// and then publishes. The first check that fails determines the answer, so a publisher with
// both an invalid body and an invalid token gets the error about the body. For requests
// that read, the handler checks the query, then the token, and then the topics. A client
// that stays connected, with a WebSocket or a stream, takes a slot (one of
// --max-connections), and its connection moves to an event loop (internal/clients). Its session
// knows nothing about HTTP.
//
// Invariants:
//   - A broadcast is answered with 200 only after the [Broker] has ordered it.
//   - The answer to a reader says where to continue. Either no message lies between the
//     messages in the answer and that position, or the answer says that some are missing.
//
// The package accepts no connections and stores no messages. The server owns the listeners
// and their timeouts.
package httpapi

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"time"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/broker"
	"github.com/ikornaselur/notiflux/internal/clients"
	"github.com/ikornaselur/notiflux/internal/control"
	"github.com/ikornaselur/notiflux/internal/listen"
	"github.com/ikornaselur/notiflux/internal/origin"
	"github.com/ikornaselur/notiflux/internal/presence"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/quota"
	"github.com/ikornaselur/notiflux/internal/session"
	"github.com/ikornaselur/notiflux/internal/topic"
	"github.com/ikornaselur/notiflux/internal/transport"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// Defaults of a Config: docs/protocol.md, section 6.
const (
	defaultMessageBytes = 64 << 10
	defaultBodyBytes    = 1 << 20
	defaultLagBytes     = 1 << 20
)

// A Broker orders and stores messages: see package broker. It is safe for concurrent use.
type Broker interface {
	Publish(ps []pubsub.Publication, done func()) (finished bool)
	History(ctx context.Context, name pubsub.Topic, since pubsub.Position, limit int) (topic.History, error)
	Health() error
}

// A Verifier verifies tokens. It is safe for concurrent use.
type Verifier interface {
	// Verify returns the claims of a token from an address, or a [pubsub.Error]. It may block.
	Verify(token auth.Token, remote string) (*auth.Claims, error)
	// Recall returns the same without blocking, if that takes no signature check. Otherwise
	// known is false.
	Recall(token auth.Token, remote string) (claims *auth.Claims, known bool, err error)
	// Anonymous returns the claims of clients without a token, or nil if they may do nothing.
	Anonymous() *auth.Claims
}

// A Config configures [New]. Broker and Verifier are required. Routes that read also
// require Topics.
type Config struct {
	Broker          Broker
	Attacher        *broker.Attacher // of the same broker
	Verifier        Verifier
	Topics          *topic.Topics
	Presence        *presence.Registry // for /presence
	MaxMessageBytes int                // limit for Body.Data; 0: 64 KiB
	MaxBodyBytes    int64              // limit for a request; 0: 1 MiB
	Ready           func() error       // returns nil, or a [pubsub.Error] with the reason why the server cannot take work; nil: always ready
	KeysReady       func() error       // the same for the keys that verify tokens; only /readyz reports it
	Log             *slog.Logger       // nil discards
	Now             func() time.Time   // the wall clock, called concurrently; nil: time.Now

	Origins       origin.List // of web pages that may send requests; those listed by name may send the token as a cookie
	NoQueryTokens bool        // ignore a token in the query

	// Revoked returns nil, or an error with TokenRevoked if the operator has revoked a token for
	// a topic; nil: none is revoked.
	Revoked func(*auth.Claims, pubsub.Topic) error

	MaxLagBytes uint64            // limit for the data that an answer keeps in memory after its logs have dropped it; 0: 1 MiB
	Unread      *transport.Budget // of answers that clients have not read; nil: no limit

	Draining              <-chan struct{}  // closed when shutdown begins, which ends the waiting of polls; nil: never
	Control               *control.Control // ends waiting polls for the operator; nil: none
	Connections, Requests *quota.Limit     // per address: new WebSockets and streams, and all other requests; nil: no limit
	Clients               *listen.Slots    // one for each client: a WebSocket, a stream, or a waiting poll; nil: no limit
	PerAddress            *quota.Open      // limits the clients of an address; nil: no limit
	Users                 *clients.Users   // limits the clients of a user; nil: no limit

	// Required for WebSockets and streams.
	Limiter     *listen.Limiter     // accepts their connections
	Scavenger   *listen.Scavenger   // counts them
	Endpoints   []*session.Endpoint // of all dialects; exactly one is the default for WebSockets
	Loops       []clients.Loop      // used in turn; when a loop closes a connection, its loop.Config.Closed must release the slot and the connection
	WebSockets  transport.Config    // its Stats also count streams
	Compression bool                // offer it to WebSocket clients
}

// withDefaults returns c with its defaults filled in.
func (c Config) withDefaults() Config {
	c.MaxMessageBytes = cmp.Or(c.MaxMessageBytes, defaultMessageBytes)
	c.MaxBodyBytes = cmp.Or(c.MaxBodyBytes, defaultBodyBytes)
	c.MaxLagBytes = cmp.Or(c.MaxLagBytes, defaultLagBytes)
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Ready == nil {
		c.Ready = func() error { return nil }
	}
	if c.KeysReady == nil {
		c.KeysReady = func() error { return nil }
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Control == nil {
		c.Control = control.New(nil, nil)
	}
	if c.Clients == nil {
		c.Clients = listen.NewSlots(math.MaxInt, "", c.Log)
	}
	return c
}

// An API handles the public routes. It is safe for concurrent use.
type API struct {
	// Immutable after New.
	config Config // with its defaults
	limits limits

	clients    *clients.Clients
	webSockets *webSockets
	streams    []*stream
	publishing *listen.Slots // counts broadcasts in progress, without a limit

	uploads  sync.Pool // of *upload
	decoders sync.Pool // of *decoder
	answers  sync.Pool // of *[]byte
	bodies   bodies

	broadcasts wire.Outcomes
}

// New returns an API. It panics if the endpoints conflict or are invalid.
func New(c Config) *API {
	if err := checkEndpoints(c.Endpoints); err != nil {
		panic(fmt.Sprintf("httpapi: %v", err)) // a bug in the program
	}
	a := &API{
		config: c.withDefaults(),

		uploads:  sync.Pool{New: func() any { return new(upload) }},
		decoders: sync.Pool{New: func() any { return newDecoder() }},
		answers:  sync.Pool{New: func() any { return new([]byte) }},
	}
	c = a.config
	a.limits = limits{messageBytes: c.MaxMessageBytes, bodyBytes: c.MaxBodyBytes}
	a.publishing = listen.NewSlots(math.MaxInt, "", c.Log)
	a.bodies.half = max(defaultBodiesBytes, bodiesPerLimit*c.MaxBodyBytes) / 2
	a.clients = clients.New(clients.Config{Slots: c.Clients, Limiter: c.Limiter, Scavenger: c.Scavenger, Loops: c.Loops, PerAddress: c.PerAddress, Users: c.Users, Log: c.Log})
	a.webSockets = newWebSockets(a, c)
	for _, e := range c.Endpoints {
		if e.Path != "" {
			a.streams = append(a.streams, newStream(a, e, c.WebSockets.Stats))
		}
	}
	return a
}

// Broadcasts returns the counters of broadcasts since New. Each message of an array counts,
// and so does each request that is refused as a whole. Refused also counts errors that
// clients without a token can cause.
func (a *API) Broadcasts() *wire.Outcomes { return &a.broadcasts }

// count adds the outcome of one broadcast.
func (a *API) count(err error) {
	if byUnauthenticated(err) {
		a.broadcasts.Refused.Add(1)
		return
	}
	a.broadcasts.Count(err)
}

// byUnauthenticated reports whether clients without a token can cause err on a healthy
// server.
func byUnauthenticated(err error) bool {
	return errors.Is(err, errSpent) || errors.Is(err, errBodies) || errors.Is(err, errUnread)
}
