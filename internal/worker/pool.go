// Package worker runs work that event loops must not do: expensive work, such as verifying
// a signature, and work that may block, such as a call of a broker.
//
// [Do] gives work to a [Pool], and calls back when it is done. A Pool bounds the number of
// its goroutines and of the jobs that wait for them. When its queue is full, it refuses
// work instead of keeping it.
//
// Invariants: accepted work is called exactly once, also when the pool stops; then its
// context has ended. A panic in work ends neither the pool nor the server.
//
// The package does not order work: jobs of one connection run in order only if it submits
// the next one after the last one is done.
package worker

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
	"sync"
)

// DefaultQueue is how much work may wait by default: a check of a signature for each
// client of a large server, when all of them reconnect at once. That is some seconds of
// work. With a longer queue, clients would have given up before their turn.
const DefaultQueue = 32768

// A Pool runs work on its own goroutines. Safe for concurrent use.
type Pool struct {
	// Immutable.
	workers int
	log     *slog.Logger

	mu sync.Mutex
	// Guarded by mu.
	stopped bool
	jobs    chan func(context.Context) // sent to and closed under mu, so never sent to when closed; workers receive without it
}

// NewPool returns a pool with a number of goroutines that work, and a queue for as much
// work. Zero means GOMAXPROCS workers, and a queue of [DefaultQueue]. log gets an error
// for work that panics; it must not be nil.
func NewPool(workers, queue int, log *slog.Logger) *Pool {
	if workers == 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	if queue == 0 {
		queue = DefaultQueue
	}
	return &Pool{workers: workers, log: log, jobs: make(chan func(context.Context), queue)}
}

// Len returns how much work waits.
func (p *Pool) Len() int { return len(p.jobs) }

// Run does work until ctx ends. Then it calls the work that still waits, which sees by
// its context that it is too late, and returns nil. Call Run once. Its goroutines are
// the workers; they have ended when it returns.
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

// do does one job. A panic in it is logged, and the worker goes on.
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

// Submit has work done. It does not block. If it returns true, work is called exactly
// once, with a context that has ended if the pool stopped before the turn of work. If it
// returns false, the queue is full or the pool has stopped, and work is never called.
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
