package auth

import (
	"container/heap"
	"time"
)

// clockCheckInterval is how often expiries are compared with the wall clock. Timers use the
// monotonic clock, which ignores changes of the wall clock and stops while the machine
// sleeps.
const clockCheckInterval = 5 * time.Second

// maxEnded is the number of things that end before the loop does other work.
const maxEnded = 64

// Expiries holds the things of an event loop that end at some time, such as subscriptions at
// the time of the claim until. Few have one. The loop calls its methods. Without things it
// has no timer.
type Expiries[T comparable] struct {
	// Immutable after the first use.
	Now  func() time.Time                 // wall clock
	Post func(f func()) bool              // runs f on the loop, unless it returns false
	End  func(thing T, now time.Time) int // ends a thing and perhaps others, which it removes, and returns how many

	byThing map[T]*expiry[T]
	queue   expiryQueue[T]
	timer   *time.Timer
	posted  bool // endDue was posted to continue
}

type expiry[T comparable] struct {
	at    time.Time
	thing T
	index int // in the queue
}

// Set sets the time at which a thing ends, replacing an earlier one. The zero time means
// never, and removes the thing.
func (e *Expiries[T]) Set(thing T, at time.Time) {
	if d := e.byThing[thing]; d != nil {
		heap.Remove(&e.queue, d.index)
		delete(e.byThing, thing)
	}
	if at.IsZero() {
		return
	}
	d := &expiry[T]{at: at, thing: thing}
	if e.byThing == nil {
		e.byThing = make(map[T]*expiry[T])
	}
	e.byThing[thing] = d
	heap.Push(&e.queue, d)
	e.arm()
}

// arm sets the timer to the first expiry, or to the next check of the wall clock.
func (e *Expiries[T]) arm() {
	if len(e.queue) == 0 || e.posted {
		return
	}
	wait := min(e.queue[0].at.Sub(e.Now()), clockCheckInterval)
	if e.timer == nil {
		e.timer = time.AfterFunc(wait, func() { e.Post(e.endDue) })
		return
	}
	e.timer.Reset(wait)
}

// endDue ends about maxEnded due things, and posts itself if more are due.
func (e *Expiries[T]) endDue() {
	e.posted = false
	now, ended := e.Now(), 0
	for {
		switch {
		case len(e.queue) == 0 || now.Before(e.queue[0].at):
			e.arm()
			return
		case ended >= maxEnded:
			e.posted = e.Post(e.endDue)
			return
		}
		ended += e.End(e.queue[0].thing, now)
	}
}

// Ended reports whether a thing ends at or before now.
func (e *Expiries[T]) Ended(thing T, now time.Time) bool {
	d := e.byThing[thing]
	return d != nil && !now.Before(d.at)
}

// expiryQueue is a heap with the earliest expiry in front (container/heap).
type expiryQueue[T comparable] []*expiry[T]

func (q expiryQueue[T]) Len() int           { return len(q) }
func (q expiryQueue[T]) Less(i, j int) bool { return q[i].at.Before(q[j].at) }

func (q expiryQueue[T]) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

func (q *expiryQueue[T]) Push(x any) {
	d := x.(*expiry[T])
	d.index = len(*q)
	*q = append(*q, d)
}

func (q *expiryQueue[T]) Pop() any {
	last := len(*q) - 1
	d := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	return d
}
