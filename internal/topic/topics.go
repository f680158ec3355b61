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
//   - A topic without listeners and messages is dropped, but its head is kept for a
//     while. So a client that comes back gets a true answer: after a position that is
//     called recovered, every message is there.
//   - All logs and the encoded frames of their messages stay within Config.TotalBytes
//     by dropping the oldest messages first. Topics and kept heads together stay within
//     Config.MaxTopics by forgetting the oldest first.
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
	TotalBytes    uint64           // all logs together, and what is kept of them in encoded form; 0: no bound
	MaxTopics     int              // topics with messages or listeners, and remembered ones; 0: no bound
	TombstoneTime time.Duration    // how long it is known how far a topic came that was let go of; 0: 24 h
	Now           func() time.Time // nil: time.Now
}

const defaultTombstoneTime = 24 * time.Hour

// sweepEvery is how often messages past their age are looked for.
const sweepEvery = time.Second

// A Listener is told that a topic which it joined has news. Wake is called by
// publishers, with no lock held; it must return at once. Listeners are compared.
type Listener interface{ Wake() }

// Topics holds all topics of this process. Safe for concurrent use.
type Topics struct {
	// Immutable after New.
	config Config
	logs   *Logs
	much   chan struct{} // has an element when Run is to drop something before the next sweep

	mu         sync.RWMutex
	topics     map[notiflux.Topic]*Topic
	tombstones tombstones // guarded by mu
	discards   []*Log     // of topics that were let go of with many messages; guarded by mu

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
	queued    bool // expiry has it
	forgotten bool // no longer in Topics: look it up again
}

// New returns a Topics that holds no topic.
func New(c Config) *Topics {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.TombstoneTime == 0 {
		c.TombstoneTime = defaultTombstoneTime
	}
	s := &Topics{config: c, much: make(chan struct{}, 1), topics: make(map[notiflux.Topic]*Topic), tombstones: newTombstones()}
	s.logs = NewLogs(c.PerTopic, s.frameKept)
	return s
}

// Append orders each of ps that has no error yet, in their order: offset, called
// under the topic's lock, gives its place, and must give a higher one at each call,
// over all topics. When it returns, each has its position and is in its log, or has
// an [notiflux.Error] with OverCapacity, as there is no room for another topic; and
// the listeners are woken, each at the end.
func (s *Topics) Append(ps []notiflux.Publication, offset func() uint64) {
	var room [4][]Listener // For a few, nothing is allocated.
	woken := room[:0]
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

// append orders one message and returns the listeners to wake. Only the first message
// of a batch reads the clock into now, because that costs more than the rest.
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
	p.Position = m.Position // Not before the log has it: a position says that it is kept, also after a panic.
	s.queueLocked(t)
	s.appended.Add(1)
	return t.listeners.give()
}

// queueLocked has expiry look after t, if it holds messages.
func (s *Topics) queueLocked(t *Topic) {
	if oldest, ok := t.log.Oldest(); ok && !t.queued {
		t.queued = true
		s.expiry.push(t, oldest)
	}
}

// Join makes l a listener of a topic and returns where point leads, in
// one step: l is woken for every message that is not there to read yet. One
// listener joins a topic once. It fails as Append does.
func (s *Topics) Join(name notiflux.Topic, l Listener, point ResumePoint) (*Topic, Resumed, error) {
	t, err := s.locked(name)
	if err != nil {
		return nil, Resumed{}, err
	}
	defer t.mu.Unlock()
	t.listeners.add(l)
	return t, s.resumeLocked(t, point), nil
}

// Leave ends what Join began. l may still be woken by a publisher that is under way.
func (s *Topics) Leave(t *Topic, l Listener) {
	t.mu.Lock()
	t.listeners.remove(l)
	unused := t.unusedLocked()
	t.mu.Unlock()
	if unused {
		s.forget(t)
	}
}

// Name returns the topic's name.
func (t *Topic) Name() notiflux.Topic { return t.name }

// Count adds n to the number of sessions that are subscribed to the topic.
func (t *Topic) Count(n int64) { t.subscribers.Add(n) }

// Subscribers returns how many sessions are subscribed to a topic.
func (s *Topics) Subscribers(name notiflux.Topic) int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if t := s.topics[name]; t != nil {
		return int(t.subscribers.Load())
	}
	return 0
}

// Lag returns what a reader at c alone keeps in memory, see [Log.Lag].
func (t *Topic) Lag(c Cursor) uint64 { return t.log.Lag(c) }

// Newest returns the newest message to read from c, see [Log.Newest].
func (t *Topic) Newest(c Cursor) Cursor { return t.log.Newest(c) }

// Run drops messages and memories past their age, and what no publisher's call drops,
// until ctx ends.
func (s *Topics) Run(ctx context.Context) error {
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			s.Sweep()
		case <-s.much:
			s.clear()
			s.shrink()
		}
	}
}

// Stats counts what Topics did and holds.
type Stats struct {
	Topics            int    // with messages or listeners
	Tombstones        int    // let go of, but how far they came is known
	Bytes             int64  // held by all logs, overhead included
	FrameBytes        int64  // of the same messages in encoded form, as far as that is kept
	Appended, Evicted uint64 // messages since the start
}

// Stats returns the counters; each is exact, together they are not one moment's.
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

// locked returns the topic of a name, made if need be, with its lock held.
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
		if !t.forgotten {
			return t, nil
		}
		t.mu.Unlock()
	}
}

// create returns the topic of a name, made unless it is there by now.
func (s *Topics) create(name notiflux.Topic) (*Topic, error) {
	for {
		if t := s.insert(name); t != nil {
			return t, nil
		}
		if !s.forgetOldest() {
			return nil, notiflux.Errorf(notiflux.OverCapacity, "topic limit of the server reached (%d): try again later", s.config.MaxTopics)
		}
	}
}

// insert is create if there is room for the topic, or a memory that can give way to
// it; else it returns nil. To look for room and to take it is one step.
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

// roomLocked reports whether there is room for another topic or memory. If need be,
// the oldest memory gives way.
func (s *Topics) roomLocked() bool {
	return s.config.MaxTopics == 0 || len(s.topics)+s.tombstones.len() < s.config.MaxTopics || s.tombstones.dropOldest()
}

func (t *Topic) unusedLocked() bool { return len(t.listeners.all) == 0 && t.log.Len() == 0 }

// forget lets go of t unless it is in use again, and remembers how far it came.
func (s *Topics) forget(t *Topic) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.forgotten && t.unusedLocked() {
		s.forgetLocked(t)
	}
}

// forgetLocked lets go of t. It needs the locks of both.
func (s *Topics) forgetLocked(t *Topic) {
	t.forgotten = true
	delete(s.topics, t.name)
	if !IsNotices(t.name) {
		s.tombstones.put(t.name, t.log.Head(), s.config.Now())
	}
}

// changeLocked calls change, which changes the log of t, and keeps the sums.
func (s *Topics) changeLocked(t *Topic, change func()) {
	bytes, dropped := int64(t.log.Bytes()), t.log.Dropped()
	change()
	s.bytes.Add(int64(t.log.Bytes()) - bytes)
	s.evicted.Add(t.log.Dropped() - dropped)
}
