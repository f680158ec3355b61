// Package memory is the broker of a single process. The lock of a topic orders its
// messages, and its log stores them. Nothing outlives the process.
//
// [Broker.Publish] claims the keys of the publications (keys.go), then appends what is
// new to the logs, which take each offset from one counter for all topics, and last
// records what became of each key. The heads of topics whose logs were dropped are kept
// as tombstones (tombstones.go).
//
// Everything is finished at once, but for a publication whose key another call is
// ordering at this moment: it gets the outcome of that call.
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
	Epoch         string        // of all positions; empty: a NewEpoch
	MaxKeyBytes   int64         // memory that the keys of the last KeyTime may take; 0: DefaultMaxKeyBytes
	TombstoneTime time.Duration // how long a tombstone lives after its last use; 0: 24 h
}

const defaultTombstoneTime = 24 * time.Hour

// A Broker orders and keeps messages within this process. Safe for concurrent use.
type Broker struct {
	// Immutable after New.
	topics     *topic.Topics
	orderer    orderer
	keys       *keys
	nextOffset func() uint64

	ordering sync.RWMutex   // held for reading while messages are ordered
	closed   bool           // guarded by ordering
	waits    sync.WaitGroup // calls of Publish that have not called done; none is added once closed
}

// An orderer appends messages to the logs of their topics: topic.Topics, but for tests.
type orderer interface {
	Order(ps []pubsub.Publication, offset func() uint64)
}

var _ broker.Broker = (*Broker)(nil)

// New returns a broker and the topics whose logs it keeps its messages in. t configures
// the topics; New sets its Heads.
func New(c Config, t topic.Config) (*Broker, *topic.Topics) {
	now := t.Now
	if now == nil {
		now = time.Now
	}
	t.Heads = &tombstones{
		epoch:  cmp.Or(c.Epoch, NewEpoch(nil)),
		now:    now,
		live:   cmp.Or(c.TombstoneTime, defaultTombstoneTime),
		byName: make(map[pubsub.Topic]*list.Element),
	}
	topics := topic.New(t)
	b := &Broker{topics: topics, orderer: topics, keys: newKeys(cmp.Or(c.MaxKeyBytes, DefaultMaxKeyBytes))}
	b.nextOffset = new(offsets).next // Once, because it allocates.
	return b, topics
}

// Publish implements [broker.Broker].
func (b *Broker) Publish(ps []pubsub.Publication, done func()) (finished bool) {
	var c claim
	defer func() { c.tell() }() // Also after a panic, and without the lock.
	return b.publish(ps, &c, done)
}

// publish does what Publish does. The caller must call c.tell afterwards.
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

// order orders what is new among ps, and sets c to their keys.
func (b *Broker) order(ps []pubsub.Publication, c *claim) {
	*c = b.keys.claim(ps)
	ordered := false
	defer func() { // Also after a panic, or the keys would stay pending.
		b.keys.settle(c, ps)
		if !ordered {
			b.keys.giveUp(c, ps)
		}
	}()
	b.orderer.Order(ps, b.nextOffset)
	ordered = true
}

var errClosed = pubsub.Errorf(pubsub.Draining, "this server is shutting down: publish again, another one will answer")

// Attach implements [broker.Broker]: the log has all that there is.
func (b *Broker) Attach(a *broker.Attachment) (finished bool) {
	pin, err := b.topics.Open(a.Topic, pubsub.Position{}, a.From)
	if err == nil {
		a.Hold(pin)
	}
	a.Finish(err)
	return true
}

// Detach implements [broker.Broker]: topics are dropped by themselves.
func (b *Broker) Detach(pubsub.Topic) {}

// History implements [broker.Broker]. It does not wait.
func (b *Broker) History(_ context.Context, name pubsub.Topic, since pubsub.Position, limit int) (topic.History, error) {
	return b.topics.History(name, since, limit), nil
}

// Run implements [broker.Broker]: there is nothing to do.
func (b *Broker) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// Health implements [broker.Broker].
func (b *Broker) Health() error { return nil }

// KeyBytes returns the memory that keys take now, in bytes.
func (b *Broker) KeyBytes() int64 {
	b.keys.mu.Lock()
	defer b.keys.mu.Unlock()
	return b.keys.bytes
}

// Close implements [broker.Broker]. If ctx ends first, a goroutine is left until what is
// being ordered has its answer.
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
