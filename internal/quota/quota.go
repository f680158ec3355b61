// Package quota limits what a server takes from one IP address, and from one user: in a second, in
// a minute, or at the same time.
//
// A [Limit] has a fixed number of counters. A hash of the address or the user, with a key
// that is different in every process, says which counter is its own:
//
//	RemoteAddr → IPv4 address or first 64 bits of the IPv6 address → hash → counter
//	issuer and sub of a token → hash → counter
//
// Two addresses may share a counter. That is rare while there are few addresses, and a
// client cannot find out with whom it shares one. In return, the memory is the same for one
// address and for millions of them, nothing is ever evicted, and nothing has to be cleaned.
//
// An [Open] counts what is open at the same time, exactly and for each address or user that has
// something open, because a wrong refusal would last.
//
// Invariants:
//   - From one address or user, at most the rate passes at once, and on average at most the rate
//     passes in the time for which it is meant.
//   - From all of them together, at most [Counters] times the rate passes in that time.
//   - What is refused does not count.
package quota

import (
	"hash/maphash"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"github.com/ikornaselur/notiflux/internal/forwarded"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// Counters is the number of counters of a [Limit]. They take 2 MiB.
const Counters = 1 << 18

// MaxRate is the maximum rate of a [Limit].
const MaxRate = 1_000_000

// A Limit is a limit for each IP address, or for each user. It is safe for concurrent use. A nil
// Limit lets everything pass.
type Limit struct {
	// Immutable after New.
	name     string
	rate     int
	window   time.Duration
	interval time.Duration // at the rate
	start    time.Time
	seed     maphash.Seed

	refused atomic.Uint64

	// Each counter is the time, in nanoseconds since start, at which everything that has
	// passed will be forgotten.
	counters []atomic.Int64
}

// New returns a Limit that lets rate things pass in window, which is a second or a minute. rate is
// at most [MaxRate]. New returns nil if it is 0. name says what is limited, in the plural. It is
// also the name of the policy in the header fields of refusals, with hyphens for spaces.
func New(name string, rate int, window time.Duration) *Limit {
	if rate == 0 {
		return nil
	}
	return &Limit{
		name:     name,
		rate:     rate,
		window:   window,
		interval: window / time.Duration(rate),
		start:    time.Now(),
		seed:     maphash.MakeSeed(),
		counters: make([]atomic.Int64, Counters),
	}
}

// Take counts one thing from an address, which has the form of [http.Request].RemoteAddr, with or
// without a port. If it may not pass, Take does not count it, and returns a [pubsub.Error] with
// TooMany. Clients without an IP address count as one.
func (l *Limit) Take(remote string) error {
	if l == nil {
		return nil
	}
	return l.fromAddress(l.take(counter(l, source(remote))))
}

// TakeUser is like Take for a user: the issuer of its token, or "", and the claim sub. Tokens of
// an issuer without the claim count as those of one user.
func (l *Limit) TakeUser(issuer, subject string) error {
	if l == nil {
		return nil
	}
	return l.from("this user (the token's `sub`)", l.take(counter(l, user{issuer, subject})))
}

// Check is like Take, but uses up nothing of the limit.
func (l *Limit) Check(remote string) error {
	if l == nil {
		return nil
	}
	now := l.now()
	return l.fromAddress(l.wait(counter(l, source(remote)).Load(), now))
}

// Count is like Take, but counts even what may not pass. That does not put off the time when
// something may pass again.
func (l *Limit) Count(remote string) {
	if l == nil {
		return
	}
	mine := counter(l, source(remote))
	for {
		now, old := l.now(), mine.Load()
		next := min(max(now, old)+l.interval.Nanoseconds(), now+l.window.Nanoseconds())
		if mine.CompareAndSwap(old, max(old, next)) {
			return
		}
	}
}

// Refused returns how many things the limit refused.
func (l *Limit) Refused() uint64 { return l.refused.Load() }

func (l *Limit) now() int64 { return time.Since(l.start).Nanoseconds() }

// take counts one thing if it may pass. Otherwise it returns after what time it may.
func (l *Limit) take(mine *atomic.Int64) (after time.Duration) {
	for {
		now, old := l.now(), mine.Load()
		if after := l.wait(old, now); after > 0 {
			return after
		}
		if mine.CompareAndSwap(old, max(now, old)+l.interval.Nanoseconds()) {
			return 0
		}
	}
}

// wait returns after what time something may pass.
func (l *Limit) wait(mine, now int64) time.Duration {
	return time.Duration(max(0, max(now, mine)+l.interval.Nanoseconds()-now-l.window.Nanoseconds()))
}

// A user is who has a token.
type user struct{ issuer, subject string }

// counter returns the counter of an address or of a user.
func counter[T comparable](l *Limit, of T) *atomic.Int64 {
	return &l.counters[maphash.Comparable(l.seed, of)%Counters]
}

func (l *Limit) fromAddress(after time.Duration) error { return l.from("your IP address", after) }

// from returns the refusal of something that may pass after that time, or nil.
func (l *Limit) from(whom string, after time.Duration) error {
	if after == 0 {
		return nil
	}
	l.refused.Add(1)
	per := "a second"
	if l.window > time.Second {
		per = "a minute"
	}
	refusal := pubsub.Errorf(pubsub.TooMany, "more than %d %s %s came from %s: send fewer, and try again later", l.rate, l.name, per, whom)
	refusal.Quota = &pubsub.Quota{Policy: strings.ReplaceAll(l.name, " ", "-"), Limit: l.rate, Window: l.window, After: after}
	return refusal
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

// Wrap returns a handler that calls next for each request that may pass, and returns the error of
// Take for others.
func (l *Limit) Wrap(next func(http.ResponseWriter, *http.Request) error) func(http.ResponseWriter, *http.Request) error {
	if l == nil {
		return next
	}
	return func(w http.ResponseWriter, r *http.Request) error {
		if err := l.Take(r.RemoteAddr); err != nil {
			return err
		}
		return next(w, r)
	}
}
