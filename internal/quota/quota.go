// Package quota limits how many requests a second a server takes from one IP address, and how
// many messages from one subject.
//
// A [Limit] has a fixed number of counters. A hash of the address or the subject, with a key
// that is different in every process, says which counter is its own:
//
//	RemoteAddr → IPv4 address or first 64 bits of the IPv6 address → hash → counter
//	claim sub → hash → counter
//
// Two addresses may share a counter. That is rare while there are few addresses, and a
// client cannot find out with whom it shares one. In return, the memory is the same for one
// address and for millions of them, nothing is ever evicted, and nothing has to be cleaned.
//
// Invariants:
//   - From one address or subject, at most the rate passes at once, and on average at most the rate
//     passes in a second.
//   - From all of them together, at most [Counters] times the rate passes in a second.
//   - A request that is refused does not count.
package quota

import (
	"fmt"
	"hash/maphash"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/ikornaselur/notiflux/internal/forwarded"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// Counters is the number of counters of a [Limit]. They take 2 MiB.
const Counters = 1 << 18

// MaxRate is the maximum rate of a [Limit].
const MaxRate = 1_000_000

// window is the time in which the rate may pass.
const window = time.Second

// A Limit is a limit for each IP address, or for each subject. It is safe for concurrent use. A nil
// Limit lets all requests pass.
type Limit struct {
	// Immutable after New.
	name     string
	rate     int
	interval time.Duration // between two requests at the rate
	start    time.Time
	seed     maphash.Seed

	// Each counter is the time, in nanoseconds since start, at which everything that has
	// passed will be forgotten.
	counters []atomic.Int64
}

// New returns a Limit that lets rate requests a second pass, at most [MaxRate]. It returns
// nil if rate is 0. name says what is limited, in the plural. It is also the name of the policy in
// the header fields of refusals.
func New(name string, rate int) *Limit {
	if rate == 0 {
		return nil
	}
	return &Limit{
		name:     name,
		rate:     rate,
		interval: window / time.Duration(rate),
		start:    time.Now(),
		seed:     maphash.MakeSeed(),
		counters: make([]atomic.Int64, Counters),
	}
}

// Take reports whether a request may pass, and counts it if so. remote is an IP address with
// or without a port. Clients without an IP address count as one.
func (l *Limit) Take(remote string) bool {
	return l.take(maphash.Comparable(l.seed, source(remote)))
}

// TakeSubject counts a message of a subject, which is the claim sub of its token. If it may not
// pass, TakeSubject returns a [pubsub.Error] with TooMany. Tokens without the claim count as one
// subject.
func (l *Limit) TakeSubject(subject string) error {
	if l.take(maphash.String(l.seed, subject)) {
		return nil
	}
	return pubsub.Errorf(pubsub.TooMany, "more than %d %s a second came from this user (the token's `sub`): send fewer, and try again later", l.rate, l.name)
}

// take reports whether what has a hash may pass, and counts it if so.
func (l *Limit) take(hash uint64) bool {
	counter := &l.counters[hash%Counters]
	for {
		now, old := int64(time.Since(l.start)), counter.Load()
		next := max(now, old) + int64(l.interval)
		if next > now+int64(window) {
			return false
		}
		if counter.CompareAndSwap(old, next) {
			return true
		}
	}
}

// source returns the addresses that count as the one of a client: the address itself, or
// the /64 of an IPv6 address, because one subscriber of a network gets all of it.
func source(remote string) netip.Prefix {
	addr, ok := forwarded.Addr(remote)
	if !ok {
		return netip.Prefix{}
	}
	prefix, _ := addr.Prefix(min(addr.BitLen(), 64)) // fails only if the length is wrong
	return prefix
}

// Wrap returns a handler that calls next for each request that may pass, and returns a
// [pubsub.Error] with TooMany for others. It sets the fields RateLimit and RateLimit-Policy
// of a refusal as draft-ietf-httpapi-ratelimit-headers-11 has them.
func (l *Limit) Wrap(next func(http.ResponseWriter, *http.Request) error) func(http.ResponseWriter, *http.Request) error {
	if l == nil {
		return next
	}
	policy := fmt.Sprintf(`"%s";q=%d;w=1`, l.name, l.rate)
	spent := fmt.Sprintf(`"%s";r=0;t=1`, l.name)
	return func(w http.ResponseWriter, r *http.Request) error {
		if l.Take(r.RemoteAddr) {
			return next(w, r)
		}
		w.Header().Set("RateLimit-Policy", policy)
		w.Header().Set("RateLimit", spent)
		return pubsub.Errorf(pubsub.TooMany, "more than %d %s a second came from your IP address: send fewer, and try again later", l.rate, l.name)
	}
}
