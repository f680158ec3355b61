package memory

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/ikornaselur/notiflux/internal/broker"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

const (
	// KeyTime is how long a key is kept after its message was ordered. A publisher that
	// gets no answer stops retrying earlier.
	KeyTime = 2 * time.Minute

	// DefaultMaxKeyBytes is the memory limit for keys if Config.MaxKeyBytes is 0.
	DefaultMaxKeyBytes = 128 << 20

	// shareOfFree limits the keys of one subject: they may take this many times the memory
	// that is still free. A single subject gets three quarters of the memory. Several
	// subjects get equal parts and leave some free, so that a subject without keys is
	// refused only once the memory is full.
	shareOfFree = 3

	// keyBytes is the memory of one key: 40 bytes in a map that is 44 to 88 % full.
	// subjectBytes is the memory of a subject in a generation, without its text.
	keyBytes     = 96
	subjectBytes = 96

	// generations is the number of parts that KeyTime is divided into. The keys of a part
	// are dropped together, which frees their memory without walking a map.
	generations = 4
)

// keys holds the keys of the last KeyTime and the outcome of each. A key belongs to the
// generation that was the newest when the key was claimed. A key is pending while its
// message is being ordered; after that it has an entry. All maps belong to generations,
// because a map keeps its memory when its elements are deleted. Safe for concurrent use.
type keys struct {
	// Immutable after newKeys.
	maxBytes int64
	start    time.Time
	secret   [16]byte // makes digests unpredictable to publishers

	mu sync.Mutex
	// Guarded by mu.
	generations []*generation // oldest first
	bytes       int64         // total of all generations
	epoch       string        // of the positions of all entries
	timer       *time.Timer   // fires at the end of the oldest generation; nil without generations
}

// A keyID identifies a topic and a key: the first half of their SHA-256.
type keyID [16]byte

// A generation holds the keys that were claimed during one part of KeyTime.
type generation struct {
	began time.Time // when its first key was claimed
	ends  time.Time // when its last entry expires; the generation is then dropped unless a key is pending

	pending map[keyID]*first
	entries map[keyID]entry
	held    map[string]int64 // bytes by subject
	bytes   int64            // sum of held
}

// An entry is the outcome of a key whose message was ordered. It contains no pointers, so
// the garbage collector skips it.
type entry struct {
	digest uint64 // of the message, to detect a different message with the same key
	offset uint64
	until  uint32 // when it expires, in seconds after keys.start, rounded up
}

// A first is the first publication of a key. The key is kept while that publication is in
// flight, however long it takes.
type first struct {
	// Immutable.
	id         keyID
	digest     uint64
	subject    string
	generation *generation // nil: the message was ordered earlier

	// Guarded by keys.mu.
	settled  bool // the outcome is known
	position pubsub.Position
	err      error
	waits    []*wait // of calls that publish the same message meanwhile
}

func newKeys(maxBytes int64) *keys {
	k := &keys{maxBytes: maxBytes, start: time.Now()}
	_, _ = rand.Read(k.secret[:]) // Read never fails.
	return k
}

// errElsewhere marks a publication whose outcome another call decides.
var errElsewhere = errors.New("published by another request")

// errPanicked is the outcome of a message that was not ordered because of a panic.
var errPanicked = errors.New("broker: ordering the message panicked")

// A claim holds the keys of the publications of one call. The zero claim has none.
type claim struct {
	firsts []*first // for each publication: the first of its key; nil if it has no key
	mine   []bool   // for each publication: whether this call orders it
	over   []*wait  // waits of other calls that this call ended; see endWaits
}

// claim claims the keys of ps. It sets an error on each publication whose key is already
// known or cannot be claimed, so that it is not ordered. [keys.await] later replaces
// errElsewhere.
func (k *keys) claim(ps []pubsub.Publication) (c claim) {
	for i := range ps {
		p := &ps[i]
		if p.Key == "" || p.Err != nil {
			continue
		}
		if c.firsts == nil {
			c = claim{firsts: make([]*first, len(ps)), mine: make([]bool, len(ps))}
		}
		c.firsts[i], c.mine[i], p.Err = k.find(p)
	}
	return c
}

// find returns the first publication of p's key and whether that is p. If it is not p, the
// error is errElsewhere or says why p cannot be published.
func (k *keys) find(p *pubsub.Publication) (f *first, mine bool, err error) {
	id, digest := identify(p.Topic, p.Key), k.digest(&p.Body)
	now := time.Now()
	k.mu.Lock()
	defer k.mu.Unlock()
	k.dropLocked(now)
	if f := k.pendingLocked(id); f != nil {
		if f.digest != digest {
			return nil, false, broker.ErrKeyReused
		}
		return f, false, errElsewhere
	}
	if e, ok := k.settledLocked(id, now); ok {
		if e.digest != digest {
			return nil, false, broker.ErrKeyReused
		}
		f := &first{settled: true, position: pubsub.Position{Epoch: k.epoch, Offset: e.offset}}
		return f, false, errElsewhere
	}
	g := k.newestLocked(now)
	if err := k.chargeLocked(g, p.Subject); err != nil {
		return nil, false, err
	}
	f = &first{id: id, digest: digest, subject: p.Subject, generation: g}
	g.pending[id] = f
	return f, true, nil
}

