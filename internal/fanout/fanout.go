// Package fanout tells the subscribers of topics, on one event loop, that there are new
// messages.
//
// A publisher calls [Topic.Wake] on any goroutine. That puts the topic into the [Queue] of
// the loop, once, and wakes the loop. The loop calls [Queue.Collect], which calls Mark for
// the subscribers of each woken topic. One call marks a limited number of them, and topics
// take turns, so that a topic with many subscribers delays the rest of the loop only briefly.
//
// Invariants:
//   - After a call of Wake, each subscriber of the topic is marked at least once, unless it
//     is removed before.
//   - A topic is in a queue once, however often it was woken.
//
// A client may subscribe to a topic and to patterns that match it. [Overlap] decides which of
// the subscriptions delivers a message.
//
// The package does not know what a subscriber is, and does not deliver anything.
package fanout

import (
	"sync"
	"sync/atomic"
)

const (
	// maxMarked is the number of subscribers that one call of Collect marks.
	maxMarked = 256
	// maxMarkedPerTopic is the number that it marks in one topic before the next topic.
	maxMarkedPerTopic = 64
)

// A Queue holds the woken topics of one loop. Only that loop calls its methods.
type Queue[S any] struct {
	// Immutable after the first use.
	WakeLoop func()    // makes the loop call Collect; called on any goroutine
	Mark     func([]S) // tells subscribers of one topic; called by Collect; it adds and removes none

	mu    sync.Mutex
	woken []*Topic[S] // topics with new messages, without duplicates

	// Owned by the loop.
	spare       []*Topic[S] // the previous woken, for reuse
	first, last *Topic[S]   // list of the topics whose subscribers are being marked
}

// A Topic holds the subscribers of one topic on one loop. Only that loop calls its methods,
// except Wake.
type Topic[S any] struct {
	Queue  *Queue[S]   // immutable after the first use
	queued atomic.Bool // in Queue.woken

	// Owned by the loop.
	subs      []S
	unmarked  int       // how many of subs, from the front, are still to be marked
	markAgain bool      // mark all of subs again afterwards
	next      *Topic[S] // in the list that begins at Queue.first
}

// Add adds a subscriber, and returns its index, which [Topic.Remove] may change.
func (t *Topic[S]) Add(s S) (index int32) {
	t.subs = append(t.subs, s)
	return int32(len(t.subs) - 1)
}

// Remove removes the subscriber with an index. The last subscriber gets this index; Remove
// returns it.
func (t *Topic[S]) Remove(index int32) (moved S) {
	var none S
	last := len(t.subs) - 1
	moved = t.subs[last]
	t.subs[index], t.subs[last] = moved, none
	t.subs = t.subs[:last]
	return moved
}

// All returns the subscribers. The caller must not change the slice, which is valid until
// the next call of Add or Remove.
func (t *Topic[S]) All() []S { return t.subs }

// Wake says that the topic has new messages. It is safe for concurrent use, and does not
// block.
func (t *Topic[S]) Wake() {
	if t.queued.Swap(true) {
		return
	}
	q := t.Queue
	q.mu.Lock()
	q.woken = append(q.woken, t)
	first := len(q.woken) == 1
	q.mu.Unlock()
	if first {
		q.WakeLoop()
	}
}

// Collect marks subscribers of woken topics. One call marks up to maxMarked of them. more
// reports that some remain. The loop calls Collect at least once per turn.
func (q *Queue[S]) Collect() (more bool) {
	q.takeWoken()
	for n := maxMarked; n > 0 && q.first != nil; {
		t := q.first
		if q.first = t.next; q.first == nil {
			q.last = nil
		}
		t.next = nil
		n -= t.mark(min(n, maxMarkedPerTopic))
		if t.unmarked == 0 && t.markAgain {
			t.unmarked, t.markAgain = len(t.subs), false
		}
		if t.unmarked > 0 {
			q.push(t)
		}
	}
	return q.first != nil
}

// takeWoken moves the woken topics to the list of those being marked.
func (q *Queue[S]) takeWoken() {
	q.mu.Lock()
	woken := q.woken
	q.woken = q.spare[:0]
	q.mu.Unlock()
	for i, t := range woken {
		woken[i] = nil
		t.queued.Store(false) // before Mark looks for messages, so that a later message wakes again
		if t.unmarked > 0 {
			t.markAgain = true
			continue
		}
		if t.unmarked = len(t.subs); t.unmarked > 0 {
			q.push(t)
		}
	}
	q.spare = woken
}

// push appends t to the list of topics that are being marked.
func (q *Queue[S]) push(t *Topic[S]) {
	if q.last == nil {
		q.first = t
	} else {
		q.last.next = t
	}
	q.last = t
}

// mark marks the last n unmarked subscribers and returns how many there were. It counts
// down because Remove moves the last subscriber into the freed index. That way it misses
// none.
func (t *Topic[S]) mark(n int) int {
	t.unmarked = min(t.unmarked, len(t.subs))
	n = min(n, t.unmarked)
	t.Queue.Mark(t.subs[t.unmarked-n : t.unmarked])
	t.unmarked -= n
	return n
}
