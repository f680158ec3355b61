package broker

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"sync"
	"time"

	"github.com/ikornaselur/notiflux"
)

const (
	// KeyTime is how long a key counts after its message was ordered: longer than a
	// publisher that got no answer keeps trying.
	KeyTime = 2 * time.Minute

	// DefaultMaxKeyBytes is the memory that keys may take unless somebody sets it.
	DefaultMaxKeyBytes = 128 << 20

	// shareOfFree bounds what one subject's keys may take: this many times what is
	// still free. So one subject alone gets three quarters of the memory, many get
	// equal parts of it, and there is always room for one that has none yet.
	shareOfFree = 3

	// keyBytes is the memory of one settled key: 40 bytes in a map that is between
	// 44 and 88 % full. subjectBytes is that of one more subject in a generation,
	// besides its text.
	keyBytes     = 96
	subjectBytes = 96

	// generations is in how many parts the keys of KeyTime are kept. A part is
	// dropped as a whole, so that its memory is given back and nothing is walked.
	generations = 4
)

// keys are what was published with a key within the last KeyTime. While its message
// is being ordered, a key is pending; then it is an entry of the newest generation.
// Safe for concurrent use.
type keys struct {
	// Immutable after newKeys.
	maxBytes int64
	start    time.Time
	secret   [16]byte // makes digests unpredictable to publishers

	mu sync.Mutex
	// Guarded by mu.
	pending map[keyID]*first
	settled []generation // oldest first
	held    map[string]int64
	bytes   int64       // sum of held
	epoch   string      // of all settled positions
	timer   *time.Timer // for the end of the oldest generation; nil: there is none
}

// A keyID stands for a topic and a key: the first half of their SHA-256.
type keyID [16]byte

// A generation is the keys whose messages were ordered in a part of KeyTime.
type generation struct {
	began   time.Time
	entries map[keyID]entry
	held    map[string]int64 // bytes by subject
}

// An entry is a key whose message was ordered. It has no pointers, so that the
// garbage collector skips it.
type entry struct {
	digest uint64 // of the message, so that another one is noticed
	offset uint64
	until  uint32 // when it stops to count, in seconds after the start, rounded up
}

// A first is the first publishing of a key. While it is under way its key counts,
// however long that takes.
type first struct {
	// Immutable.
	id      keyID
	digest  uint64
	subject string
	done    chan struct{} // closed when it is known what became of it

	// Immutable once done is closed.
	position notiflux.Position
	err      error
}

func newKeys(maxBytes int64) *keys {
	k := &keys{maxBytes: maxBytes, start: time.Now(), pending: make(map[keyID]*first), held: make(map[string]int64)}
	_, _ = rand.Read(k.secret[:]) // It never fails.
	return k
}

// errElsewhere marks a publication while another one decides about it.
var errElsewhere = errors.New("published by another request")

// errPanicked is the outcome of a message that was not ordered because of a panic.
var errPanicked = errors.New("broker: ordering the message panicked")

// A claim is the keys of the publications of one call; the zero claim has none.
type claim struct {
	firsts []*first // of each publication that has a key
	mine   []bool   // whether this call orders it
}

// claim claims the keys of ps. A publication whose key is known or cannot be
// claimed gets an error, so that it is not ordered; await replaces errElsewhere.
func (k *keys) claim(ps []notiflux.Publication) (c claim) {
	for i := range ps {
		p := &ps[i]
		if p.Key == "" || p.Err != nil {
			continue
		}
		if c.firsts == nil {
			c = claim{make([]*first, len(ps)), make([]bool, len(ps))}
		}
		c.firsts[i], c.mine[i], p.Err = k.find(p)
	}
	return c
}

// find returns the first publishing of p's key and whether p is it. If it is not, the
// error is errElsewhere, or says why p cannot be published.
func (k *keys) find(p *notiflux.Publication) (f *first, mine bool, err error) {
	id, digest := identify(p.Topic, p.Key), k.digest(&p.Body)
	now := time.Now()
	k.mu.Lock()
	defer k.mu.Unlock()
	k.dropLocked(now)
	if f := k.pending[id]; f != nil {
		if f.digest != digest {
			return nil, false, errKeyReused
		}
		return f, false, errElsewhere
	}
	if e, ok := k.settledLocked(id, now); ok {
		if e.digest != digest {
			return nil, false, errKeyReused
		}
		f := &first{done: make(chan struct{}), position: notiflux.Position{Epoch: k.epoch, Offset: e.offset}}
		close(f.done)
		return f, false, errElsewhere
	}
	if err := k.roomLocked(p.Subject); err != nil {
		return nil, false, err
	}
	k.chargeLocked(p.Subject, keyBytes)
	f = &first{id: id, digest: digest, subject: p.Subject, done: make(chan struct{})}
	k.pending[id] = f
	return f, true, nil
}

var errKeyReused = notiflux.Errorf(notiflux.KeyReused, "another message was published with this key: a key stands for one message")

