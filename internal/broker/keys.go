package broker

import (
	"container/list"
	"context"
	"crypto/sha256"
	"errors"
	"sync"
	"time"

	"github.com/ikornaselur/notiflux"
)

const (
	// KeyTime is how long a key counts from its first publishing on: longer than a
	// publisher that got no answer keeps trying.
	KeyTime = 2 * time.Minute
	// maxKeys bounds the keys that count. More are refused, as one that is
	// forgotten early would let a message through twice.
	maxKeys = 1_000_000
)

// keys are what was published with a key within the last KeyTime. Safe for concurrent
// use.
type keys struct {
	most int // that are held; immutable

	mu sync.Mutex
	// Guarded by mu.
	known map[keyed]*first
	order list.List   // of the same, by time
	timer *time.Timer // for the first of them; nil: there is none
}

func newKeys(most int) keys { return keys{most: most, known: make(map[keyed]*first)} }

// keyed names a message.
type keyed struct {
	topic notiflux.Topic
	key   string
}

// A first is the first publishing of a key.
type first struct {
	// Immutable.
	keyed  keyed
	digest [sha256.Size]byte // of the message, so that another one is noticed
	until  time.Time
	done   chan struct{} // closed when it is known what became of it

	element *list.Element // of order; guarded by keys.mu

	// Immutable once done is closed.
	position notiflux.Position
	err      error
}

// errElsewhere marks a publication while another one decides about it.
var errElsewhere = errors.New("published by another request")

// publish has what is new among ps ordered by order, which leaves alone what has an
// error, and gives everything else the answer of its first publishing.
func (k *keys) publish(ctx context.Context, ps []notiflux.Publication, order func()) {
	firsts, mine := k.claim(ps)
	order()
	for i, f := range firsts {
		if mine[i] {
			k.settle(f, &ps[i])
		}
	}
	for i, f := range firsts {
		if ps[i].Err == errElsewhere {
			await(ctx, f, &ps[i])
		}
	}
}

// claim returns the first publishing of each of ps that has a key, and whether it is
// this one; nil if no key is among them.
func (k *keys) claim(ps []notiflux.Publication) (firsts []*first, mine []bool) {
	for i := range ps {
		p := &ps[i]
		if p.Key == "" || p.Err != nil {
			continue
		}
		if firsts == nil {
			firsts, mine = make([]*first, len(ps)), make([]bool, len(ps))
		}
		firsts[i], mine[i], p.Err = k.find(p)
	}
	return firsts, mine
}

// find returns the first publishing of p and whether p is it. If not, the error is
// errElsewhere, or says why p cannot be.
func (k *keys) find(p *notiflux.Publication) (f *first, mine bool, err error) {
	digest := digest(&p.Body)
	now := time.Now()
	k.mu.Lock()
	defer k.mu.Unlock()
	k.expireLocked(now)
	name := keyed{p.Topic, p.Key}
	switch f := k.known[name]; {
	case f != nil && f.digest != digest:
		return nil, false, notiflux.Errorf(notiflux.KeyReused, "another message was published with this key: a key stands for one message")
	case f != nil:
		return f, false, errElsewhere
	case len(k.known) >= k.most:
		return nil, false, notiflux.Errorf(notiflux.OverCapacity, "the server holds %d keys, its most: try again later, or without a key", k.most)
	}
	f = &first{keyed: name, digest: digest, until: now.Add(KeyTime), done: make(chan struct{})}
	k.known[name] = f
	f.element = k.order.PushBack(f)
	if k.timer == nil {
		k.timer = time.AfterFunc(KeyTime, k.expire)
	}
	return f, true, nil
}

// expire forgets keys whose time is over, also when nobody publishes.
func (k *keys) expire() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.expireLocked(time.Now())
	if e := k.order.Front(); e != nil {
		k.timer.Reset(time.Until(e.Value.(*first).until))
		return
	}
	k.timer = nil
	k.known = make(map[keyed]*first) // A map keeps the room that it once needed.
}

func (k *keys) expireLocked(now time.Time) {
	for e := k.order.Front(); e != nil && !now.Before(e.Value.(*first).until); e = k.order.Front() {
		delete(k.known, k.order.Remove(e).(*first).keyed)
	}
}

// settle says what became of f. What failed does not count: the next one may succeed.
func (k *keys) settle(f *first, p *notiflux.Publication) {
	f.position, f.err = p.Position, p.Err
	if f.err != nil {
		k.forget(f)
	}
	close(f.done)
}

func (k *keys) forget(f *first) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.known[f.keyed] == f { // Else its time was over.
		delete(k.known, f.keyed)
		k.order.Remove(f.element)
	}
}

// await gives p the answer of its first publishing.
func await(ctx context.Context, f *first, p *notiflux.Publication) {
	select {
	case <-f.done:
		p.Position, p.Err = f.position, f.err
	case <-ctx.Done():
		p.Err = notiflux.Errorf(notiflux.OutcomeUnknown, "the same message is being published: publish it again with the same key")
	}
}

func digest(b *notiflux.Body) [sha256.Size]byte {
	kind := "s"
	if b.JSON {
		kind = "j"
	}
	h := sha256.New()
	h.Write([]byte(kind))
	h.Write(b.Data)
	return [sha256.Size]byte(h.Sum(nil))
}
