// Package hub knows the topics of the process: each one's log and its listeners.
//
// A broker has messages appended ([Hub.Append]); the hub puts them into the
// log of their topic and wakes that topic's listeners, which then read the log
// by their cursors. A listener stands for all sessions of an event loop, so
// that a message wakes each loop once, whatever the number of subscribers.
//
// Invariants: the lock of a topic orders its messages; a listener joins and
// gets its cursor in one step under that lock, so that no message falls between.
// A topic without listeners and messages is let go of, but its last offset is
// remembered for a while. So a client that comes back to it gets a true answer: after a
// position that is called recovered, every message is there. All logs together,
// with the frames that are kept of their messages, keep within Config.TotalBytes by
// dropping the oldest messages first, and topics and memories within Config.MaxTopics
// by forgetting the oldest first.
//
// Locks: Hub.mu, then Topic.mu, then Hub.expiry.mu; listeners are woken under
// none of them.
package hub

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ikornaselur/notiflux"
	"github.com/ikornaselur/notiflux/internal/topiclog"
)

// Config is what a Hub needs; the zero value has no bounds.
type Config struct {
	Epoch      string // of the positions; the broker's
	PerTopic   topiclog.Limits
	TotalBytes uint64           // all logs together, and what is kept of them in encoded form; 0: no bound
	MaxTopics  int              // topics with messages or listeners, and remembered ones; 0: no bound
	Remember   time.Duration    // how long it is known how far a topic came that was let go of; 0: 24 h
	Now        func() time.Time // nil: time.Now
}

const defaultRemember = 24 * time.Hour

// sweepEvery is how often messages past their age are looked for.
const sweepEvery = time.Second

// A Listener is told that a topic which it joined has news. Wake is called by
// publishers, with no lock held; it must return at once. Listeners are compared.
type Listener interface{ Wake() }

// A Hub holds topics. Safe for concurrent use.
type Hub struct {
	// Immutable after New.
	config Config
	logs   *topiclog.Logs
	much   chan struct{} // has an element when Run is to drop something before the next sweep

	mu       sync.RWMutex
	topics   map[notiflux.Topic]*Topic
	past     memories        // guarded by mu
	discards []*topiclog.Log // of topics that were let go of with many messages; guarded by mu

	expiry expiry
	bytes  atomic.Int64 // of all logs

	appended, evicted atomic.Uint64
}

// A Topic is one topic's log and listeners.
type Topic struct {
	// Immutable after creation.
	name notiflux.Topic
	log  *topiclog.Log // guarded by mu, but for its lock-free methods

	subscribers atomic.Int64 // sessions, of all listeners

	mu        sync.Mutex
	listeners listeners
	queued    bool // expiry has it
	forgotten bool // the hub has let go of it: look it up again
}

// New returns a Hub without topics.
func New(c Config) *Hub {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Remember == 0 {
		c.Remember = defaultRemember
	}
	h := &Hub{config: c, much: make(chan struct{}, 1), topics: make(map[notiflux.Topic]*Topic), past: newMemories()}
	h.logs = topiclog.NewLogs(c.PerTopic, h.frameKept)
	return h
}

// Append orders each of ps that has no error yet, in their order: offset, called
// under the topic's lock, gives its place, and must give a higher one at each call,
// over all topics. When it returns, each has its position and is in its log, or has
// an [notiflux.Error] with OverCapacity, as there is no room for another topic; and
// the listeners are woken, each at the end.
func (h *Hub) Append(ps []notiflux.Publication, offset func() uint64) {
	var room [4][]Listener // For a few, nothing is allocated.
	woken := room[:0]
	var now time.Time
	for i := range ps {
		if p := &ps[i]; p.Err == nil {
			if listeners := h.append(p, offset, &now); len(listeners) > 0 {
				woken = append(woken, listeners)
			}
		}
	}
	for _, listeners := range woken {
		for _, l := range listeners {
			l.Wake()
		}
	}
	h.shrink()
}

// append orders one message and returns the listeners to wake. Only the first message
// of a batch reads the clock into now, because that costs more than the rest.
func (h *Hub) append(p *notiflux.Publication, offset func() uint64, now *time.Time) []Listener {
	t, err := h.locked(p.Topic)
	if err != nil {
		p.Err = err
		return nil
	}
	defer t.mu.Unlock()
	if now.IsZero() {
		*now = h.config.Now()
	}
	m := notiflux.Message{Topic: t.name, Position: h.Position(offset()), Time: *now, Body: p.Body, Exclude: p.Exclude}
	h.changeLocked(t, func() {
		t.log.Append(m)
		t.log.Expire(m.Time)
	})
	p.Position = m.Position // Not before the log has it: a position says that it is kept, also after a panic.
	h.queueLocked(t)
	h.appended.Add(1)
	return t.listeners.give()
}

// queueLocked has expiry look after t, if it holds messages.
func (h *Hub) queueLocked(t *Topic) {
	if oldest, ok := t.log.Oldest(); ok && !t.queued {
		t.queued = true
		h.expiry.push(t, oldest)
	}
}

