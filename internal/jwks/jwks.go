// Package jwks loads the keys that an identity provider publishes as a JWK Set (RFC 7517), from
// a URL or a file, and loads them again while the server runs.
//
// A [Source] loads the keys at start, and again when they are old enough: after the max-age of
// the answer, but at least every 15 minutes. A token whose kid is not among the keys makes the
// source load them at once, but only once in 30 seconds; the token waits for that in
// [Source.Await], without a goroutine. A file is read every second instead.
//
// Invariants:
//   - One goroutine loads the keys, that of [Source.Run], so there is never more than one
//     request to the provider.
//   - Whatever the provider answers, the last good keys stay, until they are older than 24 h.
//   - A kid counts as unknown only if a load that began after the kid was first seen did not
//     bring it. Until then, its tokens are refused with a code that permits to try again.
//   - Memory is bounded, whatever clients and the provider send.
//
// The package does not verify tokens; internal/auth does.
package jwks

import (
	"bytes"
	"context"
	"crypto/sha256"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// When keys are loaded: docs/operations.md, Keys of an identity provider.
const (
	fetchTimeout = 5 * time.Second // for the whole answer
	maxBytes     = 64 << 10        // far more than 16 keys need

	defaultAge = 5 * time.Minute  // without max-age
	minAge     = time.Minute      // whatever max-age is
	maxAge     = 15 * time.Minute // whatever max-age is; how long a withdrawn key works

	retryFirst   = 5 * time.Second  // after a failure, before any keys were loaded
	retryLater   = 30 * time.Second // after a failure, with older keys
	unknownEvery = 30 * time.Second // between loads because of unknown kids
	fileEvery    = time.Second      // between reads of a file

	staleAfter = 24 * time.Hour
)

const (
	patience   = 5 * time.Second // a token waits if the next load begins within this time
	maxWaiting = 32768           // tokens, as many as wait for a signature check
	maxAsked   = 1024            // kids
	maxSkipped = 16              // keys of which the log says why they are of no use
)

// Config configures a [Source].
type Config struct {
	Address   Address
	Transport http.RoundTripper // nil: one that follows HTTPS_PROXY
	Log       *slog.Logger      // nil discards
}

// A Source loads keys. It is an [auth.Source]. Its methods are safe for concurrent use.
type Source struct {
	// Immutable after New.
	address Address
	client  *http.Client
	log     *slog.Logger
	wake    chan struct{} // due has changed

	mu sync.Mutex
	// Guarded by mu.
	stopped  bool
	loading  bool
	failed   bool                         // the last load
	begun    time.Time                    // when the last load, or the current one, began
	loaded   time.Time                    // when the last load that succeeded began; zero: none
	due      time.Time                    // when the next load begins
	forced   time.Time                    // when the last load because of an unknown kid began, or begins
	waiting  []func()                     // to be called after it
	asked    map[[sha256.Size]byte]uint64 // loads when a kid was first seen that is not among the keys, by its SHA-256
	loads    uint64                       // number of loads that have begun
	good     uint64                       // number of the last load that succeeded
	failures uint64
	keys     int

	// Owned by Run.
	content []byte // of which the keys are
	set     *auth.Keys
	problem string // of the last load; empty: none
}

// New returns a source of the keys at an address. Call [Source.Run] to load them.
func New(c Config) *Source {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Transport == nil {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.DisableKeepAlives = true // the next request is minutes away
		t.MaxResponseHeaderBytes = maxBytes
		c.Transport = t
	}
	return &Source{
		address: c.Address,
		client: &http.Client{Transport: c.Transport, Timeout: fetchTimeout, CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		}},
		log:   c.Log,
		wake:  make(chan struct{}, 1),
		asked: make(map[[sha256.Size]byte]uint64),
	}
}

// Run loads the keys until ctx ends, and calls set with them whenever they have changed. Call
// it once. It starts no goroutine that outlives it.
func (s *Source) Run(ctx context.Context, set func(*auth.Keys)) {
	defer s.stop()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		case <-timer.C:
		}
		if s.begin() {
			age, err := s.load(ctx, set)
			if ctx.Err() != nil {
				return
			}
			s.end(age, err)
		}
		timer.Reset(s.untilDue())
	}
}

func (s *Source) untilDue() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Until(s.due)
}

// begin reports whether a load is due, and then begins it.
func (s *Source) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if now.Before(s.due) {
		return false
	}
	s.loading, s.begun = true, now
	s.loads++
	return true
}