// chargeLocked charges a key to a subject in g. It fails if that would exceed a limit.
func (k *keys) chargeLocked(g *generation, subject string) error {
	n := int64(keyBytes)
	if _, ok := g.held[subject]; !ok {
		n += firstKeyBytes(subject)
	}
	var held int64
	for _, g := range k.generations {
		held += g.held[subject]
	}
	free := k.maxBytes - k.bytes - n
	switch {
	case free < 0:
		return pubsub.Errorf(pubsub.OverCapacity, "the idempotency keys of the last %v take up all %d bytes that are reserved for them: publish later, or without a key", KeyTime, k.maxBytes)
	case held/shareOfFree > free:
		return pubsub.Errorf(pubsub.OverCapacity, "the idempotency keys of this user (the token's `sub`) take up %d bytes, and one user may not use more at the moment: publish later, or without a key", held)
	}
	k.addLocked(g, subject, n)
	return nil
}

// firstKeyBytes is the additional size of a subject's first key in a generation.
func firstKeyBytes(subject string) int64 { return subjectBytes + int64(len(subject)) }

// releaseLocked undoes one chargeLocked.
func (k *keys) releaseLocked(g *generation, subject string) {
	k.addLocked(g, subject, -keyBytes)
	if rest := g.held[subject]; rest == firstKeyBytes(subject) {
		k.addLocked(g, subject, -rest)
		delete(g.held, subject)
	}
}

func (k *keys) addLocked(g *generation, subject string, n int64) {
	g.held[subject] += n
	g.bytes += n
	k.bytes += n
}

// pendingLocked returns the first publication of a key if that is in flight, or nil.
func (k *keys) pendingLocked(id keyID) *first {
	for _, g := range k.generations {
		if f := g.pending[id]; f != nil {
			return f
		}
	}
	return nil
}

// settledLocked returns the entry of a key. It returns false if the key has no entry or the
// entry has expired.
func (k *keys) settledLocked(id keyID, now time.Time) (entry, bool) {
	for i := len(k.generations) - 1; i >= 0; i-- {
		if e, ok := k.generations[i].entries[id]; ok {
			return e, now.Before(k.start.Add(time.Duration(e.until) * time.Second))
		}
	}
	return entry{}, false
}

// settle records the outcome of the publications that this call ordered. A publication with
// neither a position nor an error was not ordered because of a panic. The key of a message
// that was not ordered becomes free again.
func (k *keys) settle(c *claim, ps []pubsub.Publication) {
	for i, f := range c.firsts {
		if !c.mine[i] {
			continue
		}
		p := &ps[i]
		if p.Err == nil && p.Position.Offset == 0 {
			p.Err = errPanicked
		}
		c.over = append(c.over, k.keep(f, p.Position, p.Err)...)
	}
}

// keep makes an entry for a message that was ordered, and forgets the key of one that was
// not. It returns the waits that this ended.
func (k *keys) keep(f *first, position pubsub.Position, err error) (over []*wait) {
	now := time.Now()
	k.mu.Lock()
	defer k.mu.Unlock()
	f.settled, f.position, f.err = true, position, err
	for _, w := range f.waits {
		if w.unsettled--; w.unsettled == 0 && w.endLocked() {
			over = append(over, w)
		}
	}
	f.waits = nil
	g := f.generation
	delete(g.pending, f.id)
	if err != nil {
		k.releaseLocked(g, f.subject)
		return over
	}
	k.epoch = position.Epoch
	until := (now.Add(KeyTime).Sub(k.start) + time.Second - 1) / time.Second
	g.entries[f.id] = entry{f.digest, position.Offset, uint32(until)}
	if end := k.start.Add(until * time.Second); end.After(g.ends) { // The key was pending for long.
		g.ends = end
	}
	return over
}

// newestLocked returns the generation for keys that are claimed now. It starts a new one if
// necessary.
func (k *keys) newestLocked(now time.Time) *generation {
	if n := len(k.generations); n > 0 && now.Sub(k.generations[n-1].began) < KeyTime/generations {
		return k.generations[n-1]
	}
	g := &generation{
		began:   now,
		ends:    now.Add(KeyTime/generations + KeyTime + time.Second),
		pending: make(map[keyID]*first),
		entries: make(map[keyID]entry),
		held:    make(map[string]int64),
	}
	k.generations = append(k.generations, g)
	if k.timer == nil {
		k.timer = time.AfterFunc(g.ends.Sub(now), k.drop)
	}
	return g
}

// drop drops generations that have ended, and sets the timer for the next one. The timer
// frees memory even when no one publishes.
func (k *keys) drop() {
	now := time.Now()
	k.mu.Lock()
	defer k.mu.Unlock()
	k.dropLocked(now)
	k.timer = nil
	if len(k.generations) > 0 {
		// A pending key may keep a generation beyond its end: check again later.
		next := k.generations[0].ends.Sub(now)
		if next <= 0 {
			next = KeyTime / generations
		}
		k.timer = time.AfterFunc(next, k.drop)
	}
}

// dropLocked drops the generations that have ended, without walking a map.
func (k *keys) dropLocked(now time.Time) {
	k.generations = slices.DeleteFunc(k.generations, func(g *generation) bool {
		over := len(g.pending) == 0 && !now.Before(g.ends)
		if over {
			k.bytes -= g.bytes
		}
		return over
	})
}

func identify(topic pubsub.Topic, key string) keyID {
	h := sha256.New()
	h.Write([]byte(topic))
	h.Write([]byte{0}) // A byte that occurs in no topic and in no key.
	h.Write([]byte(key))
	return keyID(h.Sum(nil))
}

func (k *keys) digest(b *pubsub.Body) uint64 {
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
