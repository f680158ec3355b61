package auth

import (
	"sync"
	"time"

	"github.com/ikornaselur/notiflux/internal/pubsub"
)

const (
	// maxFailures bounds the memory for failures to about 1 MiB.
	maxFailures = 8192
	// failureAge is how long a refusal is kept. A refusal because of a wrong clock
	// lasts no longer once the clock is right.
	failureAge = time.Minute
)

// failures holds tokens that were refused after a check of their signature, so that the
// same token does not cost another check. When it is full, the oldest is dropped: many
// different tokens take no more memory.
type failures struct {
	mu sync.Mutex
	// Guarded by mu.
	byKey map[cacheKey]failure
	ring  []cacheKey // in order of arrival, beginning at next once it is full
	next  int
}

type failure struct {
	err   *pubsub.Error
	at    time.Time
	until time.Time // from when on the token may be accepted; zero: never
}

// get returns why a token was refused within the last minute. It returns nil if it was
// not, or if the token may be accepted now.
func (f *failures) get(k cacheKey, now time.Time) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	found, ok := f.byKey[k]
	if age := now.Sub(found.at); !ok || age < 0 || age > failureAge {
		return nil
	}
	if !found.until.IsZero() && !now.Before(found.until) {
		return nil
	}
	return found.err
}

// put records why a token was refused.
func (f *failures) put(k cacheKey, err *checkedError, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.byKey == nil {
		f.byKey = make(map[cacheKey]failure)
	}
	_, again := f.byKey[k]
	f.byKey[k] = failure{err.refusal, now, err.validAt}
	switch {
	case again: // it keeps its place in the ring
	case len(f.ring) < maxFailures:
		f.ring = append(f.ring, k)
	default:
		delete(f.byKey, f.ring[f.next])
		f.ring[f.next] = k
		f.next = (f.next + 1) % maxFailures
	}
}
