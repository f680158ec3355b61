package listen

import (
	"context"
	"log/slog"
	"sync"

	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// Slots limits the number of something, such as clients. It is safe for concurrent use.
type Slots struct {
	// Immutable after NewSlots.
	limit   int
	setting string
	log     *slog.Logger
	full    warning

	mu    sync.Mutex
	taken int
	empty chan struct{} // closed when taken falls to 0; nil: no one is waiting
}

// NewSlots returns limit slots. When all are taken, log gets a warning that clients are
// refused, at most once a minute. setting is the name of the setting that determines the
// limit.
func NewSlots(limit int, setting string, log *slog.Logger) *Slots {
	return &Slots{limit: limit, setting: setting, log: log}
}

// Acquire takes a slot. It does not wait: if none is free, it returns a [pubsub.Error] with
// OverCapacity.
func (s *Slots) Acquire() error {
	if s.take() {
		return nil
	}
	if s.full.due() {
		s.log.Warn("connection limit reached; clients are refused", "limit", s.limit, "setting", s.setting)
	}
	return pubsub.Errorf(pubsub.OverCapacity, "connection limit reached (%d): try again later", s.limit)
}

func (s *Slots) take() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.taken >= s.limit {
		return false
	}
	s.taken++
	return true
}

// Release returns a slot that Acquire took.
func (s *Slots) Release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken--
	if s.taken == 0 && s.empty != nil {
		close(s.empty)
		s.empty = nil
	}
}

// Count returns the number of slots that are taken.
func (s *Slots) Count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.taken
}

// Wait blocks until no slot is taken or ctx ends, and returns the number of slots that are
// taken then. Only one goroutine may call it at a time.
func (s *Slots) Wait(ctx context.Context) int {
	s.mu.Lock()
	if s.taken == 0 {
		s.mu.Unlock()
		return 0
	}
	empty := make(chan struct{})
	s.empty = empty
	s.mu.Unlock()
	select {
	case <-empty:
	case <-ctx.Done():
	}
	return s.Count()
}