// Join makes l a listener of a topic and returns the place where start leads, in
// one step: l is woken for every message that is not there to read yet. One
// listener joins a topic once. It fails as Append does.
func (h *Hub) Join(name notiflux.Topic, l Listener, start Start) (*Topic, Place, error) {
	t, err := h.locked(name)
	if err != nil {
		return nil, Place{}, err
	}
	defer t.mu.Unlock()
	t.listeners.add(l)
	return t, h.placeLocked(t, start), nil
}

// Leave ends what Join began. l may still be woken by a publisher that is under way.
func (h *Hub) Leave(t *Topic, l Listener) {
	t.mu.Lock()
	t.listeners.remove(l)
	unused := t.unusedLocked()
	t.mu.Unlock()
	if unused {
		h.forget(t)
	}
}

// Name returns the topic's name.
func (t *Topic) Name() notiflux.Topic { return t.name }

// Count adds n to the number of sessions that are subscribed to the topic.
func (t *Topic) Count(n int64) { t.subscribers.Add(n) }

// Subscribers returns how many sessions are subscribed to a topic.
func (h *Hub) Subscribers(name notiflux.Topic) int {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if t := h.topics[name]; t != nil {
		return int(t.subscribers.Load())
	}
	return 0
}

// Lag returns what a reader at c alone keeps in memory, see [topiclog.Log.Lag].
func (t *Topic) Lag(c topiclog.Cursor) uint64 { return t.log.Lag(c) }

// Newest returns the newest message to read from c, see [topiclog.Log.Newest].
func (t *Topic) Newest(c topiclog.Cursor) topiclog.Cursor { return t.log.Newest(c) }

// Run drops messages and memories past their age, and what no publisher's call drops,
// until ctx ends.
func (h *Hub) Run(ctx context.Context) error {
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			h.Sweep()
		case <-h.much:
			h.clear()
			h.shrink()
		}
	}
}

// Stats is what a hub did and holds.
type Stats struct {
	Topics            int    // with messages or listeners
	Remembered        int    // let go of, but how far they came is known
	Bytes             int64  // held by all logs, overhead included
	FrameBytes        int64  // of the same messages in encoded form, as far as that is kept
	Appended, Evicted uint64 // messages since the start
}

// Stats returns the counters; each is exact, together they are not one moment's.
func (h *Hub) Stats() Stats {
	h.mu.RLock()
	topics, remembered := len(h.topics), h.past.len()
	h.mu.RUnlock()
	return Stats{
		Topics: topics, Remembered: remembered,
		Bytes: h.bytes.Load(), FrameBytes: h.logs.FrameBytes(),
		Appended: h.appended.Load(), Evicted: h.evicted.Load(),
	}
}

// locked returns the topic of a name, made if need be, with its lock held.
func (h *Hub) locked(name notiflux.Topic) (*Topic, error) {
	for {
		h.mu.RLock()
		t := h.topics[name]
		h.mu.RUnlock()
		if t == nil {
			var err error
			if t, err = h.create(name); err != nil {
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
func (h *Hub) create(name notiflux.Topic) (*Topic, error) {
	for {
		if t := h.insert(name); t != nil {
			return t, nil
		}
		if !h.forgetOldest() {
			return nil, notiflux.Errorf(notiflux.OverCapacity, "topic limit of the server reached (%d): try again later", h.config.MaxTopics)
		}
	}
}

// insert is create if there is room for the topic, or a memory that can give way to
// it; else it returns nil. To look for room and to take it is one step.
func (h *Hub) insert(name notiflux.Topic) *Topic {
	h.mu.Lock()
	defer h.mu.Unlock()
	if t := h.topics[name]; t != nil {
		return t
	}
	if !h.past.has(name) && !h.roomLocked() {
		return nil
	}
	t := &Topic{name: name, log: h.logs.New(h.past.take(name))}
	h.topics[name] = t
	return t
}

// roomLocked reports whether there is room for another topic or memory. If need be,
// the oldest memory gives way.
func (h *Hub) roomLocked() bool {
	return h.config.MaxTopics == 0 || len(h.topics)+h.past.len() < h.config.MaxTopics || h.past.dropOldest()
}

func (t *Topic) unusedLocked() bool { return len(t.listeners.all) == 0 && t.log.Len() == 0 }

// forget lets go of t unless it is in use again, and remembers how far it came.
func (h *Hub) forget(t *Topic) {
	h.mu.Lock()
	defer h.mu.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.forgotten && t.unusedLocked() {
		h.forgetLocked(t)
	}
}

// forgetLocked lets go of t. It needs the locks of both.
func (h *Hub) forgetLocked(t *Topic) {
	t.forgotten = true
	delete(h.topics, t.name)
	if !IsNotices(t.name) {
		h.past.put(t.name, t.log.Head(), h.config.Now())
	}
}

// changeLocked calls change, which changes the log of t, and keeps the sums.
func (h *Hub) changeLocked(t *Topic, change func()) {
	bytes, dropped := int64(t.log.Bytes()), t.log.Dropped()
	change()
	h.bytes.Add(int64(t.log.Bytes()) - bytes)
	h.evicted.Add(t.log.Dropped() - dropped)
}
