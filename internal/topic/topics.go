// Package topic holds the topics of this process: the log of each topic and its listeners.
//
// A [Log] holds the recent messages of one topic, in a linked list that ends with an empty
// [Entry]. The next message fills that entry and links a new empty one. A [Cursor] points to the
// entry that its reader takes next. Live delivery, replay and resume are the same operation:
// walk from a cursor to the tail. A slow reader holds one pointer, never a copy.
//
// A broker appends messages in one of two ways. [Topics.Order] assigns offsets from the broker's
// counter. [Topics.Append] is for messages whose offsets are already fixed. Both wake the
// topic's listeners. A [Listener] represents all sessions of an event loop, so a message wakes
// each loop once. The loop then reads the log through the cursors of its sessions.
//
// A subscription begins in two steps. [Topics.Open] pins its resume point, the place where it
// begins to read. This gives the broker time to prepend messages that the log lacks. [Pin.Join]
// takes the cursor. Where messages are missing, or the broker begins a new numbering of messages
// (an epoch), the log has a marker ([Topics.Gap]), which every cursor meets. A resume point is
// covered if no message after it is missing from the log.
//
// Invariants:
//   - The lock of a topic orders its messages. Between two markers, offsets strictly
//     increase. A filled entry never changes.
//   - [Pin.Join] adds the listener and takes the cursor in one step, so no message is
//     missed in between.
//   - When a topic is dropped, its head (the offset of its last message) becomes a
//     tombstone in Config.Heads in the same step. If Heads is nil, the broker passes the
//     head to [Topics.Open] when the topic is used again. So a resume point never counts as
//     covered when a later message was dropped.
//   - All logs and the encoded frames of their messages stay within Config.TotalBytes.
//     Topics and tombstones together stay within Config.MaxTopics.
//
// Locks are taken in the order Topics.mu, Topic.mu, expiry.mu. None of them is held while listeners
// are woken or Config.Detach is called. A goroutine may read its cursor without a lock.
//
// The package knows nothing of clients, and has no counter for offsets: they come from the broker.
package topic

