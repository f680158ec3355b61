// Package revoke knows which tokens the operator has revoked.
//
// A [List] holds entries. Each one revokes tokens by their jti, by their subject, or by the key
// that verified them, everywhere or only for some topics, until the entry expires. [List.Add]
// stores entries first, and then applies them: when it returns nil, they are stored as safely as
// the [Store] can, and every later [List.Check] knows them.
//
// Invariants:
//   - An entry is never evicted: a list that is full refuses new ones.
//   - Memory is bounded: 100,000 entries of a few short texts each.
//   - Check takes one atomic load while the list is empty.
//
// The package does not look at sessions: who adds an entry ends what lives by its tokens.
package revoke

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// MaxEntries is the number of entries that a list holds.
const MaxEntries = 100_000

// DefaultLife is how long an entry lasts if neither it nor the configuration says so.
const DefaultLife = 30 * 24 * time.Hour

// lastTime is the last second that RFC 3339 can express, and so JSON.
var lastTime = time.Date(9999, time.December, 31, 23, 59, 59, 0, time.UTC)

// A Store keeps entries for the next start of the server.
type Store interface {
	// Append stores entries. It returns nil only once they survive a crash of the machine. live
	// returns all entries that are then valid, with the new ones, in case the store needs to be
	// written again. It is not called concurrently.
	Append(ctx context.Context, entries []Entry, live func() []Entry) error
}

// A Config configures [New]. Its zero value keeps entries in memory only.
type Config struct {
	Store   Store            // nil: the entries last until the server stops, unless there is a shared store
	Shared  Shared           // of several servers, in place of Store; nil: there is none
	Entries []Entry          // that the store had; those that have expired are left out
	MaxLife time.Duration    // of tokens, from iat to exp; entries last as long. 0: no limit, so they last [DefaultLife]
	Now     func() time.Time // the wall clock, called concurrently; nil: time.Now
}

// A List is a set of entries. It is safe for concurrent use.
type List struct {
	// Immutable after New.
	store  Store
	shared Shared
	life   time.Duration
	now    func() time.Time

	adding sync.Mutex // held by Add while it stores
	purged time.Time  // when share last removed entries; guarded by adding

	count atomic.Int64 // of all
	mu    sync.RWMutex
	// Guarded by mu.
	all map[Entry]*Entry    // by identity
	by  map[lookup][]*Entry // the same, by their most specific field
}

// A lookup is the field of an entry by which it is found.
type lookup struct{ id, subject, key string }

func (e *Entry) lookup() lookup {
	switch {
	case e.ID != "":
		return lookup{id: e.ID}
	case e.Subject != "":
		return lookup{subject: e.Subject}
	}
	return lookup{key: e.Key}
}

// New returns a list with the entries of its store.
func New(c Config) *List {
	l := &List{store: c.Store, shared: c.Shared, life: DefaultLife, now: c.Now, all: make(map[Entry]*Entry), by: make(map[lookup][]*Entry)}
	if c.MaxLife > 0 {
		l.life = c.MaxLife + 2*auth.Leeway // the clocks may differ at iat and at exp
	}
	if l.now == nil {
		l.now = time.Now
	}
	l.insert(c.Entries)
	return l
}

// Check returns nil, or a [pubsub.Error] with TokenRevoked if an entry revokes the token with
// claims c for topic. With the empty topic, it looks only at entries for all topics. Clients
// without a token have nothing that could be revoked.
func (l *List) Check(c *auth.Claims, topic pubsub.Topic) error {
	if l.count.Load() == 0 || c.NeedUser() != nil {
		return nil
	}
	now := l.now()
	l.mu.RLock()
	defer l.mu.RUnlock()
	for _, key := range [...]lookup{{id: c.ID()}, {subject: c.Subject}, {key: c.KeyID()}} {
		for _, e := range l.by[key] {
			if now.Before(e.Expires) && e.MatchesToken(c) && e.matchesTopic(topic) {
				if e.Topic != "" || e.Pattern != "" {
					return errRevokedTopic
				}
				return errRevoked
			}
		}
	}
	return nil
}

var (
	errRevoked      = pubsub.Errorf(pubsub.TokenRevoked, "the token was revoked: ask for a new one")
	errRevokedTopic = pubsub.Errorf(pubsub.TokenRevoked, "the token was revoked for this topic: ask for a new one")
)

