package auth

import (
	"container/heap"
	"time"
)

// Expiries holds things that end at a time, such as the claim until of a token. The zero
// value is empty. Not safe for concurrent use.
type Expiries[T comparable] struct {
	byThing map[T]*expiry[T]
	queue   expiryQueue[T]
}

type expiry[T comparable] struct {
	at    time.Time
	thing T
	index int // in the queue
}

// Set sets when a thing ends. It replaces an earlier time. With the zero time, the thing
// never ends, and Expiries does not hold it.
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
}

// First returns the thing that ends first, and when. It returns false if there is none.
func (e *Expiries[T]) First() (thing T, at time.Time, ok bool) {
	if len(e.queue) == 0 {
		return thing, at, false
	}
	return e.queue[0].thing, e.queue[0].at, true
}

// Ended reports whether a thing ends at now or before.
func (e *Expiries[T]) Ended(thing T, now time.Time) bool {
	d := e.byThing[thing]
	return d != nil && !now.Before(d.at)
}

// expiryQueue is a heap, the earliest expiry in front (container/heap).
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