// load loads the keys, and returns for how long they are fresh.
func (s *Source) load(ctx context.Context, set func(*auth.Keys)) (age time.Duration, err error) {
	data, age, err := s.read(ctx)
	if err != nil || bytes.Equal(data, s.content) {
		return age, err
	}
	keys, skipped, err := auth.ParsePublishedKeys(data)
	if err != nil {
		return age, err
	}
	for _, why := range skipped[:min(len(skipped), maxSkipped)] {
		s.log.Warn("key of the identity provider skipped", "err", why)
	}
	if more := len(skipped) - maxSkipped; more > 0 {
		s.log.Warn("more keys of the identity provider skipped", "keys", more)
	}
	s.content = data
	if s.set == nil || !s.set.Equal(keys) {
		s.set = keys
		set(keys)
		s.log.Info("keys of the identity provider loaded", "keys", keys.Len())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys = keys.Len()
	return age, nil
}

// end ends a load: it sets the time of the next one, and calls those that wait.
func (s *Source) end(age time.Duration, err error) {
	s.report(err)
	s.mu.Lock()
	s.loading, s.failed = false, err != nil
	switch {
	case err == nil:
		s.loaded, s.good = s.begun, s.loads
	case s.address.file != "":
		age = fileEvery
	case s.loaded.IsZero():
		age = retryFirst
	default:
		age = retryLater
	}
	if err != nil {
		s.failures++
	}
	s.due = time.Now().Add(age)
	waiting := s.waiting
	s.waiting = nil
	s.mu.Unlock()
	for _, then := range waiting {
		then()
	}
}

// report logs why keys were not loaded, once while the reason is the same.
func (s *Source) report(err error) {
	problem := ""
	if err != nil {
		problem = err.Error()
	}
	if problem == s.problem {
		return
	}
	s.problem = problem
	switch {
	case err == nil:
		s.log.Info("keys of the identity provider can be loaded again")
	case s.set == nil:
		s.log.Warn("keys of the identity provider not loaded; until they are, its tokens are refused", "err", err)
	default:
		s.log.Warn("keys of the identity provider not loaded; old ones stay in use for 24 h", "err", err)
	}
}

// stop lets nobody wait any more.
func (s *Source) stop() {
	s.mu.Lock()
	s.stopped = true
	waiting := s.waiting
	s.waiting = nil
	s.mu.Unlock()
	for _, then := range waiting {
		then()
	}
}

// Refusals of tokens whose key is not known.
var (
	errNever = pubsub.Errorf(pubsub.Unavailable, "the server has not been able to load the keys of the token's issuer yet: try again later")
	errStale = pubsub.Errorf(pubsub.Unavailable, "the server has not been able to load the keys of the token's issuer for a day: try again later")
	errSoon  = pubsub.Errorf(pubsub.OverCapacity, "kid in the token does not name a key that the server has loaded: try again later, when it has loaded the keys of the token's issuer again")
)

// Stale implements [auth.Source].
func (s *Source) Stale() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.staleLocked()
}

func (s *Source) staleLocked() error {
	switch {
	case s.loaded.IsZero():
		return errNever
	case time.Since(s.loaded) > staleAfter:
		return errStale
	}
	return nil
}

// Await implements [auth.Source].
func (s *Source) Await(kid string, then func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	s.askLocked(kid)
	if s.stopped || len(s.waiting) >= maxWaiting || s.failed && s.loaded.IsZero() {
		return false
	}
	if !s.loading {
		allowed := s.forced.Add(unknownEvery)
		if s.address.file != "" {
			allowed = s.begun.Add(fileEvery)
		}
		if allowed.Before(now) {
			allowed = now
		}
		if allowed.Before(s.due) {
			if allowed.Sub(now) > patience {
				return false
			}
			s.due, s.forced = allowed, allowed
			select {
			case s.wake <- struct{}{}:
			default:
			}
		} else if s.due.Sub(now) > patience {
			return false
		}
	}
	s.waiting = append(s.waiting, then)
	return true
}

// askLocked notes when a kid was first seen, and returns the number of loads that had begun
// then. If there is no room, it forgets another kid, whose tokens can then be tried again once
// more.
func (s *Source) askLocked(kid string) uint64 {
	hash := sha256.Sum256([]byte(kid))
	if at, ok := s.asked[hash]; ok {
		return at
	}
	for other := range s.asked {
		if len(s.asked) < maxAsked {
			break
		}
		delete(s.asked, other)
	}
	s.asked[hash] = s.loads
	return s.loads
}

// Missing implements [auth.Source].
func (s *Source) Missing(kid string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.staleLocked(); err != nil {
		return err
	}
	if s.askLocked(kid) >= s.good {
		return errSoon
	}
	return nil
}

// Ready returns nil if keys were loaded since New, however long ago. Otherwise it returns a
// [pubsub.Error] with Unavailable.
func (s *Source) Ready() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.loaded.IsZero() {
		return errNever
	}
	return nil
}

// Stats returns numbers about s.
func (s *Source) Stats() auth.SourceStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	age := -time.Second
	if !s.loaded.IsZero() {
		age = time.Since(s.loaded)
	}
	return auth.SourceStats{Loads: s.loads, Failures: s.failures, Keys: s.keys, Age: age}
}
