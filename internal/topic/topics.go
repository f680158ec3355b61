// Package topic holds the topics of this process: the log of each and its listeners.
//
// A [Log] is the recent messages of one topic, an append-only linked list that ends
// with an empty [Entry]. The next message fills that entry and links a new empty one
// behind it; one atomic store makes both visible. A [Cursor] points to the entry that
// its reader takes next. Live delivery, replay and resume are the same operation: walk
// from a cursor to the tail. A slow reader holds one pointer, never a copy, and the
// garbage collector frees an entry once the log has dropped it and every cursor has
// passed it.
//
// A message arrives through [Topics.Append], which puts it into the log of its topic
// and wakes the topic's listeners. A [Listener] stands for all sessions of an event
// loop, so a message wakes each loop once, however many subscribers there are. The
// listener then reads the log through the cursors of its sessions.
//
// Invariants:
//   - The lock of a topic orders its messages. Offsets strictly increase from entry to
//     entry, and sequence numbers by one. An entry never changes once it is filled.
//   - A listener joins and gets its cursor in one step under that lock, so no message
//     falls between the two.
//   - A log drops only its oldest entry. Finding a place and counting never walk the
//     log (index.go).
//   - A topic without listeners and messages is dropped, and a tombstone keeps its head
//     for a while. So a client that comes back gets a true answer: no message after a
//     position that is called recovered is missing.
//   - All logs and the encoded frames of their messages stay within Config.TotalBytes:
//     the oldest messages of all topics are dropped first. Topics and tombstones together
//     stay within Config.MaxTopics: the oldest tombstones are dropped first, then topics
//     without listeners.
//
// Locks are taken in the order Topics.mu, Topic.mu, expiry.mu. Listeners are woken
// with none of them held. One goroutine may read a cursor without a lock.
//
// The package does not assign offsets (the broker does) and knows no client.
package topic

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ikornaselur/notiflux"
)

// Config configures [New]. The zero value sets no bounds.
type Config struct {
	Epoch         string // of the positions; the broker's
	PerTopic      Limits
	TotalBytes    uint64           // all logs and encoded frames together; 0: no bound
	MaxTopics     int              // topics and tombstones together; 0: no bound
	TombstoneTime time.Duration    // how long a tombstone lives after its last use; 0: 24 h
	Now           func() time.Time // nil: time.Now
}

const defaultTombstoneTime = 24 * time.Hour

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
	excess chan struct{} // has an element when Run should not wait for the next sweep

	mu         sync.RWMutex
	topics     map[notiflux.Topic]*Topic
	tombstones tombstones // guarded by mu
	discards   []*Log     // logs of dropped topics, with messages to free; guarded by mu

	expiry expiry
	bytes  atomic.Int64 // of all logs

	appended, evicted atomic.Uint64
}

// A Topic is one topic's log and listeners.
type Topic struct {
	// Immutable after creation.
	name notiflux.Topic
	log  *Log // guarded by mu, but for its lock-free methods

	subscribers atomic.Int64 // sessions, of all listeners

	mu        sync.Mutex
	listeners listeners
	queued    bool // whether expiry holds it
	dropped   bool // no longer in Topics: look it up again
}

// New returns a Topics that holds no topic.
func New(c Config) *Topics {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.TombstoneTime == 0 {
		c.TombstoneTime = defaultTombstoneTime
	}
	s := &Topics{config: c, excess: make(chan struct{}, 1), topics: make(map[notiflux.Topic]*Topic), tombstones: newTombstones()}
	s.logs = NewLogs(c.PerTopic, s.frameAdded)
	return s
}

// Append appends each of ps that has no error yet to the log of its topic, in their
// order. It sets the position of each, or an [notiflux.Error] with OverCapacity if the
// topic limit is reached. Then it wakes the listeners of these topics. It never waits for a reader.
//
// Append calls offset once for each message, under the lock of its topic. Each call must
// return a higher offset than any call before it, for any topic.
func (s *Topics) Append(ps []notiflux.Publication, offset func() uint64) {
	var few [4][]Listener // Up to four topics cost no allocation.
	woken := few[:0]
	var now time.Time
	for i := range ps {
		if p := &ps[i]; p.Err == nil {
			if listeners := s.append(p, offset, &now); len(listeners) > 0 {
				woken = append(woken, listeners)
			}
		}
	}
	for _, listeners := range woken {
		for _, l := range listeners {
			l.Wake()
		}
	}
	s.shrink()
}

// append appends one message and returns the listeners to wake. Only the first message
// of a batch reads the clock, into now: reading it costs more than the rest of append.
func (s *Topics) append(p *notiflux.Publication, offset func() uint64, now *time.Time) []Listener {
	t, err := s.locked(p.Topic)
	if err != nil {
		p.Err = err
		return nil
	}
	defer t.mu.Unlock()
	if now.IsZero() {
		*now = s.config.Now()
	}
	m := notiflux.Message{Topic: t.name, Position: s.Position(offset()), Time: *now, Body: p.Body, Exclude: p.Exclude}
	s.changeLocked(t, func() {
		t.log.Append(m)
		t.log.Expire(m.Time)
	})
	p.Position = m.Position // Only now: after a panic, a position still means that the log has the message.
	s.queueLocked(t)
	s.appended.Add(1)
	return t.listeners.give()
}

