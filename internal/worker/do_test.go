package worker_test

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"

	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/worker"
)

// The outcome of work is reported exactly once, whatever the work does.
func TestDo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := worker.NewPool(1, 3, slog.New(slog.DiscardHandler))
		outcomes := make(chan error, 4)
		do := func(work func(context.Context)) error {
			return worker.Do(pool, work, func(undone error) { outcomes <- undone })
		}
		next := func() error {
			synctest.Wait()
			select {
			case err := <-outcomes:
				return err
			default:
				t.Fatal("no outcome")
				return nil
			}
		}
		works := 0
		work := func(context.Context) { works++ }
		for range 3 {
			if err := do(work); err != nil {
				t.Fatal(err)
			}
		}
		if err := do(work); err == nil || pubsub.Refusal(err).Code != pubsub.OverCapacity {
			t.Errorf("without room: %v, want %s", err, pubsub.OverCapacity)
		}
		ctx, stop := context.WithCancel(t.Context())
		go pool.Run(ctx)
		for range 3 {
			if err := next(); err != nil {
				t.Errorf("work = %v, want nil", err)
			}
		}
		if works != 3 {
			t.Errorf("work was done %d times, want 3", works)
		}
		if err := do(func(context.Context) { panic("a bug") }); err != nil {
			t.Fatal(err)
		}
		if err := next(); err == nil || pubsub.Refusal(err).Code != pubsub.Internal {
			t.Errorf("work that panics = %v, want %s", err, pubsub.Internal)
		}
		stop()
		synctest.Wait()
		if err := do(work); err == nil {
			t.Error("a pool that has stopped takes work")
		}
		if len(outcomes) != 0 || works != 3 {
			t.Errorf("%d more outcomes, %d works", len(outcomes), works)
		}
	})
}

func TestDoIsTooLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := worker.NewPool(1, 1, slog.New(slog.DiscardHandler))
		outcomes := make(chan error, 1)
		err := worker.Do(pool, func(context.Context) { t.Error("the work is done after the end") }, func(undone error) { outcomes <- undone })
		if err != nil {
			t.Fatal(err)
		}
		over, stop := context.WithCancel(t.Context())
		stop()
		if err := pool.Run(over); err != nil {
			t.Fatal(err)
		}
		if err := <-outcomes; err == nil || pubsub.Refusal(err).Code != pubsub.Unavailable {
			t.Errorf("outcome = %v, want %s", err, pubsub.Unavailable)
		}
	})
}
