package topic

import (
	"container/heap"
	"math"
	"runtime"
	"sync"
	"time"
)

// expiry orders the topics that hold messages by the time at which their oldest message
// expires. It is lazy: the time of an item may be earlier than that of the topic's oldest
// message, but never later. So a publisher takes its lock only for the first message of a topic.
type expiry struct {
	mu    sync.Mutex
	items items // also guards Topic.item of each topic
}

type item struct {
	topic   *Topic
	expires time.Time
}

// push adds a topic that is not in x.
func (x *expiry) push(t *Topic, expires time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	heap.Push(&x.items, item{t, expires})
}

// move changes the time of a topic, if the topic is in x.
func (x *expiry) move(t *Topic, expires time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if t.item != 0 {
		x.items[t.item-1].expires = expires
		heap.Fix(&x.items, t.item-1)
	}
}

// remove removes a topic, if it is in x.
func (x *expiry) remove(t *Topic) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if t.item != 0 {
		heap.Remove(&x.items, t.item-1)
	}
}

// pop removes and returns the first item even if its time is in the future: a remote
// broker's clock may be ahead of ours.
func (x *expiry) pop() (item, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.popLocked()
}

// popUntil is like pop, but returns false if the time of the first item is after limit.
func (x *expiry) popUntil(limit time.Time) (item, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.items) > 0 && x.items[0].expires.After(limit) {
		return item{}, false
	}
	return x.popLocked()
}

func (x *expiry) popLocked() (item, bool) {
	if len(x.items) == 0 {
		return item{}, false
	}
	return heap.Pop(&x.items).(item), true
}

// Sweep drops every expired message, topics without messages and listeners, and expired
// tombstones. It releases its lock after every few hundred of them.
func (s *Topics) Sweep() {
	s.freeDiscards()
	s.shrink()
	now := s.config.Now()
	for expireTombstones(s) {
		runtime.Gosched()
	}
	dropPatterns(s, math.MaxInt)
	for {
		i, ok := s.expiry.popUntil(now)
		if !ok {
			return
		}
		var more bool
		s.dropMessages(i.topic, func(l *Log) { more = l.Expire(now) })
		if more { // The topic is at the front of expiry again.
			runtime.Gosched()
		}
	}
}

// expireAtOnce is the number of tombstones that expire under one lock.
const expireAtOnce = 256

// expireTombstones drops some tombstones that are too old. It reports whether there may be more.
func expireTombstones(s *Topics) (more bool) {
	if s.config.Heads == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.config.Heads.Expire(expireAtOnce)
}

// overTotal reports whether logs and frames together exceed Config.TotalBytes.
func (s *Topics) overTotal() bool {
	return s.config.TotalBytes > 0 && uint64(s.bytes.Load()+s.logs.copyBytes.Load()+s.logs.FrameBytes()) > s.config.TotalBytes
}

// frameAdded wakes Run if logs and frames exceed Config.TotalBytes. Readers call it when
// they keep a frame; dropping messages themselves would delay delivery.
func (s *Topics) frameAdded() {
	if s.overTotal() {
		s.wakeRun()
	}
}

func (s *Topics) wakeRun() {
	select {
	case s.excess <- struct{}{}:
	default:
	}
}

// shrink drops the messages of all topics that would expire first until logs and frames are within
// Config.TotalBytes.
func (s *Topics) shrink() {
	for s.overTotal() {
		i, ok := s.expiry.pop()
		if !ok {
			return
		}
		s.dropMessages(i.topic, func(l *Log) {
			// If the oldest message expires later than i.expires, messages of other topics
			// come first.
			if expires, ok := l.Expires(); ok && !expires.After(i.expires) {
				l.DropOldest()
			}
		})
	}
}

// roomTries is the number of topics that evictOldest looks at before a new topic is
// refused.
const roomTries = 16

// evictOldest makes room for another topic. Among the topics whose messages expire first, it
// drops one that is not in use, and leaves a tombstone. It reports whether it found one. It
// does nothing without Config.Heads, because only the broker closes the topics it has
// opened.
func (s *Topics) evictOldest() bool {
	if s.config.Heads == nil {
		return false
	}
	var used []*Topic // pushed into expiry again when the search is over
	defer func() {
		for _, t := range used {
			t.mu.Lock()
			t.queued = false
			if !t.dropped {
				s.queueLocked(t)
			}
			t.mu.Unlock()
		}
	}()
	for len(used) < roomTries {
		i, ok := s.expiry.pop()
		if !ok {
			return false
		}
		if s.drop(i.topic, (*Topic).inUseLocked) {
			return true
		}
		used = append(used, i.topic)
	}
	return false
}

// freeDiscards drops the messages that are left in the logs of dropped topics.
func (s *Topics) freeDiscards() {
	s.mu.Lock()
	logs := s.discards
	s.discards = nil
	s.mu.Unlock()
	for _, l := range logs {
		for l.Shed() {
			runtime.Gosched()
		}
	}
}

// dropMessages calls drop, which drops messages from the log of t. Then it pushes t into
// expiry again, or drops it if nothing is left of it. The caller has just popped t.
func (s *Topics) dropMessages(t *Topic, drop func(*Log)) {
	t.mu.Lock()
	if t.dropped {
		t.mu.Unlock()
		return
	}
	s.changeLocked(t, func() { drop(t.log) })
	t.queued = false
	s.queueLocked(t)
	idle := s.config.Heads != nil && !t.name.IsPattern() && s.idleLocked(t)
	t.mu.Unlock()
	s.dropIfIdle(t, idle)
}

// items is a heap for container/heap. What expires first comes first.
type items []item

func (s items) Len() int           { return len(s) }
func (s items) Less(i, j int) bool { return s[i].expires.Before(s[j].expires) }
func (s *items) Push(x any)        { *s = append(*s, x.(item)); s.place(len(*s) - 1) }

func (s items) Swap(i, j int) {
	s[i], s[j] = s[j], s[i]
	s.place(i)
	s.place(j)
}

func (s items) place(i int) { s[i].topic.item = i + 1 }

func (s *items) Pop() any {
	last := len(*s) - 1
	x := (*s)[last]
	x.topic.item = 0
	(*s)[last] = item{}
	*s = (*s)[:last]
	return x
}
