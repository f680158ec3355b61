package listen

import (
	"context"
	"log/slog"
	"sync"

	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// Slots limits how many of something there are at once, such as clients. Make them
// with NewSlots. Safe for concurrent use.
type Slots struct {
	// Immutable after NewSlots.
	limit   int
	setting string
	log     *slog.Logger
	full    warning

	mu    sync.Mutex
	taken int
	empty chan struct{} // closed when taken falls to 0; nil: nobody waits
}

// NewSlots returns limit slots. When none is free, log gets a warning that clients are
// refused, at most once a minute; it names the setting that the limit follows from.
func NewSlots(limit int, setting string, log *slog.Logger) *Slots {
	return &Slots{limit: limit, setting: setting, log: log}
}

// Acquire takes a slot. If none is free, it does not wait: it returns a
// [pubsub.Error] with OverCapacity.
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

// Release gives a slot back that Acquire took.
func (s *Slots) Release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken--
	if s.taken == 0 && s.empty != nil {
		close(s.empty)
		s.empty = nil
	}
}

// Count returns how many slots are taken.
func (s *Slots) Count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.taken
}

// Wait blocks until no slot is taken or ctx ends, and returns how many slots are taken
// then. Only one goroutine may wait at a time.
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
