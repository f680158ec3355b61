package auth

import (
	"sync"
	"time"

	"github.com/ikornaselur/notiflux"
)

const (
	// maxFailures bounds the memory for failures to about 1 MiB.
	maxFailures = 8192
	// failureAge is how long a failure is remembered. A clock that was wrong and was
	// put right refuses nobody for longer.
	failureAge = time.Minute
)

// failures remembers tokens that were refused after a check of their signature, so
// that the same token does not cost another one. The oldest is forgotten first, so a
// client that sends many different tokens takes no more memory.
type failures struct {
	mu sync.Mutex
	// Guarded by mu.
	byKey map[cacheKey]failure
	ring  []cacheKey // in the order in which they came; next is the oldest once it is full
	next  int
}

type failure struct {
	err   *notiflux.Error
	at    time.Time
	until time.Time // when the token may be accepted; zero: never
}

// get returns why a token was refused within the last minute; nil: it is not known, or
// the token may be accepted now.
func (f *failures) get(k cacheKey, now time.Time) *notiflux.Error {
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

// put remembers why a token was refused.
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