// Add stores entries, and revokes tokens with them. It returns the entries with their expiry.
// If an entry differs from one in the list only by its times, both become one. Add fails with
// Malformed if an entry is not valid, with OverCapacity if there is no room for all of them,
// with Unavailable if they cannot be stored, and with OutcomeUnknown if a shared store did not
// answer. Then none of them is in the list, but after a failure to store, some may be there after
// a restart, and after OutcomeUnknown at any time.
func (l *List) Add(ctx context.Context, entries ...Entry) ([]Entry, error) {
	l.adding.Lock()
	defer l.adding.Unlock()
	now := l.now()
	added := make([]Entry, len(entries))
	for i, e := range entries {
		if err := e.check(); err != nil {
			return nil, err
		}
		if e.Expires.IsZero() {
			e.Expires = now.Add(l.life)
			if e.Before.After(now) {
				e.Expires = e.Before.Add(l.life)
			}
			if e.Expires.After(lastTime) {
				e.Expires = lastTime
			}
		}
		if !e.Expires.After(now) {
			return nil, pubsub.Errorf(pubsub.Malformed, "the entry would have expired already, at %s: use a later time", e.Expires.UTC().Format(time.RFC3339))
		}
		e.Before, e.Expires = e.Before.Round(0).UTC(), e.Expires.Round(0).UTC()
		added[i] = e
	}
	if l.shared != nil {
		if err := l.share(ctx, added, now); err != nil {
			return nil, err
		}
		l.insert(added)
		return added, nil
	}
	if !l.hasRoom(added) {
		return nil, pubsub.Errorf(pubsub.OverCapacity, "the list of revocations is full (%d): wait until some expire, or revoke more tokens with one entry, for example all of a subject", MaxEntries)
	}
	if l.store != nil {
		live := func() []Entry { return New(Config{Entries: append(l.Entries(), added...), Now: l.now}).Entries() }
		if err := l.store.Append(ctx, added, live); err != nil {
			return nil, &pubsub.Error{Code: pubsub.Unavailable, Detail: "the revocation was not stored, and has no effect: the server's log says why; try again", Err: err}
		}
	}
	l.insert(added)
	return added, nil
}

// Stored reports whether entries survive a restart.
func (l *List) Stored() bool { return l.store != nil || l.shared != nil }

// Len returns the number of entries, with those that have expired and are not removed yet.
func (l *List) Len() int { return int(l.count.Load()) }

// Entries returns the entries that have not expired, those that expire first before the others.
func (l *List) Entries() []Entry {
	now := l.now()
	l.mu.RLock()
	all := make([]Entry, 0, len(l.all))
	for _, e := range l.all {
		if now.Before(e.Expires) {
			all = append(all, *e)
		}
	}
	l.mu.RUnlock()
	slices.SortFunc(all, func(a, b Entry) int { return cmp.Or(a.Expires.Compare(b.Expires), a.compare(&b)) })
	return all
}

// hasRoom reports whether the list has room for entries. It removes expired ones if necessary.
func (l *List) hasRoom(entries []Entry) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.all)+len(entries) <= MaxEntries {
		return true
	}
	l.purgeLocked()
	added := make(map[Entry]bool)
	for _, e := range entries {
		if l.all[e.identity()] == nil {
			added[e.identity()] = true
		}
	}
	return len(l.all)+len(added) <= MaxEntries
}

// purgeLocked removes the entries that have expired.
func (l *List) purgeLocked() {
	now := l.now()
	for key, entries := range l.by {
		entries = slices.DeleteFunc(entries, func(e *Entry) bool {
			if now.Before(e.Expires) {
				return false
			}
			delete(l.all, e.identity())
			return true
		})
		if l.by[key] = entries; len(entries) == 0 {
			delete(l.by, key)
		}
	}
	l.count.Store(int64(len(l.all)))
}

// removeLocked removes an entry of the list.
func (l *List) removeLocked(e *Entry) {
	delete(l.all, e.identity())
	key := e.lookup()
	l.by[key] = slices.DeleteFunc(l.by[key], func(other *Entry) bool { return other == e })
	if len(l.by[key]) == 0 {
		delete(l.by, key)
	}
	l.count.Store(int64(len(l.all)))
}

// insert adds entries that have not expired, without storing them. It returns how many changed
// the list.
func (l *List) insert(entries []Entry) (news int) {
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range entries {
		if !now.Before(e.Expires) {
			continue
		}
		if known := l.all[e.identity()]; known != nil {
			before := *known
			if !now.Before(known.Expires) {
				*known = e
			} else {
				known.widen(e)
			}
			if *known != before {
				news++
			}
			continue
		}
		news++
		added := &e
		l.all[e.identity()] = added
		l.by[e.lookup()] = append(l.by[e.lookup()], added)
	}
	l.count.Store(int64(len(l.all)))
	return news
}