import (
	"cmp"
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ikornaselur/notiflux/internal/prefixes"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// Config configures [New]. The zero value sets no limits. Beyond TotalBytes, those messages of
// all topics are dropped first that would expire first: the oldest ones if all topics have the
// same age limit. Beyond MaxTopics, the oldest tombstones are
// dropped first, then topics without listeners and pins.
type Config struct {
	PerTopic   Limits
	Limits     func(pubsub.Topic) *Limits // returns the limits of a topic that differ from PerTopic, else nil; called when a topic becomes live, with a lock held; nil: none differ
	TotalBytes uint64                     // of all logs and the encoded frames that they keep; 0: no limit
	MaxTopics  int                        // topics in memory plus tombstones in Heads; 0: no limit
	Now        func() time.Time           // nil: time.Now

	MaxPatterns int // pattern topics; 0: 10,000

	// Heads is set by a broker that keeps its messages only in these logs. It stores the
	// heads of topics that are not in memory. A topic is then live as long as it has
	// messages, listeners or pins. If Heads is nil, a topic is live from Open to Close.
	// Detach is then called, with no lock held, when a topic loses its last listener or
	// pin.
	Heads  Heads
	Detach func(pubsub.Topic)

	// Counted, unless it is nil, is called after each change of the number of subscribers of a
	// topic; see [Topic.Count].
	Counted func(pubsub.Topic)
}

// Heads stores the heads of topics that are not in memory, as tombstones. Its methods are
// called one at a time with a lock held, so that dropping a topic and storing its head is
// one step. They must not block.
type Heads interface {
	// Take removes the tombstone of a topic and returns its head. For a topic without a
	// tombstone, it returns the highest head that the topic may have.
	Take(pubsub.Topic) pubsub.Position

	// Use returns the same as Take, but keeps and renews the tombstone, and reports whether
	// there is one.
	Use(pubsub.Topic) (head pubsub.Position, known bool)

	// Newest returns a position that is not before that of any message ordered so far. No
	// message is being ordered during the call.
	Newest() pubsub.Position

	Put(name pubsub.Topic, head pubsub.Position) // adds a tombstone for a topic that has none
	Has(pubsub.Topic) bool
	Len() int
	DropOldest() bool         // drops the least recently used tombstone; reports whether there was one
	Expire(n int) (more bool) // drops up to n tombstones that are too old; reports whether there may be more
}

// sweepEvery is the interval between two sweeps for expired messages.
const sweepEvery = time.Second

// A Listener is woken when a topic that it joined has something new to read.
// Publishers call Wake, with no lock held, so it must not block. Listeners must be
// comparable.
type Listener interface{ Wake() }

// Topics holds all topics of this process. Safe for concurrent use.
type Topics struct {
	// Immutable after New.
	config Config
	logs   *Logs
	excess chan struct{} // has an element when Run must not wait for the next sweep

	mu       sync.RWMutex // held for writing while config.Heads is called
	topics   map[pubsub.Topic]*Topic
	discards []*Log // logs of dropped topics, with messages to free; guarded by mu

	patterns patterns

	expiry expiry
	bytes  atomic.Int64 // size of all logs

	appended, evicted atomic.Uint64
}

// A Topic is one topic's log and listeners.
type Topic struct {
	// Immutable after creation.
	name pubsub.Topic
	log  *Log // guarded by mu, except for its lock-free methods

	counted     func(pubsub.Topic) // Config.Counted; immutable
	subscribers atomic.Int64       // sessions of all listeners

	patterns *prefixes.Found[*Topic] // pattern topics that match the name; nil: not known; guarded by mu

	item int // position in expiry, from 1; 0: not there; guarded by expiry.mu

	mu        sync.Mutex
	listeners listeners
	pins      int
	queued    bool   // in expiry, or popped a moment ago and about to be pushed again
	dropped   bool   // no longer in Topics: look it up again
	user      string // who made the pattern topic live
}

// New returns a Topics that holds no topic.
func New(c Config) *Topics {
	if c.Now == nil {
		c.Now = time.Now
	}
	c.MaxPatterns = cmp.Or(c.MaxPatterns, defaultMaxPatterns)
	s := &Topics{config: c, excess: make(chan struct{}, 1), topics: make(map[pubsub.Topic]*Topic)}
	s.logs = NewLogs(c.PerTopic, s.frameAdded)
	s.patterns.limits = Limits{Count: maxPatternMessages, Bytes: maxPatternBytes, Age: c.PerTopic.Age}
	return s
}

// Order orders each of ps that has no error yet, in slice order, and appends it to the log
// of its topic. It makes the topic live if necessary. It is for brokers with Config.Heads.
// Order sets the position of each publication, or an [pubsub.Error] with OverCapacity if
// the topic limit is reached. Then it wakes the listeners of these topics. It does not
// block.
//
// Order calls offset once for each message, under the lock of its topic. Each call must
// return a higher offset than every call before it, for any topic.
func (s *Topics) Order(ps []pubsub.Publication, offset func() uint64) {
	var few [4][]Listener // Up to four topics cost no allocation.
	woken := few[:0]
	woken = orderAll(s, ps, offset, woken)
	for _, listeners := range woken {
		wake(listeners)
	}
	s.shrink()
}

// orderAll orders each of ps that has no error yet, and appends the listeners to wake to woken.
func orderAll(s *Topics, ps []pubsub.Publication, offset func() uint64, woken [][]Listener) [][]Listener {
	s.patterns.ordering.RLock()
	defer s.patterns.ordering.RUnlock()
	var now time.Time
	for i := range ps {
		if p := &ps[i]; p.Err == nil {
			woken = s.order(p, offset, &now, woken)
		}
	}
	return woken
}

// order orders one message and appends the listeners to wake to woken. Only the first message
// of a batch reads the clock, into now: reading it costs more than the rest of order.
func (s *Topics) order(p *pubsub.Publication, offset func() uint64, now *time.Time, woken [][]Listener) [][]Listener {
	t, err := s.locked(p.Topic, pubsub.Position{})
	if err != nil {
		p.Err = err
		return woken
	}
	defer t.mu.Unlock()
	if now.IsZero() {
		*now = s.config.Now()
	}
	patterns := s.patterns.live.Of(string(t.name), &t.patterns)
	if len(patterns) > 0 {
		s.patterns.order.Lock()
		defer s.patterns.order.Unlock()
	}
	e := t.log.tail
	position := pubsub.Position{Epoch: t.log.tail.segment.epoch, Offset: offset()}
	s.changeLocked(t, func() {
		t.log.Append(pubsub.Message{Topic: t.name, Position: position, Time: *now, Body: p.Body, Exclude: p.Exclude})
		t.log.Expire(*now)
	})
	p.Position = position // Only now: after a panic, a position still means that the log has the message.
	s.queueLocked(t)
	if s.idleLocked(t) && !t.queued { // Limits.Off: the next sweep drops the topic.
		t.queued = true
		s.expiry.push(t, *now)
	}
	s.appended.Add(1)
	if listeners := t.listeners.give(); len(listeners) > 0 {
		woken = append(woken, listeners)
	}
	for _, t := range patterns {
		if listeners := t.copy(s, e, *now); len(listeners) > 0 {
			woken = append(woken, listeners)
		}
	}
	return woken
}

// queueLocked adds t to expiry if t holds entries and is not there yet.
func (s *Topics) queueLocked(t *Topic) {
	if t.queued {
		return
	}
	if expires, ok := t.log.Expires(); ok {
		t.queued = true
		s.expiry.push(t, expires)
	}
}

// Leave removes l, which joined t. A publisher that runs at the same time may still wake l.
func (s *Topics) Leave(t *Topic, l Listener) {
	t.mu.Lock()
	t.listeners.remove(l)
	idle := s.idleLocked(t)
	t.mu.Unlock()
	s.dropIfIdle(t, idle)
}

// idleLocked reports whether nothing keeps t in memory.
func (s *Topics) idleLocked(t *Topic) bool {
	return !t.inUseLocked() && (s.config.Heads == nil || isInternal(t.name) || t.log.empty())
}

func (t *Topic) inUseLocked() bool { return len(t.listeners.all) > 0 || t.pins > 0 }

// dropIfIdle drops t, or asks its broker to, if t was idle when it lost its last listener
// or pin.
func (s *Topics) dropIfIdle(t *Topic, idle bool) {
	switch {
	case !idle:
	case t.name.IsPattern():
		s.patterns.live.Unused(t.fixed(), t, s.config.Now())
	case s.config.Heads != nil:
		s.drop(t, func(t *Topic) bool { return !s.idleLocked(t) })
	case s.config.Detach != nil:
		s.config.Detach(t.name)
	}
}

// Name returns the topic's name.
func (t *Topic) Name() pubsub.Topic { return t.name }

// Count adds n to the number of sessions that subscribe to the topic.
func (t *Topic) Count(n int64) {
	t.subscribers.Add(n)
	if t.counted != nil {
		t.counted(t.name)
	}
}

// Subscribers returns the number of sessions that subscribe to a topic. See [Topic.Count].
func (s *Topics) Subscribers(name pubsub.Topic) int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if t := s.topics[name]; t != nil {
		return int(t.subscribers.Load())
	}
	return 0
}

