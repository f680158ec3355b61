package topic

import (
	"container/list"
	"time"

	"github.com/ikornaselur/notiflux"
)

// memories are how far topics came that are not in memory now: the offset up
// to which their messages are not there any more. What was forgotten since came
// as far as the floor at most, which stands for every topic without a memory. So
// "nothing was published" is not taken for "unknown", nor unknown for nothing. A
// memory ends in two ways only: the topic is back, or the floor is raised.
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

// has reports whether there is a memory of a topic.
func (m *memories) has(topic notiflux.Topic) bool { return m.byName[topic] != nil }

// renew returns how far a topic came, and remembers that as if it was in use now;
// false if there is no memory of it.
func (m *memories) renew(topic notiflux.Topic, now time.Time) (head uint64, ok bool) {
	e := m.byName[topic]
	if e == nil {
		return 0, false
	}
	head = e.Value.(memory).head
	e.Value = memory{topic, head, now}
	m.byTime.MoveToBack(e)
	return head, true
}

// take returns how far a topic came at most, and ends its memory: the log that the
// topic gets now goes on from there.
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

// expire forgets what was last in use before a time, the oldest first and at most so
// many. It reports whether there may be more.
func (m *memories) expire(before time.Time, most int) (more bool) {
	for range most {
		e := m.byTime.Front()
		if e == nil || !e.Value.(memory).since.Before(before) {
			return false
		}
		m.dropOldest()
	}
	return true
}
