package worker_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/ikornaselur/notiflux/internal/worker"
)

// run starts the pool, and returns a function that stops it and waits for its end.
func run(t *testing.T, pool *worker.Pool) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- pool.Run(ctx) }()
	return func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
	}
}

func TestPoolWorksUntilItStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := worker.NewPool(0, 0, slog.New(slog.DiscardHandler))
		var done atomic.Int64
		work := func(ctx context.Context) {
			if ctx.Err() == nil {
				done.Add(1)
			}
		}
		if !pool.Submit(work) { // waits until the pool runs
			t.Error("Submit before Run = false, want true")
		}
		stop := run(t, pool)
		if !pool.Submit(work) {
			t.Error("Submit = false, want true")
		}
		synctest.Wait()
		if got := done.Load(); got != 2 {
			t.Errorf("%d done, want 2", got)
		}
		stop()
		if pool.Submit(func(context.Context) { t.Error("called after Submit = false") }) {
			t.Error("Submit after the end = true, want false")
		}
	})
}

func TestPoolIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := worker.NewPool(1, 2, slog.New(slog.DiscardHandler))
		stop := run(t, pool)
		release := make(chan bool)
		var log []int
		note := func(i int) func(context.Context) {
			return func(context.Context) {
				<-release
				log = append(log, i)
			}
		}
		for i, want := range []bool{true, true, true, false, false} {
			if got := pool.Submit(note(i)); got != want {
				t.Errorf("Submit(%d) = %t, want %t", i, got, want)
			}
			synctest.Wait() // The worker has the first one, two wait.
		}
		release <- true
		synctest.Wait()
		if !pool.Submit(note(5)) {
			t.Error("Submit after one was done = false, want true")
		}
		close(release)
		synctest.Wait()
		if got, want := fmt.Sprint(log), "[0 1 2 5]"; got != want {
			t.Errorf("done %s, want %s", got, want)
		}
		stop()
	})
}

func TestPoolCallsQueuedWorkAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := worker.NewPool(1, 8, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var late []bool
		for i := range 4 {
			pool.Submit(func(ctx context.Context) {
				late = append(late, ctx.Err() != nil)
				if i == 0 {
					cancel() // The others wait.
				}
			})
		}
		if err := pool.Run(ctx); err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
		if got, want := fmt.Sprint(late), "[false true true true]"; got != want {
			t.Errorf("came too late: %s, want %s", got, want)
		}
	})
}

// At whatever moment the pool stops, accepted work is called once, and refused work never.
func TestPoolCallsExactlyOnce(t *testing.T) {
	for range 20 {
		pool := worker.NewPool(2, 16, slog.New(slog.DiscardHandler))
		stop := run(t, pool)
		var taken, called atomic.Int64
		var submitters sync.WaitGroup
		for range 4 {
			submitters.Go(func() {
				for range 100 {
					if pool.Submit(func(context.Context) { called.Add(1) }) {
						taken.Add(1)
					}
				}
			})
		}
		stop()
		submitters.Wait()
		if taken.Load() != called.Load() {
			t.Errorf("%d taken, %d called", taken.Load(), called.Load())
		}
	}
}
