package remote

import (
	"container/heap"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/ikornaselur/notiflux/internal/broker"
)

// maxSpare is the maximum number of functions whose memory a timeline keeps for others.
const maxSpare = 1024

// A timeline is a goroutine that executes functions one after the other: those that are
// posted, in order, and those that are due at a time. Functions with the same time keep
// their order.
type timeline struct {
	wake chan struct{} // has an element when a function was posted; immutable

	mu sync.Mutex
	// Guarded by mu.
	posts   []func()
	stopped bool // run has ended

	// Owned by the goroutine of run.
	spare  []func() // empty; memory for posts
	events events
	added  uint64  // number of events so far
	limits []limit // in order of time; the first over of them no longer matter
	over   int
	timed  bool // an event calls expire
}

// A limit is the time at which an operation has taken broker.Timeout.
type limit struct {
	at        time.Time
	operation operation
}

// An operation ends before or at its limit.
type operation interface {
	isOver() bool
	timeOut() // ends the operation, unless it is over
}

// An event is a function to call at a time.
type event struct {
	at time.Time
	n  uint64 // number of events added before
	do func()
}

func newTimeline() *timeline { return &timeline{wake: make(chan struct{}, 1)} }

// Post calls do on the goroutine of run. It returns false if run has ended. It never
// blocks. Safe for concurrent use.
func (l *timeline) Post(do func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stopped {
		return false
	}
	l.posts = append(l.posts, do)
	select {
	case l.wake <- struct{}{}:
	default:
	}
	return true
}

// After calls do after d. It is called on the goroutine of run, and so is do.
func (l *timeline) After(d time.Duration, do func()) { l.at(time.Now().Add(d), do) }

// at is like After, with a time.
func (l *timeline) at(t time.Time, do func()) {
	heap.Push(&l.events, event{t, l.added, do})
	l.added++
}

// limit ends an operation after broker.Timeout, at the time that it returns. It costs less
// than After does. It is called on the goroutine of run, and so is the operation.
func (l *timeline) limit(o operation) (at time.Time) {
	at = time.Now().Add(broker.Timeout)
	l.limits = append(l.limits, limit{at, o})
	l.watch()
	return at
}

// watch makes an event call expire at the first limit.
func (l *timeline) watch() {
	if !l.timed && l.over < len(l.limits) {
		l.timed = true
		l.at(l.limits[l.over].at, l.expire)
	}
}

// expire ends the operations that are at their limit.
func (l *timeline) expire() {
	l.timed = false
	for now := time.Now(); l.over < len(l.limits) && !l.limits[l.over].at.After(now); {
		o := l.limits[l.over].operation
		l.over++
		o.timeOut()
	}
	l.trim()
	l.watch()
}

// trim drops the first limits, up to one of an operation that is not over. Nearly all
// operations are over long before their limits, and would take memory until then.
func (l *timeline) trim() {
	for l.over < len(l.limits) && l.limits[l.over].operation.isOver() {
		l.over++
	}
	if l.over > len(l.limits)/2 {
		l.limits, l.over = slices.Delete(l.limits, 0, l.over), 0
	}
}

// run executes posted and due functions until ctx ends. Then it calls last, and executes
// the functions that are posted by then.
func (l *timeline) run(ctx context.Context, last func()) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		l.work()
		if len(l.events) > 0 {
			timer.Reset(time.Until(l.events[0].at))
		}
		select {
		case <-ctx.Done():
		case <-l.wake:
		case <-timer.C:
		}
	}
	last()
	for posts := l.take(true); len(posts) > 0; posts = l.take(true) {
		for _, do := range posts {
			do()
		}
	}
}

// work executes the functions that were posted or are due by now.
func (l *timeline) work() {
	for {
		posts := l.take(false)
		for _, do := range posts {
			do()
		}
		if clear(posts); cap(posts) <= maxSpare {
			l.spare = posts[:0]
		}
		if len(l.events) > 0 && !l.events[0].at.After(time.Now()) {
			heap.Pop(&l.events).(event).do()
		} else if len(posts) == 0 {
			return
		}
	}
}

// take returns the posted functions. If end is true and no function was posted, Post
// refuses functions from then on.
func (l *timeline) take(end bool) (posts []func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	posts, l.posts, l.spare = l.posts, l.spare, nil
	l.stopped = end && len(posts) == 0
	return posts
}

// events is a heap.
type events []event

func (e events) Len() int      { return len(e) }
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e events) Less(i, j int) bool {
	return e[i].at.Before(e[j].at) || e[i].at.Equal(e[j].at) && e[i].n < e[j].n
}
func (e *events) Push(x any) { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	last := len(*e) - 1
	x := (*e)[last]
	(*e)[last] = event{}
	*e = (*e)[:last]
	return x
}
