package session

import (
	"context"

	"github.com/ikornaselur/notiflux/internal/worker"
)

// wait has work done off the loop, and calls then on the loop, with a nil error if
// it was. Until that, the session is Busy. then is not called if the session is
// gone.
func (s *Session) wait(workers worker.Submitter, work func(context.Context), then func(error)) {
	s.waiting = true
	err := worker.Do(workers, work, func(undone error) {
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
