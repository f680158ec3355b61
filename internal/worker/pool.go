// Package worker does the work that event loops must not do: expensive work, such as
// checking a signature, and work that may wait, such as for a broker.
//
// A [Pool] is bounded, in goroutines and in what waits for them, so that a storm of
// work is refused at its door and not kept.
package worker

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
	"sync"
)

// DefaultQueue is how much work may wait if nothing else is said: as many checks of
// signatures as there are clients of a large server that reconnect at once, each with
// a token of its own, and some seconds of work. More would be done when the clients
// have given up.
const DefaultQueue = 32768

// A Pool does work on goroutines of its own. Safe for concurrent use.
type Pool struct {
	// Immutable.
	workers int
	log     *slog.Logger

	mu sync.Mutex
	// Guarded by mu.
	stopped bool
	jobs    chan func(context.Context) // sent to and closed under mu, so never sent to when closed; workers receive without it
}

// NewPool returns a pool: how many goroutines work, and how much may wait for them.
// Zero means GOMAXPROCS workers, a queue of [DefaultQueue]. log is told of work that
// panics.
func NewPool(workers, queue int, log *slog.Logger) *Pool {
	if workers == 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	if queue == 0 {
		queue = DefaultQueue
	}
	return &Pool{workers: workers, log: log, jobs: make(chan func(context.Context), queue)}
}

// Len returns how much waits for a worker.
func (p *Pool) Len() int { return len(p.jobs) }

// Run works until ctx ends, then calls what still waits, which sees by its context
// that it is too late, and returns nil. It is called once. Its goroutines are the
// workers; they have ended when it returns.
func (p *Pool) Run(ctx context.Context) error {
	var workers sync.WaitGroup
	for range p.workers {
		workers.Go(func() {
			for job := range p.jobs {
				p.do(ctx, job)
			}
		})
	}
	<-ctx.Done()
	p.stop()
	workers.Wait()
	return nil
}

// do does one job. If that panics, the next one is done all the same.
func (p *Pool) do(ctx context.Context, job func(context.Context)) {
	defer func() {
		if v := recover(); v != nil {
			p.log.Error("work off the loops panicked", "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
		}
	}()
	job(ctx)
}

func (p *Pool) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopped = true
	close(p.jobs)
}

// Submit has work done. It does not block. When it returns true, work is called
// exactly once, with a context that has ended if the pool has stopped before its
// turn came. When it returns false, the queue is full or the pool has stopped, and
// work is never called.
func (p *Pool) Submit(work func(context.Context)) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped {
		return false
	}
	select {
	case p.jobs <- work:
		return true
	default:
		return false
	}
}