// queueLocked adds t to expiry if it holds messages and is not there yet.
func (s *Topics) queueLocked(t *Topic) {
	if oldest, ok := t.log.Oldest(); ok && !t.queued {
		t.queued = true
		s.expiry.push(t, oldest)
	}
}

// Join adds l to the listeners of a topic and resumes at point, in one step, so l is
// woken for every message that cannot be read at the returned cursor yet. A listener
// joins a topic at most once. Join fails with OverCapacity if the topic limit is reached.
func (s *Topics) Join(name notiflux.Topic, l Listener, point ResumePoint) (*Topic, Resumed, error) {
	t, err := s.locked(name)
	if err != nil {
		return nil, Resumed{}, err
	}
	defer t.mu.Unlock()
	t.listeners.add(l)
	return t, s.resumeLocked(t, point), nil
}

// Leave removes l, which joined t. A publisher that is under way may still wake l.
func (s *Topics) Leave(t *Topic, l Listener) {
	t.mu.Lock()
	t.listeners.remove(l)
	unused := t.unusedLocked()
	t.mu.Unlock()
	if unused {
		s.dropUnused(t)
	}
}

// Name returns the topic's name.
func (t *Topic) Name() notiflux.Topic { return t.name }

// Count adds n to the number of sessions that subscribe to the topic.
func (t *Topic) Count(n int64) { t.subscribers.Add(n) }

// Subscribers returns how many sessions subscribe to a topic. See [Topic.Count].
func (s *Topics) Subscribers(name notiflux.Topic) int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if t := s.topics[name]; t != nil {
		return int(t.subscribers.Load())
	}
	return 0
}

// Lag returns how many bytes a reader at c alone keeps in memory, see [Log.Lag].
func (t *Topic) Lag(c Cursor) uint64 { return t.log.Lag(c) }

// Newest returns the cursor at the newest message to read from c, see [Log.Newest].
func (t *Topic) Newest(c Cursor) Cursor { return t.log.Newest(c) }

// Run drops expired messages and tombstones, and messages beyond Config.TotalBytes that
// no call of Append drops. It returns nil when ctx ends, and starts no goroutine.
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
	Tombstones        int    // topics that were dropped and whose head is still known
	Bytes             int64  // of the messages in all logs, Overhead included
	FrameBytes        int64  // of the encoded frames of these messages
	Appended, Evicted uint64 // messages since New
}

// Stats returns the counters. Each is exact, but they are not a snapshot of one moment.
func (s *Topics) Stats() Stats {
	s.mu.RLock()
	topics, tombstones := len(s.topics), s.tombstones.len()
	s.mu.RUnlock()
	return Stats{
		Topics: topics, Tombstones: tombstones,
		Bytes: s.bytes.Load(), FrameBytes: s.logs.FrameBytes(),
		Appended: s.appended.Load(), Evicted: s.evicted.Load(),
	}
}

// locked returns the named topic with its lock held. It creates the topic if needed.
func (s *Topics) locked(name notiflux.Topic) (*Topic, error) {
	for {
		s.mu.RLock()
		t := s.topics[name]
		s.mu.RUnlock()
		if t == nil {
			var err error
			if t, err = s.create(name); err != nil {
				return nil, err
			}
		}
		t.mu.Lock()
		if !t.dropped {
			return t, nil
		}
		t.mu.Unlock()
	}
}

// create creates the named topic, unless it exists by now, and returns it.
func (s *Topics) create(name notiflux.Topic) (*Topic, error) {
	for {
		if t := s.insert(name); t != nil {
			return t, nil
		}
		if !s.evictOldest() {
			return nil, notiflux.Errorf(notiflux.OverCapacity, "topic limit of the server reached (%d): try again later", s.config.MaxTopics)
		}
	}
}

// insert is create if there is room for the topic, or a tombstone that can make room
// for it. Otherwise it returns nil. It finds the room and takes it under one lock.
func (s *Topics) insert(name notiflux.Topic) *Topic {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.topics[name]; t != nil {
		return t
	}
	if !s.tombstones.has(name) && !s.roomLocked() {
		return nil
	}
	t := &Topic{name: name, log: s.logs.New(s.tombstones.take(name))}
	s.topics[name] = t
	return t
}

// roomLocked reports whether there is room for another topic or tombstone. If needed,
// it drops the oldest tombstone to make room.
func (s *Topics) roomLocked() bool {
	return s.config.MaxTopics == 0 || len(s.topics)+s.tombstones.len() < s.config.MaxTopics || s.tombstones.dropOldest()
}

func (t *Topic) unusedLocked() bool { return len(t.listeners.all) == 0 && t.log.Len() == 0 }

// dropUnused drops t, unless it is in use again, and leaves a tombstone.
func (s *Topics) dropUnused(t *Topic) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.dropped && t.unusedLocked() {
		s.dropLocked(t)
	}
}

// dropLocked drops t and leaves a tombstone. It needs Topics.mu and t.mu.
func (s *Topics) dropLocked(t *Topic) {
	t.dropped = true
	delete(s.topics, t.name)
	if !IsPresenceTopic(t.name) {
		s.tombstones.put(t.name, t.log.Head(), s.config.Now())
	}
}

// changeLocked calls change, which changes the log of t, and updates the totals.
func (s *Topics) changeLocked(t *Topic, change func()) {
	bytes, dropped := int64(t.log.Bytes()), t.log.Dropped()
	change()
	s.bytes.Add(int64(t.log.Bytes()) - bytes)
	s.evicted.Add(t.log.Dropped() - dropped)
}
