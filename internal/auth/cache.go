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
	entries map[cacheKey]*entry
	used    int   // units of all entries, at most capacity
	ring    entry // next is the most recently used entry; prev is the next one to drop
}

// A cacheKey identifies a token and the set of keys that verified it. With other keys, the
// result is not found.
type cacheKey struct {
	digest     digest
	generation generation
}

type entry struct {
	key        cacheKey
	claims     *Claims
	prev, next *entry
}

func newCache(capacity int) *cache {
	c := &cache{capacity: capacity, entries: make(map[cacheKey]*entry)}
	c.ring.prev, c.ring.next = &c.ring, &c.ring
	return c
}

// get returns the claims of a token, or nil if they are not in the cache or have expired.
func (c *cache) get(k cacheKey, now time.Time) *Claims {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries[k]
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
func (c *cache) put(k cacheKey, claims *Claims) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.entries[k]; e != nil { // verified twice at the same time
		c.removeLocked(e)
	}
	e := &entry{key: k, claims: claims}
	if e.units() > c.capacity {
		return
	}
	for c.used+e.units() > c.capacity {
		c.removeLocked(c.ring.prev)
	}
	c.entries[k] = e
	c.used += e.units()
	e.linkBehind(&c.ring)
}

func (c *cache) removeLocked(e *entry) {
	e.unlink()
	c.used -= e.units()
	delete(c.entries, e.key)
}

func (e *entry) units() int { return 1 + e.claims.bytes()/unitBytes }

func (e *entry) unlink() {
	e.prev.next, e.next.prev = e.next, e.prev
}

func (e *entry) linkBehind(front *entry) {
	e.prev, e.next = front, front.next
	e.prev.next, e.next.prev = e, e
}
