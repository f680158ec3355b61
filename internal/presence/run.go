package presence

import (
	"container/heap"
	"context"
	"time"
)

// perTurn is how much is done before others get the lock: some 100 µs.
const perTurn = 256

// Run tells events until ctx ends, and returns nil. It is called once, and starts no
// goroutine. While nothing is due it sleeps.
func (r *Registry) Run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		e, told, until := r.turn()
		if told {
			sortBySub(e.All)
			r.config.Tell(e)
			continue
		}
		timer.Stop()
		if !until.IsZero() {
			timer.Reset(time.Until(until))
		}
		select {
		case <-ctx.Done():
		case <-r.wake:
		case <-timer.C:
		}
	}
	return nil
}

// turn does what is due, up to the first event, which it returns. Without one it
// returns when to go on; the zero time is when woken.
func (r *Registry) turn() (e Event, told bool, until time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asleep = false
	now := time.Now()
	for range perTurn {
		t, p := r.nextLocked()
		switch {
		// In the order of time, so that who is gone was told to have joined.
		case t != nil && !t.due.After(now) && (p == nil || !t.due.After(p.due)):
			r.queue.pop()
			if e, told = r.eventLocked(t, now); told {
				return e, true, now
			}
		case p != nil && !p.due.After(now):
			r.goneLocked(p)
		default:
			if t != nil {
				until = t.due
			}
			if p != nil && (t == nil || p.due.Before(until)) {
				until = p.due
			}
			r.asleep, r.until = true, until
			return Event{}, false, until
		}
	}
	return Event{}, false, now
}

// nextLocked returns the topic and the lingering member that are due first, or nil.
func (r *Registry) nextLocked() (t *topic, p *member) {
	if len(r.queue) > 0 {
		t = r.queue[0]
	}
	if first := r.lingering.Front(); first != nil {
		p = first.Value.(*member)
	}
	return t, p
}

// wakeLocked sees that Run does not sleep longer than until due.
func (r *Registry) wakeLocked(due time.Time) {
	if !r.asleep || !r.until.IsZero() && !due.Before(r.until) {
		return
	}
	r.asleep = false
	select {
	case r.wake <- struct{}{}:
	default: // It was woken and has not seen it yet.
	}
}

// queue is a heap, what is due first in front (container/heap).
type queue []*topic

func (q *queue) push(t *topic) { heap.Push(q, t) }

func (q *queue) pop() { heap.Pop(q).(*topic).queued = false }

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].due.Before(q[j].due) }
func (q queue) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)        { *q = append(*q, x.(*topic)) }

func (q *queue) Pop() any {
	last := len(*q) - 1
	t := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	return t
}
