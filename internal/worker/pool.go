// Package worker runs work that event loops must not do: expensive work, such as verifying
// a signature, and work that may block, such as reading from a remote broker.
//
// The function [Do] submits work to a [Pool] and calls back when the work is done. A Pool
// limits the number of its goroutines and the length of its queue. When the queue is full, the
// Pool refuses work instead of storing it, so that clients get an answer while they still wait
// for it.
//
// Invariants:
//   - Accepted work is called exactly once, even if the pool stops. In that case the context
//     of the work has already ended.
//   - A panic in work ends neither the pool nor the server.
//
// The package does not order work. The jobs of one connection run in order only if the
// connection submits each job after the previous one is done.
package worker

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
	"sync"
)

// DefaultQueue is the default length of the queue. It has room for one signature check per
// client of a large server when all of them reconnect at once, which is some seconds of
// work. With a longer queue, clients would give up before their turn.
const DefaultQueue = 32768

// A Pool runs work on its own goroutines. Safe for concurrent use.
type Pool struct {
	// Immutable.
	workers int
	log     *slog.Logger

	mu sync.Mutex
	// Guarded by mu.
	stopped bool
	jobs    chan func(context.Context) // sent to and closed under mu, so that nothing is sent after close; workers receive without mu
}

// NewPool returns a pool with this number of goroutines and this length of its queue. Zero
// means GOMAXPROCS workers, and a queue of [DefaultQueue]. If work panics, the pool logs an
// error to log, which must not be nil.
func NewPool(workers, queue int, log *slog.Logger) *Pool {
	if workers == 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	if queue == 0 {
		queue = DefaultQueue
	}
	return &Pool{workers: workers, log: log, jobs: make(chan func(context.Context), queue)}
}

// Len returns the length of the queue.
func (p *Pool) Len() int { return len(p.jobs) }

// Run executes work until ctx ends. Then it calls the work that is still queued, which sees
// from its context that it is too late, and returns nil. Call Run once. Its goroutines are
// the workers; they have ended when Run returns.
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

// do runs one job. If the job panics, do logs that, and the worker continues.
func (p *Pool) do(ctx context.Context, job func(context.Context)) {
	defer func() {
		if v := recover(); v != nil {
			p.log.Error("background work panicked", "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
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

// Submit queues work. It does not block. If it returns true, work is called exactly once,
// with a context that has already ended if the pool stopped before. If it returns false,
// the queue is full or the pool has stopped, and work is never called.
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

// Do runs work on a worker; see the function [Do].
func (p *Pool) Do(work func(context.Context), done func(undone error)) error {
	return Do(p, work, done)
}
