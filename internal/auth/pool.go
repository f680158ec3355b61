package auth

import (
	"context"
	"runtime"
	"sync"

	"github.com/ikornaselur/notiflux"
)

// defaultQueue is how many tokens may wait: some tenths of a second of work
// for each worker. More would be answered when the clients have given up.
const defaultQueue = 4096

var errPoolStopped = notiflux.Errorf(notiflux.Unavailable, "the server is shutting down: connect again")

// A Pool verifies tokens for event loops, which must not wait for a check of a
// signature. It is safe for concurrent use.
type Pool struct {
	// Immutable after NewPool.
	verifier *Verifier
	workers  int

	mu sync.Mutex
	// Guarded by mu.
	stopped bool
	jobs    chan job // sent to and closed under mu, so never sent to when closed; workers receive without it
}

type job struct {
	token Token
	done  func(*Claims, error)
}

// NewPool returns a pool of v: how many goroutines verify, and how many tokens
// may wait for them. Zero means GOMAXPROCS workers, a queue of 4,096.
func NewPool(v *Verifier, workers, queue int) *Pool {
	if workers == 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	if queue == 0 {
		queue = defaultQueue
	}
	return &Pool{verifier: v, workers: workers, jobs: make(chan job, queue)}
}

// Run verifies what is submitted until ctx ends, then answers what still waits
// with Unavailable, and returns nil. It is called once. Its goroutines are the
// workers; they have ended when it returns.
func (p *Pool) Run(ctx context.Context) error {
	var workers sync.WaitGroup
	for range p.workers {
		workers.Go(func() { p.work(ctx) })
	}
	<-ctx.Done()
	p.stop()
	workers.Wait()
	return nil
}

// work answers each job once, on past the end of ctx: until the queue is
// closed and empty.
func (p *Pool) work(ctx context.Context) {
	for j := range p.jobs {
		if ctx.Err() != nil {
			j.done(nil, errPoolStopped)
			continue
		}
		j.done(p.verifier.Verify(j.token))
	}
}

func (p *Pool) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopped = true
	close(p.jobs)
}

// Submit has t verified. It does not block. When it returns true, done is
// called exactly once with what [Verifier.Verify] says, or Unavailable when
// the pool stops first; on a goroutine of the pool, which it must not hold up.
// When it returns false, the queue is full or the pool has stopped, and done
// is never called.
func (p *Pool) Submit(t Token, done func(*Claims, error)) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped {
		return false
	}
	select {
	case p.jobs <- job{t, done}:
		return true
	default:
		return false
	}
}
