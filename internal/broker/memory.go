package broker

import (
	"cmp"
	"context"
	"crypto/rand"
	mathrand "math/rand/v2"
	"sync"
	"sync/atomic"

	"github.com/ikornaselur/notiflux"
)

// Config is what a [Memory] needs; its zero value works.
type Config struct {
	MaxKeyBytes int64 // memory that the keys of the last KeyTime may take; 0: DefaultMaxKeyBytes
}

// Memory is the broker of a single process: the topic's lock orders, the log
// keeps, and nothing outlives the process: its hub has a [NewEpoch].
type Memory struct {
	// Immutable after NewMemory.
	hub  Hub
	next func() uint64
	keys *keys

	last atomic.Uint64 // offset given last, over all topics

	ordering sync.RWMutex // held for reading while messages are ordered
	closed   bool         // guarded by ordering
}

var _ Broker = (*Memory)(nil)

// epochLetters makes a collision of two epochs about as likely as guessing a
// 60-bit number.
const epochLetters = 12

// NewEpoch returns a random epoch, so that a restart is seen as a gap and never
// mistaken for continuity. A nil random is crypto/rand.
func NewEpoch(random *mathrand.Rand) string {
	if random == nil {
		return rand.Text()[:epochLetters]
	}
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
	var epoch [epochLetters]byte
	for i := range epoch {
		epoch[i] = letters[random.IntN(len(letters))]
	}
	return string(epoch[:])
}

// NewMemory returns a broker that appends to hub.
func NewMemory(hub Hub, c Config) *Memory {
	b := &Memory{hub: hub, keys: newKeys(cmp.Or(c.MaxKeyBytes, DefaultMaxKeyBytes))}
	b.next = func() uint64 { return b.last.Add(1) }
	return b
}

// Publish implements [Broker]. It waits for nothing but the first publishing of a
// key.
func (b *Memory) Publish(ctx context.Context, ps []notiflux.Publication) {
	b.order(ps).await(ctx, ps)
}

// order orders what is new among ps, and returns their keys.
func (b *Memory) order(ps []notiflux.Publication) claim {
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
	defer b.keys.settle(c, ps) // Also after a panic, or the keys would stay pending.
	b.hub.Append(ps, b.next)
	return c
}

// KeyBytes returns the memory that keys take now, in bytes.
func (b *Memory) KeyBytes() int64 {
	b.keys.mu.Lock()
	defer b.keys.mu.Unlock()
	return b.keys.bytes
}

// Close implements [Broker].
func (b *Memory) Close() error {
	b.ordering.Lock()
	defer b.ordering.Unlock()
	b.closed = true
	return nil
}
