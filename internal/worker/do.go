package worker

import (
	"context"
	"errors"

	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// A Submitter runs work that event loops must not do. A [Pool] is one.
type Submitter interface {
	// Submit queues work and does not block. If it returns true, work is called exactly
	// once, on any goroutine; its context has ended if the workers stopped first. If it
	// returns false, the queue is full and work is never called.
	Submit(work func(context.Context)) bool
}

// errPanicked is reported to clients as an internal error.
var errPanicked = errors.New("worker: the work panicked")

// Do runs work on workers and then calls done, on any goroutine, with nil or with the
// reason why the work was not done. If the queue is full, Do returns a [pubsub.Error] with
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
		return pubsub.Errorf(pubsub.OverCapacity, "the server is overloaded: try again later")
	}
	return nil
}