// Lag returns how many bytes only a reader at c keeps in memory; see [Log.Lag].
func (t *Topic) Lag(c Cursor) uint64 { return t.log.Lag(c) }

// Newest returns the cursor at the newest message that can be read from c; see
// [Log.Newest].
func (t *Topic) Newest(c Cursor) Cursor { return t.log.Newest(c) }

// Run drops expired messages and tombstones. It also drops messages beyond
// Config.TotalBytes that no call of Append dropped. It returns nil when ctx ends, and
// starts no goroutine.
func (s *Topics) Run(ctx context.Context) error {
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			s.Sweep()
		case <-s.excess:
			s.freeDiscards()
			s.shrink()
		}
	}
}

// Stats are the counters of a Topics.
type Stats struct {
	Topics            int    // in memory, with messages or listeners
	Tombstones        int    // topics that were dropped and whose head is still stored
	Bytes             int64  // of the messages in all logs, Overhead included
	FrameBytes        int64  // of the encoded frames of these messages
	Appended, Evicted uint64 // messages since New
}

// Stats returns the counters. Each is exact, but together they are not one snapshot.
func (s *Topics) Stats() Stats {
	s.mu.RLock()
	topics, tombstones := len(s.topics), 0
	if s.config.Heads != nil {
		tombstones = s.config.Heads.Len()
	}
	s.mu.RUnlock()
	return Stats{
		Topics: topics, Tombstones: tombstones,
		Bytes: s.bytes.Load() + s.logs.copyBytes.Load(), FrameBytes: s.logs.FrameBytes(),
		Appended: s.appended.Load(), Evicted: s.evicted.Load(),
	}
}

