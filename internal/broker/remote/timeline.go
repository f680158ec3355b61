package remote

import (
	"container/heap"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/ikornaselur/notiflux/internal/broker"
)

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
	events events
	added  uint64  // number of events so far
	limits []limit // in order of time; the first over of them have been called
	over   int
}

// A limit is a function to call when an operation has taken broker.Timeout.
type limit struct {
	at time.Time
	do func()
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

// soon calls do after broker.Timeout, at the time that it returns. It costs less than After
// does. It is called on the goroutine of run, and so is do.
func (l *timeline) soon(do func()) (at time.Time) {
	at = time.Now().Add(broker.Timeout)
	l.limits = append(l.limits, limit{at, do})
	if len(l.limits)-l.over == 1 {
		l.at(at, l.expire)
	}
	return at
}

// expire calls the functions of soon that are due.
func (l *timeline) expire() {
	for now := time.Now(); l.over < len(l.limits) && !l.limits[l.over].at.After(now); {
		do := l.limits[l.over].do
		l.limits[l.over].do = nil
		l.over++
		do()
	}
	if l.over > len(l.limits)/2 {
		l.limits, l.over = slices.Delete(l.limits, 0, l.over), 0
	}
	if l.over < len(l.limits) {
		l.at(l.limits[l.over].at, l.expire)
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
	posts, l.posts = l.posts, nil
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
