// Package memory is the broker of a single process. Nothing that it stores outlives the
// process.
//
// [Broker.Publish] first claims the idempotency keys of the messages (keys.go). It then
// appends the new messages to the logs of their topics: the lock of a topic orders its
// messages, and one counter assigns the offsets of all topics (offsets.go). Finally it
// records the outcome of each key.
//
// The logs are the only store. Attach and History therefore read the logs and never wait.
// When a topic is dropped from memory, the offset of its last message is kept as a
// tombstone (tombstones.go).
//
// Every operation finishes before its call returns, with one exception. If another call is
// publishing a message with the same key at that moment, Publish returns false at once. It
// calls done later, with the outcome of the other call (wait.go).
//
// Invariants:
//   - Offsets strictly increase in the order of a topic's log, and are never reused.
//   - A key stands for one message for at least KeyTime.
//   - Every message to publish gets an outcome, even if ordering panics.
//   - All remembered keys together take at most Config.MaxKeyBytes of memory.
//
// The package does not limit messages or topics: package topic does. It does no I/O.
package memory

import (
	"cmp"
	"container/list"
	"context"
	"sync"
	"time"

	"github.com/ikornaselur/notiflux/internal/broker"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/topic"
)

// Config configures [New]. The zero value works.
type Config struct {
	Epoch         string        // of all positions; empty: a new one from NewEpoch
	MaxKeyBytes   int64         // memory limit for the keys of the last KeyTime; 0: DefaultMaxKeyBytes
	TombstoneTime time.Duration // how long a tombstone is kept after its last use; 0: 24 h
}

const defaultTombstoneTime = 24 * time.Hour

// A Broker orders and stores messages within this process. Safe for concurrent use.
type Broker struct {
	// Immutable after New.
	topics     *topic.Topics
	orderer    orderer
	keys       *keys
	nextOffset func() uint64

	ordering sync.RWMutex   // held for reading while messages are ordered
	closed   bool           // guarded by ordering
	waits    sync.WaitGroup // calls of Publish that will still call done; none is added once closed
}

// An orderer appends messages to the logs of their topics. It is a topic.Topics, except in
// tests.
type orderer interface {
	Order(ps []pubsub.Publication, offset func() uint64)
}

var _ broker.Broker = (*Broker)(nil)

// New returns a broker and the topics whose logs store its messages. t configures the
// topics; New sets its Heads.
func New(c Config, t topic.Config) (*Broker, *topic.Topics) {
	now := t.Now
	if now == nil {
		now = time.Now
	}
	given := new(offsets)
	t.Heads = &tombstones{
		offsets:  given,
		epoch:    cmp.Or(c.Epoch, NewEpoch(nil)),
		now:      now,
		lifetime: cmp.Or(c.TombstoneTime, defaultTombstoneTime),
		byName:   make(map[pubsub.Topic]*list.Element),
	}
	topics := topic.New(t)
	b := &Broker{topics: topics, orderer: topics, keys: newKeys(cmp.Or(c.MaxKeyBytes, DefaultMaxKeyBytes))}
	b.nextOffset = given.next // once, because it allocates
	return b, topics
}

// Publish implements [broker.Broker].
func (b *Broker) Publish(ps []pubsub.Publication, done func()) (finished bool) {
	var c claim
	defer func() { c.endWaits() }() // even after a panic, and without the lock
	return b.publish(ps, &c, done)
}

// publish does what Publish does. The caller must call c.endWaits afterwards.
func (b *Broker) publish(ps []pubsub.Publication, c *claim, done func()) (finished bool) {
	b.ordering.RLock()
	defer b.ordering.RUnlock()
	if b.closed {
		for i := range ps {
			if ps[i].Err == nil {
				ps[i].Err = errClosed
			}
		}
		return true
	}
	b.order(ps, c)
	if c.firsts == nil {
		return true
	}
	return b.keys.await(c, ps, done, &b.waits)
}

// order orders the new messages among ps, and sets c to their keys.
func (b *Broker) order(ps []pubsub.Publication, c *claim) {
	*c = b.keys.claim(ps)
	ordered := false
	defer func() { // even after a panic; otherwise the keys would stay pending
		b.keys.settle(c, ps)
		if !ordered {
			b.keys.giveUp(c, ps)
		}
	}()
	b.orderer.Order(ps, b.nextOffset)
	ordered = true
}

var errClosed = pubsub.Errorf(pubsub.Draining, "this server is shutting down: publish again to reach another one")

// Attach implements [broker.Broker]. The log already holds everything that the broker has.
func (b *Broker) Attach(a *broker.Attachment) (finished bool) {
	pin, err := b.topics.Open(a.Topic, pubsub.Position{}, a.From)
	if err == nil {
		a.Hold(pin)
	}
	a.Finish(err)
	return true
}

// Detach implements [broker.Broker]. It does nothing, because [topic.Topics] drops unused
// topics.
func (b *Broker) Detach(pubsub.Topic) {}

// History implements [broker.Broker]. It does not wait.
func (b *Broker) History(_ context.Context, name pubsub.Topic, since pubsub.Position, limit int) (topic.History, error) {
	return b.topics.History(name, since, limit), nil
}

// Run implements [broker.Broker]. There is no background work.
func (b *Broker) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// Health implements [broker.Broker].
func (b *Broker) Health() error { return nil }

// KeyBytes returns the memory in bytes that keys take now.
func (b *Broker) KeyBytes() int64 {
	b.keys.mu.Lock()
	defer b.keys.mu.Unlock()
	return b.keys.bytes
}

// Close implements [broker.Broker]. If ctx ends first, a goroutine remains until the
// publishes in flight have finished.
func (b *Broker) Close(ctx context.Context) error {
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		b.close()
		b.waits.Wait()
	}()
	select {
	case <-closed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (b *Broker) close() {
	b.ordering.Lock()
	defer b.ordering.Unlock()
	b.closed = true
}
