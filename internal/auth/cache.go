package auth

import (
	"sync"
	"time"
)

// unitBytes is how many bytes of claims make a token count as one more token toward the
// capacity of the cache.
const unitBytes = 512

// A cache holds the claims of verified tokens. When it is full, it drops the least recently
// used ones.
type cache struct {
	// Immutable after newCache.
	capacity int // in units

	mu sync.Mutex
	// Guarded by mu.
	entries map[digest]*entry
	used    int   // units of all entries, at most capacity
	ring    entry // next is the most recently used entry; prev is the next one to drop
}

type entry struct {
	token      digest
	claims     *Claims
	prev, next *entry
}

func newCache(capacity int) *cache {
	c := &cache{capacity: capacity, entries: make(map[digest]*entry)}
	c.ring.prev, c.ring.next = &c.ring, &c.ring
	return c
}

// get returns the claims of a token, or nil if they are not in the cache or have expired.
func (c *cache) get(token digest, now time.Time) *Claims {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries[token]
	if e == nil {
		return nil
	}
	if !e.claims.acceptedAt(now) {
		c.removeLocked(e)
		return nil
	}
	e.unlink()
	e.linkBehind(&c.ring)
	return e.claims
}

// put adds the claims of a verified token, and drops others until there is room.
func (c *cache) put(token digest, claims *Claims) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.entries[token]; e != nil { // verified twice at the same time
		c.removeLocked(e)
	}
	e := &entry{token: token, claims: claims}
	if e.units() > c.capacity {
		return
	}
	for c.used+e.units() > c.capacity {
		c.removeLocked(c.ring.prev)
	}
	c.entries[token] = e
	c.used += e.units()
	e.linkBehind(&c.ring)
}

func (c *cache) removeLocked(e *entry) {
	e.unlink()
	c.used -= e.units()
	delete(c.entries, e.token)
}

func (e *entry) units() int { return 1 + e.claims.bytes()/unitBytes }

func (e *entry) unlink() {
	e.prev.next, e.next.prev = e.next, e.prev
}

func (e *entry) linkBehind(front *entry) {
	e.prev, e.next = front, front.next
	e.prev.next, e.next.prev = e, e
}
