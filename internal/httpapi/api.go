// Package httpapi is HTTP for publishers and operators, and for readers who ask and
// get an answer: a history, a poll.
//
// The handlers are methods of [API] and return what went wrong instead of writing it:
// internal/router writes the one form of error. A broadcast goes
//
//	media type → size → shape → token → what the token allows → publisher
//
// and the first of them that finds a fault answers. So a publisher with both a
// broken body and a bad token is told of the body. Requests to read go from
// their query to their token in the same way, and then to the topics.
//
// Invariants: what was answered with 200 was ordered by the [Publisher] before.
// An answer to a reader tells where to go on: nothing lies between what it was
// given and that, or the answer says so.
//
// The package keeps no connection and no message; event streams are not written
// here, but begin with [API.ParseStream] and [API.Authorize]. Listeners and their
// timeouts are the server's.
package httpapi

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ikornaselur/notiflux"
	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/origin"
	"github.com/ikornaselur/notiflux/internal/presence"
	"github.com/ikornaselur/notiflux/internal/topic"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// Limits of a Config that leaves them zero: docs/protocol.md, section 6.
const (
	defaultMessageBytes = 64 << 10
	defaultBodyBytes    = 1 << 20
	defaultLagBytes     = 1 << 20
)

// A Publisher orders messages: the broker. Safe for concurrent use.
type Publisher interface {
	// Publish orders each of ps that has no error yet, and returns once all are
	// ordered and kept, or have an error. It owns the data of the bodies from then
	// on. Errors that a stranger may see are [notiflux.Error]s.
	Publish(ctx context.Context, ps []notiflux.Publication)
}

// A Verifier judges tokens. Safe for concurrent use.
type Verifier interface {
	// Verify returns what the token allows, or a [notiflux.Error].
	Verify(auth.Token) (*auth.Claims, error)
	// Recall returns the same if that takes no check of a signature; known is false
	// if it may take one.
	Recall(auth.Token) (claims *auth.Claims, known bool, err error)
}

// A Config is what an API is made of. Publisher and Verifier are required, and
// Topics for the routes that read.
type Config struct {
	Publisher       Publisher
	Verifier        Verifier
	Topics          *topic.Topics
	Presence        *presence.Registry // for the route of this name
	MaxMessageBytes int                // of Body.Data; 0: 64 KiB
	MaxBodyBytes    int64              // of a request; 0: 1 MiB
	Ready           func() error       // nil error: ready to serve; else why not, a [notiflux.Error]. A nil func is always ready
	Log             *slog.Logger       // nil discards
	Now             func() time.Time   // the wall clock; nil: time.Now. Called concurrently

	Origins       origin.List // whose names may send a token as a cookie
	NoQueryTokens bool        // a token in the query is not looked at

	MaxLagBytes uint64 // what an answer may keep in memory that its logs no longer hold; 0: 1 MiB
	Unread      Budget // of answers that are not read; nil: no bound

	Enter    func() error    // takes a place among the connections for a poll that waits, or says why there is none; nil: there always is
	Leave    func()          // gives it back; nil if Enter is
	Draining <-chan struct{} // closed when the server begins to shut down: polls wait no longer; nil: never
}

// An API is the handlers of the public routes. Make one with New. Safe for
// concurrent use.
type API struct {
	// Immutable after New.
	publisher Publisher
	verifier  Verifier
	topics    *topic.Topics
	presence  *presence.Registry
	limits    limits
	ready     func() error
	log       *slog.Logger
	now       func() time.Time

	origins       origin.List
	noQueryTokens bool
	enter         func() error
	leave         func()
	draining      <-chan struct{}
	maxLag        uint64
	unread        Budget

	uploads  sync.Pool // of *upload
	decoders sync.Pool // of *decoder
	answers  sync.Pool // of *[]byte
	bodies   bodies
	accepted atomic.Uint64
	refused  atomic.Uint64
	failed   atomic.Uint64
}

// New returns the API that c describes.
func New(c Config) *API {
	a := &API{
		publisher: c.Publisher,
		verifier:  c.Verifier,
		topics:    c.Topics,
		presence:  c.Presence,
		limits:    limits{messageBytes: c.MaxMessageBytes, bodyBytes: c.MaxBodyBytes},
		ready:     c.Ready,
		log:       c.Log,
		now:       c.Now,

		origins:       c.Origins,
		noQueryTokens: c.NoQueryTokens,
		enter:         c.Enter,
		leave:         c.Leave,
		draining:      c.Draining,
		maxLag:        cmp.Or(c.MaxLagBytes, defaultLagBytes),
		unread:        c.Unread,

		uploads:  sync.Pool{New: func() any { return new(upload) }},
		decoders: sync.Pool{New: func() any { return new(decoder) }},
		answers:  sync.Pool{New: func() any { return new([]byte) }},
	}
	if a.limits.messageBytes == 0 {
		a.limits.messageBytes = defaultMessageBytes
	}
	if a.limits.bodyBytes == 0 {
		a.limits.bodyBytes = defaultBodyBytes
	}
	a.bodies.half = max(defaultBodiesBytes, bodiesPerLimit*a.limits.bodyBytes) / 2
	if a.now == nil {
		a.now = time.Now
	}
	if a.ready == nil {
		a.ready = func() error { return nil }
	}
	if a.unread == nil {
		a.unread = noBudget{}
	}
	if a.enter == nil {
		a.enter, a.leave = func() error { return nil }, func() {}
	}
	if a.log == nil {
		a.log = slog.New(slog.DiscardHandler)
	}
	return a
}

// Health answers that the process lives.
func (a *API) Health(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	return nil
}

// Ready answers whether the server takes work now.
func (a *API) Ready(w http.ResponseWriter, r *http.Request) error {
	if err := a.ready(); err != nil {
		return err
	}
	return a.Health(w, r)
}

// Stats counts broadcasts since New: each message of an array for itself, and each
// request that was refused as a whole.
type Stats struct {
	Accepted uint64 // ordered, and answered with a position
	Refused  uint64 // the publisher's fault, 4xx, or something that clients without any token can bring about
	Failed   uint64 // neither: 5xx
}

// Stats returns a snapshot. Its counters may be of slightly different moments.
func (a *API) Stats() Stats {
	return Stats{a.accepted.Load(), a.refused.Load(), a.failed.Load()}
}

// count adds the outcome of one broadcast.
func (a *API) count(err error) {
	switch {
	case err == nil:
		a.accepted.Add(1)
	case wire.ErrorResponseOf(notiflux.Refusal(err).Code).Status < http.StatusInternalServerError, byStrangers(err):
		a.refused.Add(1)
	default:
		a.failed.Add(1)
	}
}

// byStrangers reports whether clients without a token can bring err about, however well
// the server is.
func byStrangers(err error) bool {
	return errors.Is(err, errSpent) || errors.Is(err, errBodies) || errors.Is(err, errUnread)
}
