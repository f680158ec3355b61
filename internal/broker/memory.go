package broker

import (
	"context"
	"crypto/rand"
	"sync/atomic"

	"github.com/ikornaselur/notiflux"
)

// Memory is the broker of a single process: the topic's lock orders, the log
// keeps, and nothing outlives the process: its hub has a [NewEpoch].
type Memory struct {
	// Immutable after NewMemory.
	hub  Hub
	next func() uint64

	keys   keys
	last   atomic.Uint64 // offset given last, over all topics
	closed atomic.Bool
}

var _ Broker = (*Memory)(nil)

// epochLetters makes a collision of two epochs about as likely as guessing a
// 60-bit number.
const epochLetters = 12

// NewEpoch returns a random epoch, so that a restart is seen as a gap and never
// mistaken for continuity.
func NewEpoch() string { return rand.Text()[:epochLetters] }

// NewMemory returns a broker that appends to hub.
func NewMemory(hub Hub) *Memory {
	b := &Memory{hub: hub, keys: newKeys(maxKeys)}
	b.next = func() uint64 { return b.last.Add(1) }
	return b
}

// Publish implements [Broker]. It waits for nothing but the first publishing of a
// key.
func (b *Memory) Publish(ctx context.Context, ps []notiflux.Publication) {
	if b.closed.Load() {
		for i := range ps {
			if ps[i].Err == nil {
				ps[i].Err = notiflux.Errorf(notiflux.Draining, "this server is shutting down: publish again, another one will answer")
			}
		}
		return
	}
	b.keys.publish(ctx, ps, func() { b.hub.Append(ps, b.next) })
}

// Close implements [Broker].
func (b *Memory) Close() error {
	b.closed.Store(true)
	return nil
}
