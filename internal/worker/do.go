package worker

import (
	"context"
	"errors"

	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// A Submitter runs work that event loops must not do, as a [Pool] does.
type Submitter interface {
	// Submit queues work and does not block. If it returns true, work is called exactly
	// once, on any goroutine; its context has ended if the workers stopped before. If it
	// returns false, there is no room, and work is never called.
	Submit(work func(context.Context)) bool
}

// errPanicked becomes an internal error.
var errPanicked = errors.New("worker: the work panicked")

// Do has workers run work and then call done, on any goroutine, with nil or with the reason
// why the work was not done. If there is no room, Do returns a [pubsub.Error] with
// OverCapacity and calls neither. Do does not block.
func Do(workers Submitter, work func(context.Context), done func(undone error)) error {
	ok := workers.Submit(func(ctx context.Context) {
		undone := errPanicked
		defer func() { done(undone) }()
		if ctx.Err() != nil {
			undone = pubsub.Errorf(pubsub.Unavailable, "the server is shutting down: connect again")
			return
		}
		work(ctx)
		undone = nil
	})
	if !ok {
		return pubsub.Errorf(pubsub.OverCapacity, "the server has too much to do: try again later")
	}
	return nil
}
