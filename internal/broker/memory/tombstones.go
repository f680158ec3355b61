package memory

import (
	"container/list"
	"time"

	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/topic"
)

// tombstones holds the head of every topic that was dropped from memory, so that "nothing
// was published" is not mistaken for "unknown". A tombstone ends in one of two ways: the
// topic becomes live again, or the tombstone expires and raises the floor. The floor is the
// highest head of all expired tombstones. It is used as the head of every topic without a
// tombstone.
type tombstones struct {
	// Immutable.
	epoch    string
	now      func() time.Time
	lifetime time.Duration // how long a tombstone is kept after its last use
	offsets  *offsets

	// Guarded by the lock of the topics.
	floor  uint64
	byName map[pubsub.Topic]*list.Element
	byTime list.List // of tombstone, least recently used first
}

type tombstone struct {
	topic pubsub.Topic
	head  uint64
	used  time.Time // when it was created or last read
}

var _ topic.Heads = (*tombstones)(nil)

func (d *tombstones) position(head uint64) pubsub.Position {
	return pubsub.Position{Epoch: d.epoch, Offset: head}
}

// Len implements [topic.Heads], as do the methods below.
func (d *tombstones) Len() int { return len(d.byName) }

// Newest returns the position of the last offset assigned.
func (d *tombstones) Newest() pubsub.Position { return d.position(d.offsets.last.Load()) }

// Put adds a tombstone.
func (d *tombstones) Put(name pubsub.Topic, head pubsub.Position) {
	d.byName[name] = d.byTime.PushBack(tombstone{name, head.Offset, d.now()})
}

// Has reports whether a topic has a tombstone.
func (d *tombstones) Has(name pubsub.Topic) bool { return d.byName[name] != nil }

// Use returns the head of a topic and renews its tombstone.
func (d *tombstones) Use(name pubsub.Topic) (head pubsub.Position, known bool) {
	e := d.byName[name]
	if e == nil {
		return d.position(d.floor), false
	}
	offset := e.Value.(tombstone).head
	e.Value = tombstone{name, offset, d.now()}
	d.byTime.MoveToBack(e)
	return d.position(offset), true
}

// Take removes the tombstone of a topic and returns its head, or the floor if the topic has
// no tombstone.
func (d *tombstones) Take(name pubsub.Topic) pubsub.Position {
	e := d.byName[name]
	if e == nil {
		return d.position(d.floor)
	}
	delete(d.byName, name)
	return d.position(d.byTime.Remove(e).(tombstone).head)
}

// DropOldest drops the least recently used tombstone and raises the floor to its head.
func (d *tombstones) DropOldest() bool {
	e := d.byTime.Front()
	if e == nil {
		return false
	}
	oldest := d.byTime.Remove(e).(tombstone)
	delete(d.byName, oldest.topic)
	d.floor = max(d.floor, oldest.head)
	return true
}

// Expire drops up to n expired tombstones, oldest first.
func (d *tombstones) Expire(n int) (more bool) {
	before := d.now().Add(-d.lifetime)
	for range n {
		e := d.byTime.Front()
		if e == nil || !e.Value.(tombstone).used.Before(before) {
			return false
		}
		d.DropOldest()
	}
	return true
}
