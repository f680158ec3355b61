package session

import (
	"context"

	"github.com/ikornaselur/notiflux/internal/worker"
)

// wait has workers do work and then calls then on the loop, with nil or with the reason why
// the work was not done. The session is Busy until then. If the session is gone, then is
// not called.
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
