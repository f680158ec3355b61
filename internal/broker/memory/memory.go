// Package memory is the broker of a single process. The lock of a topic orders its
// messages, and its log stores them. Nothing outlives the process.
//
// [Broker.Publish] claims the keys of the publications (keys.go). It appends the new
// messages to the logs, which take their offsets from one counter for all topics. Then it
// records the outcome of each key.
//
// Invariants: no offset is used twice. Of two calls that publish the same key at once, one
// orders the message and the other waits for the outcome.
package memory

import (
	"cmp"
	"context"
	"sync"
	"sync/atomic"

	"github.com/ikornaselur/notiflux"
	"github.com/ikornaselur/notiflux/internal/broker"
)

// Config configures [New]. The zero value works.
type Config struct {
	MaxKeyBytes int64 // memory for the keys of the last KeyTime; 0: DefaultMaxKeyBytes
}

// A Broker orders and keeps messages within this process. Safe for concurrent use.
type Broker struct {
	// Immutable after New.
	topics broker.Topics
	next   func() uint64
	keys   *keys

	last atomic.Uint64 // the last offset assigned, of any topic

	ordering sync.RWMutex // held for reading while messages are ordered
	closed   bool         // guarded by ordering
}

var _ broker.Broker = (*Broker)(nil)

// New returns a broker that appends to topics, whose epoch should be a [NewEpoch].
func New(topics broker.Topics, c Config) *Broker {
	b := &Broker{topics: topics, keys: newKeys(cmp.Or(c.MaxKeyBytes, DefaultMaxKeyBytes))}
	b.next = func() uint64 { return b.last.Add(1) }
	return b
}

// Publish implements [broker.Broker]. It waits only if another call is publishing a
// message with the same key.
func (b *Broker) Publish(ctx context.Context, ps []notiflux.Publication) {
	b.order(ps).await(ctx, ps)
}

// order orders the messages of ps that are new, and returns the claim to their keys.
func (b *Broker) order(ps []notiflux.Publication) claim {
	b.ordering.RLock()
	defer b.ordering.RUnlock()
	if b.closed {
		for i := range ps {
			if ps[i].Err == nil {
				ps[i].Err = notiflux.Errorf(notiflux.Draining, "this server is shutting down: publish again, another one will answer")
			}
		}
		return claim{}
	}
	c := b.keys.claim(ps)
	defer b.keys.settle(c, ps) // Deferred: after a panic the keys would stay pending.
	b.topics.Append(ps, b.next)
	return c
}

// KeyBytes returns the memory that keys take now, in bytes, against Config.MaxKeyBytes.
func (b *Broker) KeyBytes() int64 {
	b.keys.mu.Lock()
	defer b.keys.mu.Unlock()
	return b.keys.bytes
}

// Close implements [broker.Broker].
func (b *Broker) Close() error {
	b.ordering.Lock()
	defer b.ordering.Unlock()
	b.closed = true
	return nil
}
