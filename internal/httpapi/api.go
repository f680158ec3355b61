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
// [API.Routes] lists them. Handlers return their error instead of writing it:
// internal/router writes every error in one form. A broadcast goes
//
//	media type → size → shape → token → what the token allows → publisher
//
// and the first step that finds a fault answers. So a publisher with both a broken
// body and a bad token is told of the body. Requests that read pass from their query
// to their token in the same way, and then to the topics. A client that stays, such as
// a WebSocket or a stream, gets a slot, and its connection goes to an event loop
// (clients.go); its session knows nothing of HTTP.
//
// Invariants: a broadcast answered with 200 was ordered by the [Broker] before.
// The answer to a reader says where to go on: no message lies between the messages in
// the answer and that position, or the answer says so.
//
// The package accepts no connection and keeps no message. Listeners and their timeouts
// are the server's.
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
	"github.com/ikornaselur/notiflux/internal/listen"
	"github.com/ikornaselur/notiflux/internal/origin"
	"github.com/ikornaselur/notiflux/internal/presence"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/session"
	"github.com/ikornaselur/notiflux/internal/topic"
	"github.com/ikornaselur/notiflux/internal/transport"
)

// Limits of a Config that leaves them zero: docs/protocol.md, section 6.
const (
	defaultMessageBytes = 64 << 10
	defaultBodyBytes    = 1 << 20
	defaultLagBytes     = 1 << 20
)

// A Broker orders messages and stores them: see package broker. Safe for concurrent use.
type Broker interface {
	Publish(ps []pubsub.Publication, done func()) (finished bool)
	History(ctx context.Context, name pubsub.Topic, since pubsub.Position, limit int) (topic.History, error)
	Health() error
}

// A Verifier verifies tokens. Safe for concurrent use.
type Verifier interface {
	// Verify returns what the token allows, or a [pubsub.Error]. It may block.
	Verify(auth.Token) (*auth.Claims, error)
	// Recall returns the same, without blocking, if that takes no check of a signature.
	// known is false if it may take one.
	Recall(auth.Token) (claims *auth.Claims, known bool, err error)
}

// A Config is what an API is made of. Broker and Verifier are required. Routes that
// read need Topics.
type Config struct {
	Broker          Broker
	Attacher        *broker.Attacher // to the same broker
	Verifier        Verifier
	Topics          *topic.Topics
	Presence        *presence.Registry // for the route of this name
	MaxMessageBytes int                // of Body.Data; 0: 64 KiB
	MaxBodyBytes    int64              // of a request; 0: 1 MiB
	Ready           func() error       // returns nil, or a [pubsub.Error] that says why the server cannot take work; nil: always ready
	Log             *slog.Logger       // nil discards
	Now             func() time.Time   // the wall clock; nil: time.Now. Called concurrently

	Origins       origin.List // of web pages that may send requests; those listed by name may send the token as a cookie
	NoQueryTokens bool        // ignore a token in the query

	MaxLagBytes uint64            // how much an answer may keep in memory that its logs no longer hold; 0: 1 MiB
	Unread      *transport.Budget // of answers that clients have not read; nil: no limit

	Draining <-chan struct{} // closed when the server begins to shut down: polls stop waiting; nil: never
	Clients  *listen.Slots   // one for each client: a WebSocket, a stream, a poll that waits; nil: there is always one

	// Required for WebSockets and streams.
	Limiter     *listen.Limiter     // that their connections come from
	Scavenger   *listen.Scavenger   // counts them
	Endpoints   []*session.Endpoint // of all dialects; one is the default of WebSockets
	Loops       []Loop              // take turns; whoever makes them releases a client's slot and connection when its loop closes it
	WebSockets  transport.Config    // its Stats count streams, too
	Compression bool                // agreed on with WebSocket clients that offer it
}

// withDefaults returns c as the API uses it.
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
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Clients == nil {
		c.Clients = listen.NewSlots(math.MaxInt, "", c.Log)
	}
	return c
}

// An API answers the public routes. Make one with New. Safe for concurrent use.
type API struct {
	// Immutable after New.
	config Config // with its defaults
	limits limits

	clients    clients
	webSockets *webSockets
	streams    []*stream
	publishing *listen.Slots // broadcasts under way, without a limit

	uploads  sync.Pool // of *upload
	decoders sync.Pool // of *decoder
	answers  sync.Pool // of *[]byte
	bodies   bodies

	broadcasts session.BroadcastStats
}

// New returns the API that c describes. It panics if the endpoints contradict each other or
// themselves.
func New(c Config) *API {
	if err := checkEndpoints(c.Endpoints); err != nil {
		panic(fmt.Sprintf("httpapi: %v", err)) // A mistake in the program.
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
	a.clients.slots, a.clients.limiter, a.clients.scavenger, a.clients.loops = c.Clients, c.Limiter, c.Scavenger, c.Loops
	a.clients.ready, a.clients.log = c.Ready, c.Log
	a.webSockets = newWebSockets(a, c)
	for _, e := range c.Endpoints {
		if e.Path != "" {
			a.streams = append(a.streams, newStream(a, e, c.WebSockets.Stats))
		}
	}
	return a
}

// Broadcasts returns the counters of broadcasts since New: each message of an array by
// itself, and each request that was refused as a whole. Refused also counts errors that
// clients without a token can cause.
func (a *API) Broadcasts() *session.BroadcastStats { return &a.broadcasts }

// count adds the outcome of one broadcast.
func (a *API) count(err error) {
	if byUnauthenticated(err) {
		a.broadcasts.Refused.Add(1)
		return
	}
	a.broadcasts.Count(err)
}

// byUnauthenticated reports whether clients without a token can cause err although the server
// is well.
func byUnauthenticated(err error) bool {
	return errors.Is(err, errSpent) || errors.Is(err, errBodies) || errors.Is(err, errUnread)
}
