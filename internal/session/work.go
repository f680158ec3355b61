package session

import (
	"context"
	"errors"

	"github.com/ikornaselur/notiflux"
)

// Workers do what the loop must not. Submit reports whether there was room; if so,
// work is called once, on any goroutine, with a context that has ended if it is too
// late for it.
type Workers interface {
	Submit(work func(context.Context)) bool
}

// errPanicked is told as a fault of the server.
var errPanicked = errors.New("session: the work panicked")

// Submit has workers do work, and calls done after it, on any goroutine: with nil, or
// with why it was not done. It fails, and calls neither, when there is no room.
func Submit(workers Workers, work func(context.Context), done func(undone error)) error {
	ok := workers.Submit(func(ctx context.Context) {
		undone := errPanicked
		defer func() { done(undone) }()
		if ctx.Err() != nil {
			undone = notiflux.Errorf(notiflux.Unavailable, "the server is shutting down: connect again")
			return
		}
		work(ctx)
		undone = nil
	})
	if !ok {
		return notiflux.Errorf(notiflux.OverCapacity, "the server has too much to do: try again later")
	}
	return nil
}

// wait has work done off the loop, and calls then on the loop, with a nil error if
// it was. Until that, the session is Busy. then is not called if the session is
// gone.
func (s *Session) wait(workers Workers, work func(context.Context), then func(error)) {
	s.waiting = true
	err := Submit(workers, work, func(undone error) {
		s.conn.Post(func() {
			s.waiting = false
			then(undone)
			s.conn.Resume()
			if s.pendingClose != nil {
				s.conn.Dirty()
			}
		})
	})
	if err != nil {
		s.waiting = false
		then(err)
	}
}