// roomLocked returns nil if the keys of a subject may take more memory.
func (k *keys) roomLocked(subject string) error {
	free := k.maxBytes - k.bytes - keyBytes
	switch {
	case free < 0:
		return notiflux.Errorf(notiflux.OverCapacity, "the keys of the last %v take all of their %d bytes: publish again later, or without a key", KeyTime, k.maxBytes)
	case k.held[subject] > shareOfFree*free:
		return notiflux.Errorf(notiflux.OverCapacity, "the keys of this token's subject take %d bytes, its share: publish again later, or without a key", k.held[subject])
	}
	return nil
}

func (k *keys) chargeLocked(subject string, n int64) {
	k.bytes += n
	if k.held[subject] += n; k.held[subject] == 0 {
		delete(k.held, subject)
	}
}

// settledLocked returns the entry of a key whose message was ordered and that still counts.
func (k *keys) settledLocked(id keyID, now time.Time) (entry, bool) {
	for i := len(k.settled) - 1; i >= 0; i-- {
		if e, ok := k.settled[i].entries[id]; ok {
			return e, now.Before(k.start.Add(time.Duration(e.until) * time.Second))
		}
	}
	return entry{}, false
}

// settle records what became of the publications that this call ordered, and tells
// the calls that wait for it. A publication with neither position nor error was not
// ordered because of a panic. The key of a message that was not ordered is free again.
func (k *keys) settle(c claim, ps []notiflux.Publication) {
	for i, f := range c.firsts {
		if !c.mine[i] {
			continue
		}
		p := &ps[i]
		if p.Err == nil && p.Position.Offset == 0 {
			p.Err = errPanicked
		}
		f.position, f.err = p.Position, p.Err
		k.keep(f)
		close(f.done)
	}
}

// keep moves what succeeded to the newest generation, and forgets what failed.
func (k *keys) keep(f *first) {
	now := time.Now()
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.pending, f.id)
	if f.err != nil {
		k.chargeLocked(f.subject, -keyBytes)
		return
	}
	g := k.newestLocked(now)
	if _, ok := g.held[f.subject]; !ok {
		n := subjectBytes + int64(len(f.subject))
		g.held[f.subject] = n
		k.chargeLocked(f.subject, n)
	}
	g.held[f.subject] += keyBytes
	k.epoch = f.position.Epoch
	until := now.Add(KeyTime).Sub(k.start)
	g.entries[f.id] = entry{f.digest, f.position.Offset, uint32((until + time.Second - 1) / time.Second)}
}

// newestLocked returns the generation that keys which settle now belong to.
func (k *keys) newestLocked(now time.Time) *generation {
	if n := len(k.settled); n == 0 || now.Sub(k.settled[n-1].began) >= KeyTime/generations {
		k.settled = append(k.settled, generation{now, make(map[keyID]entry), make(map[string]int64)})
	}
	if k.timer == nil {
		k.timer = time.AfterFunc(k.settled[0].end().Sub(now), k.drop)
	}
	return &k.settled[len(k.settled)-1]
}

// end returns when no entry of g counts any more.
func (g *generation) end() time.Time { return g.began.Add(KeyTime/generations + KeyTime + time.Second) }

// drop drops generations in time, also when nobody publishes.
func (k *keys) drop() {
	now := time.Now()
	k.mu.Lock()
	defer k.mu.Unlock()
	k.dropLocked(now)
	k.timer = nil
	if len(k.settled) > 0 {
		k.timer = time.AfterFunc(k.settled[0].end().Sub(now), k.drop)
	}
}

func (k *keys) dropLocked(now time.Time) {
	for len(k.settled) > 0 && !now.Before(k.settled[0].end()) {
		for subject, n := range k.settled[0].held {
			k.chargeLocked(subject, -n)
		}
		k.settled[0] = generation{}
		k.settled = k.settled[1:]
	}
}

// await gives the publications that this call did not order what became of the first
// publishing of their key. It waits for one that is under way elsewhere.
func (c claim) await(ctx context.Context, ps []notiflux.Publication) {
	for i, f := range c.firsts {
		if f == nil || ps[i].Err != errElsewhere {
			continue
		}
		select {
		case <-f.done:
			ps[i].Position, ps[i].Err = f.position, f.err
		case <-ctx.Done():
			ps[i].Err = notiflux.Errorf(notiflux.OutcomeUnknown, "the same message is being published: publish it again with the same key")
		}
	}
}

func identify(topic notiflux.Topic, key string) keyID {
	h := sha256.New()
	h.Write([]byte(topic))
	h.Write([]byte{0}) // In no topic and no key.
	h.Write([]byte(key))
	return keyID(h.Sum(nil))
}

func (k *keys) digest(b *notiflux.Body) uint64 {
	kind := byte('s')
	if b.JSON {
		kind = 'j'
	}
	h := sha256.New()
	h.Write(k.secret[:])
	h.Write([]byte{kind})
	h.Write(b.Data)
	return binary.LittleEndian.Uint64(h.Sum(nil))
}
