package auth

import (
	"container/heap"
	"time"
)

// Expiries holds a set of things and the time at which each ends, such as the claim until
// of a token. The zero value is empty. It is not safe for concurrent use.
type Expiries[T comparable] struct {
	byThing map[T]*expiry[T]
	queue   expiryQueue[T]
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
}

// First returns the thing that ends first, and its time. ok is false if there is none.
func (e *Expiries[T]) First() (thing T, at time.Time, ok bool) {
	if len(e.queue) == 0 {
		return thing, at, false
	}
	return e.queue[0].thing, e.queue[0].at, true
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
