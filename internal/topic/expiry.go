package topic

import (
	"container/heap"
	"runtime"
	"sync"
	"time"
)

// expiry orders topics that hold messages by their oldest one, lazily: a
// topic's time may be earlier than its oldest message is now, never later. So a
// publisher touches it only with the first message of a topic.
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

// pop removes and returns the first topic, if its time is not after the given one.
func (x *expiry) pop(notAfter time.Time) (item, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.items) == 0 || x.items[0].oldest.After(notAfter) {
		return item{}, false
	}
	return heap.Pop(&x.items).(item), true
}

// Sweep drops every message that is past its age now, lets go of topics that are
// left with nothing, and forgets those that it let go of long ago. However much that
// is, it holds no lock for longer than a few hundred of them take.
func (s *Topics) Sweep() {
	s.clear()
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
		s.dropFrom(i.topic, func(l *Log) { more = l.Expire(now) })
		if more { // The topic is back in the order, at the front.
			runtime.Gosched()
		}
	}
}

// expireAtOnce is how many memories are forgotten under one lock.
const expireAtOnce = 256

// expireTombstones forgets some of what was last in use before a time, the oldest
// first, and reports whether there may be more.
func (s *Topics) expireTombstones(before time.Time) (more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tombstones.expire(before, expireAtOnce)
}

// tooMuch reports whether the logs and the frames hold more than they may.
func (s *Topics) tooMuch() bool {
	return s.config.TotalBytes > 0 && uint64(s.bytes.Load()+s.logs.FrameBytes()) > s.config.TotalBytes
}

// frameKept has Run drop messages if the frames have become too much. Readers call
// it, which have no time to do so.
func (s *Topics) frameKept() {
	if s.tooMuch() {
		s.wakeRun()
	}
}

func (s *Topics) wakeRun() {
	select {
	case s.much <- struct{}{}:
	default:
	}
}

// shrink drops the oldest messages of all while the logs and the frames hold too much.
func (s *Topics) shrink() {
	for s.tooMuch() {
		i, ok := s.expiry.pop(s.config.Now())
		if !ok {
			return
		}
		s.dropFrom(i.topic, func(l *Log) {
			// Only if it is as old as was thought; else its turn comes later.
			if oldest, ok := l.Oldest(); ok && !oldest.After(i.oldest) {
				l.DropOldest()
			}
		})
	}
}

// roomTries is how many topics are looked at to make room for another before
// it is refused. Those that have listeners stay as they are.
const roomTries = 16

// forgetOldest lets go of a topic without listeners, of those whose messages are
// the oldest, so that only a memory of it is left. It reports whether it found one.
func (s *Topics) forgetOldest() bool {
	var listened []item // Out of the way until the search is over.
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
		if s.forgetMessages(i.topic) {
			return true
		}
		listened = append(listened, i)
	}
	return false
}

// forgetMessages lets go of t, which was just popped, with its messages, unless
// it has listeners.
func (s *Topics) forgetMessages(t *Topic) bool {
	if !s.detach(t) {
		return false
	}
	if t.log.Shed() { // From here on nobody else changes it.
		s.mu.Lock()
		s.discards = append(s.discards, t.log)
		s.mu.Unlock()
		s.wakeRun()
	}
	return true
}

// detach is forgetMessages, but that the log keeps its messages and their frames.
func (s *Topics) detach(t *Topic) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.listeners.all) > 0 {
		return false
	}
	s.bytes.Add(-int64(t.log.Bytes()))
	s.evicted.Add(uint64(t.log.Len()))
	s.forgetLocked(t)
	return true
}

// clear drops what is left in the logs of topics that were let go of.
func (s *Topics) clear() {
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

// dropFrom lets drop take messages from the log of t, which was just popped,
// and puts t back in its new place, or forgets it.
func (s *Topics) dropFrom(t *Topic, drop func(*Log)) {
	t.mu.Lock()
	s.changeLocked(t, func() { drop(t.log) })
	oldest, ok := t.log.Oldest()
	if t.queued = ok; ok {
		s.expiry.push(t, oldest)
	}
	unused := t.unusedLocked()
	t.mu.Unlock()
	if unused {
		s.forget(t)
	}
}

// items is a heap, the oldest first (container/heap).
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
