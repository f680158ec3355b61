package auth

import (
	"sync"
	"time"

	"github.com/ikornaselur/notiflux/internal/pubsub"
)

const (
	// maxFailures limits the memory for failures to about 1 MiB.
	maxFailures = 8192
	// failureAge is how long a refusal is kept. If it was due to a wrong clock, it lasts no
	// longer than that after the clock has been corrected.
	failureAge = time.Minute
)

// failures holds tokens that were refused after a signature check, so that the same token
// does not cost another one. When it is full, it drops the oldest, so many different tokens
// cannot take more memory.
type failures struct {
	mu sync.Mutex
	// Guarded by mu.
	byKey map[failureKey]failure
	ring  []failureKey // in order of arrival; once full, the oldest is at next
	next  int
}

// A failureKey identifies a token and the set of keys that did not verify it. Another set may.
type failureKey struct {
	token digest
	keys  generation
}

type failure struct {
	err   *pubsub.Error
	at    time.Time
	until time.Time // when the token may become valid; zero: never
}

// get returns the refusal of a token within the last minute. It returns nil if there is
// none, or if the token may be valid now.
func (f *failures) get(k failureKey, now time.Time) error {
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

// put records the refusal of a token.
func (f *failures) put(k failureKey, err *checkedError, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.byKey == nil {
		f.byKey = make(map[failureKey]failure)
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
