package listen

import (
	"runtime/debug"
	"sync"
	"time"
)

const (
	// burstSize is how many new clients leave enough garbage to make a collection
	// worthwhile: net/http uses about 20 KB for each, while an idle client needs less than
	// 1 KB.
	burstSize = 1000
	// burstOver is how long there must be no new clients, and no tokens waiting for
	// verification, before a burst is over.
	burstOver = 300 * time.Millisecond
)

// A Scavenger returns memory to the system after a burst of new clients. Idle clients then
// take only the memory that they hold, not what it took to connect them. It is safe for
// concurrent use.
type Scavenger struct {
	// Immutable after NewScavenger.
	waiting func() int // number of tokens that wait for verification
	free    func()     // returns memory to the system

	mu sync.Mutex
	// Guarded by mu.
	came  int         // new clients since the last collection
	timer *time.Timer // runs once came has reached burstSize; nil before
}

// NewScavenger returns a Scavenger. waiting returns the number of tokens of new clients
// that wait for verification; while there are any, the burst is not over. It is called on
// any goroutine and must not block.
func NewScavenger(waiting func() int) *Scavenger {
	return &Scavenger{waiting: waiting, free: debug.FreeOSMemory}
}

// Connected counts a new client. It does not block.
func (s *Scavenger) Connected() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.came++
	switch {
	case s.came < burstSize:
	case s.timer == nil:
		s.timer = time.AfterFunc(burstOver, s.scavenge)
	default:
		s.timer.Reset(burstOver)
	}
}

func (s *Scavenger) scavenge() {
	if s.isOver() {
		s.free()
	}
}

// isOver reports whether the burst is over. If it is not, scavenge runs again later.
func (s *Scavenger) isOver() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting() > 0 {
		s.timer.Reset(burstOver)
		return false
	}
	s.came = 0
	return true
}

// Stop stops the timer. A collection that has already started continues.
func (s *Scavenger) Stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.timer != nil {
		s.timer.Stop()
	}
}
