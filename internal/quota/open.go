package quota

import (
	"sync"
	"sync/atomic"

	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// An Open limits how many connections each IP address, or each user, has open at the same time. Its
// memory grows with the connections that are open, which other limits bound. It is safe for
// concurrent use. A nil Open has no limit.
type Open struct {
	limit   int // immutable
	refused atomic.Uint64

	mu   sync.Mutex
	open map[any]int // guarded by mu; by address or user; never 0
}

// NewOpen returns an Open, or nil if limit is 0.
func NewOpen(limit int) *Open {
	if limit == 0 {
		return nil
	}
	return &Open{limit: limit, open: make(map[any]int)}
}

// Begin counts a connection from an address, which has the form of [http.Request].RemoteAddr. If
// there are too many, Begin does not count it, and returns a [pubsub.Error] with TooMany.
func (o *Open) Begin(remote string) error {
	if o == nil {
		return nil
	}
	return o.begin(source(remote), "your IP address")
}

// End ends a connection for which Begin returned nil.
func (o *Open) End(remote string) {
	if o != nil {
		o.end(source(remote))
	}
}

// BeginUser is like Begin for a user.
func (o *Open) BeginUser(issuer, subject string) error {
	if o == nil {
		return nil
	}
	return o.begin(user{issuer, subject}, "this user (the token's `sub`)")
}

// EndUser is like End for a user.
func (o *Open) EndUser(issuer, subject string) {
	if o != nil {
		o.end(user{issuer, subject})
	}
}

// Refused returns how many connections the limit refused.
func (o *Open) Refused() uint64 { return o.refused.Load() }

func (o *Open) begin(holder any, whom string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.open[holder] >= o.limit {
		o.refused.Add(1)
		refusal := pubsub.Errorf(pubsub.TooMany, "%s has %d connections open, which is the limit: close one of them, and try again later", whom, o.limit)
		refusal.Quota = &pubsub.Quota{Policy: "open-connections", Limit: o.limit}
		return refusal
	}
	o.open[holder]++
	return nil
}

func (o *Open) end(holder any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.open[holder]--; o.open[holder] == 0 {
		delete(o.open, holder)
	}
}
