package hub

import (
	"container/list"
	"time"

	"github.com/ikornaselur/notiflux"
)

// memories are how far topics came that the hub does not have now: the offset up
// to which their messages are not there any more. What was forgotten since came
// as far as the floor at most, which stands for every topic without a memory. So
// "nothing was published" is not taken for "unknown", nor unknown for nothing.
type memories struct {
	floor  uint64
	byName map[notiflux.Topic]*list.Element
	byTime list.List // of memory, the oldest first
}

type memory struct {
	topic notiflux.Topic
	head  uint64
	since time.Time // when it was last in use
}

func newMemories() memories {
	return memories{byName: make(map[notiflux.Topic]*list.Element)}
}

func (m *memories) len() int { return len(m.byName) }

// put remembers a topic that came up to head and has no memory.
func (m *memories) put(topic notiflux.Topic, head uint64, now time.Time) {
	m.byName[topic] = m.byTime.PushBack(memory{topic, head, now})
}

// take returns how far a topic came at most, and ends its memory.
func (m *memories) take(topic notiflux.Topic) uint64 {
	e := m.byName[topic]
	if e == nil {
		return m.floor
	}
	delete(m.byName, topic)
	return m.byTime.Remove(e).(memory).head
}

// dropOldest forgets one topic and reports whether there was one: from now on the
// floor stands for it.
func (m *memories) dropOldest() bool {
	e := m.byTime.Front()
	if e == nil {
		return false
	}
	oldest := m.byTime.Remove(e).(memory)
	delete(m.byName, oldest.topic)
	m.floor = max(m.floor, oldest.head)
	return true
}

// expire forgets what was last in use before a time.
func (m *memories) expire(before time.Time) {
	for e := m.byTime.Front(); e != nil && e.Value.(memory).since.Before(before); e = m.byTime.Front() {
		m.dropOldest()
	}
}