// live returns the named topic with its lock held, or nil if it is not in memory.
func (s *Topics) live(name pubsub.Topic) *Topic {
	for {
		s.mu.RLock()
		t := s.topics[name]
		s.mu.RUnlock()
		if t == nil {
			return nil
		}
		t.mu.Lock()
		if !t.dropped {
			return t
		}
		t.mu.Unlock()
	}
}

// locked returns the named topic with its lock held. If the topic is not in memory, locked
// makes it live with an empty log after head, or after the head that Config.Heads stores.
func (s *Topics) locked(name pubsub.Topic, head pubsub.Position) (*Topic, error) {
	for {
		if t := s.live(name); t != nil {
			return t, nil
		}
		if s.insert(name, head) {
			continue
		}
		if !s.evictOldest() {
			return nil, pubsub.Errorf(pubsub.OverCapacity, "topic limit of the server reached (%d): try again later", s.config.MaxTopics)
		}
	}
}

// insert makes the named topic live, unless it already is. It returns false if there is no
// room for the topic and no tombstone to drop. It finds and takes the room under one lock.
func (s *Topics) insert(name pubsub.Topic, head pubsub.Position) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.topics[name] != nil {
		return true
	}
	heads := s.config.Heads
	if isInternal(name) {
		heads = nil
	}
	if (heads == nil || !heads.Has(name)) && !s.roomLocked() {
		return false
	}
	if heads != nil {
		head = heads.Take(name)
	}
	limits := &s.logs.limits
	if name.IsPattern() {
		limits = &s.patterns.limits
	} else if s.config.Limits != nil && !IsPresenceTopic(name) {
		limits = cmp.Or(s.config.Limits(name), limits)
	}
	s.topics[name] = &Topic{name: name, log: s.logs.NewLimited(head, limits), counted: s.config.Counted}
	return true
}

// roomLocked reports whether there is room for another topic or tombstone. If needed,
// it drops the oldest tombstone to make room.
func (s *Topics) roomLocked() bool {
	if s.config.MaxTopics == 0 {
		return true
	}
	heads := s.config.Heads
	if heads == nil {
		return len(s.topics) < s.config.MaxTopics
	}
	return len(s.topics)+heads.Len() < s.config.MaxTopics || heads.DropOldest()
}

// drop drops t with its messages, and leaves a tombstone. It returns false and does nothing
// if keep, which is called with the locks held, returns true, or if another call has
// already dropped t.
func (s *Topics) drop(t *Topic, keep func(*Topic) bool) bool {
	if !s.removeFromMap(t, keep) {
		return false
	}
	if t.log.Shed() { // From here on no other goroutine changes the log.
		s.mu.Lock()
		s.discards = append(s.discards, t.log)
		s.mu.Unlock()
		s.wakeRun()
	}
	return true
}

// removeFromMap does what drop does, but leaves the messages and their frames in the log.
func (s *Topics) removeFromMap(t *Topic, keep func(*Topic) bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.dropped || keep(t) {
		return false
	}
	t.dropped = true
	s.expiry.remove(t)
	delete(s.topics, t.name)
	s.bytes.Add(-t.log.charge())
	if t.name.IsPattern() {
		s.patterns.live.Remove(t.fixed())
		s.patterns.users.Remove(t.user, t.fixed())
		return true
	}
	if s.config.Heads != nil && !IsPresenceTopic(t.name) {
		s.config.Heads.Put(t.name, t.log.Head())
	}
	s.evicted.Add(uint64(t.log.Len()))
	return true
}

// changeLocked calls change, which changes the log of t, and updates the totals.
func (s *Topics) changeLocked(t *Topic, change func()) {
	bytes, dropped := t.log.charge(), t.log.Dropped()
	change()
	s.bytes.Add(t.log.charge() - bytes)
	if t.name.IsPattern() {
		return // Its messages count in their own topics.
	}
	s.evicted.Add(t.log.Dropped() - dropped)
}
