package topic

import (
	"container/heap"
	"runtime"
	"sync"
	"time"
)

// expiry orders the topics that hold messages by the time of their oldest message. It is
// lazy: the time of an item may be earlier than that of the topic's oldest message, never
// later. So only the first message of a topic makes a publisher take its lock.
type expiry struct {
	mu    sync.Mutex
	items items
}

type item struct {
	topic  *Topic
	oldest time.Time
}

func (x *expiry) push(t *Topic, oldest time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	heap.Push(&x.items, item{t, oldest})
}

// pop removes and returns the first item if its time is not after notAfter.
func (x *expiry) pop(notAfter time.Time) (item, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.items) == 0 || x.items[0].oldest.After(notAfter) {
		return item{}, false
	}
	return heap.Pop(&x.items).(item), true
}

// Sweep drops every message that has expired by now, topics without messages and
// listeners, and expired tombstones. It holds a lock for a few hundred of them at a time.
func (s *Topics) Sweep() {
	s.freeDiscards()
	s.shrink()
	now := s.config.Now()
	for s.expireTombstones(now.Add(-s.config.TombstoneTime)) {
		runtime.Gosched()
	}
	for s.config.PerTopic.Age > 0 {
		i, ok := s.expiry.pop(now.Add(-s.config.PerTopic.Age))
		if !ok {
			return
		}
		var more bool
		s.dropMessages(i.topic, func(l *Log) { more = l.Expire(now) })
		if more { // expiry holds the topic again, at the front.
			runtime.Gosched()
		}
	}
}

// expireAtOnce is how many tombstones expire under one lock.
const expireAtOnce = 256

// expireTombstones drops some tombstones that were last used before the given time, the
// oldest first. It reports whether there may be more.
func (s *Topics) expireTombstones(before time.Time) (more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tombstones.expire(before, expireAtOnce)
}

// overTotal reports whether logs and frames together exceed Config.TotalBytes.
func (s *Topics) overTotal() bool {
	return s.config.TotalBytes > 0 && uint64(s.bytes.Load()+s.logs.FrameBytes()) > s.config.TotalBytes
}

// frameAdded wakes Run if logs and frames exceed Config.TotalBytes. Readers call it after
// they kept a frame; they have no time to drop messages themselves.
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

// shrink drops the oldest messages of all topics until logs and frames are within
// Config.TotalBytes.
func (s *Topics) shrink() {
	for s.overTotal() {
		i, ok := s.expiry.pop(s.config.Now())
		if !ok {
			return
		}
		s.dropMessages(i.topic, func(l *Log) {
			// If the oldest message is newer than i.oldest, other topics come first.
			if oldest, ok := l.Oldest(); ok && !oldest.After(i.oldest) {
				l.DropOldest()
			}
		})
	}
}

// roomTries is how many topics evictOldest looks at before a new topic is refused.
const roomTries = 16

// evictOldest makes room for another topic. Among the topics with the oldest messages it
// drops one that has no listeners, and leaves a tombstone. It reports whether it found one.
func (s *Topics) evictOldest() bool {
	var listened []item // Back into expiry when the search is over.
	defer func() {
		for _, i := range listened {
			s.expiry.push(i.topic, i.oldest)
		}
	}()
	for len(listened) < roomTries {
		i, ok := s.expiry.pop(s.config.Now())
		if !ok {
			return false
		}
		if s.evict(i.topic) {
			return true
		}
		listened = append(listened, i)
	}
	return false
}

// evict drops t and its messages, unless t has listeners. The caller has just popped t.
func (s *Topics) evict(t *Topic) bool {
	if !s.remove(t) {
		return false
	}
	if t.log.Shed() { // No lock: nobody else changes the log of a dropped topic.
		s.mu.Lock()
		s.discards = append(s.discards, t.log)
		s.mu.Unlock()
		s.wakeRun()
	}
	return true
}

// remove drops t, unless t has listeners. The log keeps its messages and their frames.
func (s *Topics) remove(t *Topic) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.listeners.all) > 0 {
		return false
	}
	s.bytes.Add(-int64(t.log.Bytes()))
	s.evicted.Add(uint64(t.log.Len()))
	s.dropLocked(t)
	return true
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
// expiry again, or drops t if nothing is left of it. The caller has just popped t.
func (s *Topics) dropMessages(t *Topic, drop func(*Log)) {
	t.mu.Lock()
	s.changeLocked(t, func() { drop(t.log) })
	oldest, ok := t.log.Oldest()
	if t.queued = ok; ok {
		s.expiry.push(t, oldest)
	}
	unused := t.unusedLocked()
	t.mu.Unlock()
	if unused {
		s.dropUnused(t)
	}
}

// items is a heap for container/heap, the oldest first.
type items []item

func (s items) Len() int           { return len(s) }
func (s items) Less(i, j int) bool { return s[i].oldest.Before(s[j].oldest) }
func (s items) Swap(i, j int)      { s[i], s[j] = s[j], s[i] }
func (s *items) Push(x any)        { *s = append(*s, x.(item)) }

func (s *items) Pop() any {
	last := len(*s) - 1
	x := (*s)[last]
	(*s)[last] = item{}
	*s = (*s)[:last]
	return x
}
