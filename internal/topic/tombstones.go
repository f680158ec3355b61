package topic

import (
	"container/list"
	"time"

	"github.com/ikornaselur/notiflux"
)

// tombstones holds the head of every topic that was dropped from memory, so that
// "nothing was published" is not mistaken for "unknown". A tombstone ends in one of
// two ways: the topic comes back, or the tombstone expires and raises the floor. The
// floor is the highest head of all expired tombstones, and stands for every topic that
// has no tombstone.
type tombstones struct {
	floor  uint64
	byName map[notiflux.Topic]*list.Element
	byTime list.List // of tombstone, the least recently used first
}

type tombstone struct {
	topic notiflux.Topic
	head  uint64
	used  time.Time // when it was made or last asked for
}

func newTombstones() tombstones {
	return tombstones{byName: make(map[notiflux.Topic]*list.Element)}
}

func (d *tombstones) len() int { return len(d.byName) }

// put adds a tombstone for topic, which has none.
func (d *tombstones) put(topic notiflux.Topic, head uint64, now time.Time) {
	d.byName[topic] = d.byTime.PushBack(tombstone{topic, head, now})
}

// has reports whether topic has a tombstone.
func (d *tombstones) has(topic notiflux.Topic) bool { return d.byName[topic] != nil }

// use returns the head in topic's tombstone and marks the tombstone as used now. It
// returns false if there is none.
func (d *tombstones) use(topic notiflux.Topic, now time.Time) (head uint64, ok bool) {
	e := d.byName[topic]
	if e == nil {
		return 0, false
	}
	head = e.Value.(tombstone).head
	e.Value = tombstone{topic, head, now}
	d.byTime.MoveToBack(e)
	return head, true
}

// take removes topic's tombstone and returns the head in it, or the floor if there is
// none. The new log of the topic continues from there.
func (d *tombstones) take(topic notiflux.Topic) uint64 {
	e := d.byName[topic]
	if e == nil {
		return d.floor
	}
	delete(d.byName, topic)
	return d.byTime.Remove(e).(tombstone).head
}

// dropOldest drops the least recently used tombstone and raises the floor to its head.
// It reports whether there was one.
func (d *tombstones) dropOldest() bool {
	e := d.byTime.Front()
	if e == nil {
		return false
	}
	oldest := d.byTime.Remove(e).(tombstone)
	delete(d.byName, oldest.topic)
	d.floor = max(d.floor, oldest.head)
	return true
}

// expire drops tombstones that were last used before the given time, the oldest first
// and at most n. It reports whether there may be more.
func (d *tombstones) expire(before time.Time, n int) (more bool) {
	for range n {
		e := d.byTime.Front()
		if e == nil || !e.Value.(tombstone).used.Before(before) {
			return false
		}
		d.dropOldest()
	}
	return true
}
