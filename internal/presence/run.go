package presence

import (
	"container/heap"
	"context"
	"time"
)

// maxSteps limits how long step holds the lock, to about 100 µs.
const maxSteps = 256

// Run emits events until ctx ends, and returns nil. Call it once. It starts no goroutine,
// and sleeps while nothing is due.
func (r *Registry) Run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		e, emit, until := r.step()
		if emit {
			sortBySub(e.Members)
			r.config.Emit(e)
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

// step processes what is due, up to the first event, and returns that event. Without an
// event it returns when to call step again. The zero time means when Run is woken.
func (r *Registry) step() (e Event, emit bool, until time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sleeping = false
	now := time.Now()
	for range maxSteps {
		t, p := r.nextLocked()
		switch {
		// In order of time, so that the join of a member is emitted before the member
		// expires.
		case t != nil && !t.due.After(now) && (p == nil || !t.due.After(p.graceEnd)):
			heap.Pop(&r.queue)
			t.queued = false
			if e, emit = r.eventLocked(t, now); emit {
				return e, true, now
			}
		case p != nil && !p.graceEnd.After(now):
			r.expireLocked(p)
		default:
			if t != nil {
				until = t.due
			}
			if p != nil && (t == nil || p.graceEnd.Before(until)) {
				until = p.graceEnd
			}
			r.sleeping, r.sleepUntil = true, until
			return Event{}, false, until
		}
	}
	return Event{}, false, now
}

// nextLocked returns the topic and the disconnected member that are due first, or nil.
func (r *Registry) nextLocked() (t *topic, p *member) {
	if len(r.queue) > 0 {
		t = r.queue[0]
	}
	if len(r.disconnected) > 0 {
		p = r.disconnected[0]
	}
	return t, p
}

// wakeLocked ensures that Run does not sleep past due.
func (r *Registry) wakeLocked(due time.Time) {
	if !r.sleeping || !r.sleepUntil.IsZero() && !due.Before(r.sleepUntil) {
		return
	}
	r.sleeping = false
	select {
	case r.wake <- struct{}{}:
	default: // A wake-up is already pending.
	}
}

// queue is a heap of topics (container/heap). The first topic is due first.
type queue []*topic

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

// graces is a heap of members (container/heap). The grace period of the first one ends first.
type graces []*member

func (g graces) Len() int           { return len(g) }
func (g graces) Less(i, j int) bool { return g[i].graceEnd.Before(g[j].graceEnd) }
func (g graces) Swap(i, j int) {
	g[i], g[j] = g[j], g[i]
	g[i].grace, g[j].grace = i, j
}

func (g *graces) Push(x any) {
	p := x.(*member)
	p.grace = len(*g)
	*g = append(*g, p)
}

func (g *graces) Pop() any {
	last := len(*g) - 1
	p := (*g)[last]
	(*g)[last] = nil
	*g = (*g)[:last]
	p.grace = notInGrace
	return p
}
