package listen

import (
	"runtime/debug"
	"sync"
	"time"
)

const (
	// burstSize is how many new clients leave enough garbage for a collection to pay
	// off: net/http takes some 20 KB for each of them, an idle client under 1 KB.
	burstSize = 1000
	// burstOver is how long no client must have come, and no token wait for its check,
	// for a burst of new clients to be over.
	burstOver = 300 * time.Millisecond
)

// A Scavenger returns memory to the system once a burst of new clients is over. Idle
// clients then cost what they hold, not what it took to connect them. Make one with
// NewScavenger. Safe for concurrent use.
type Scavenger struct {
	// Immutable after NewScavenger.
	waiting func() int // how many tokens wait for their check
	free    func()     // returns memory to the system

	mu sync.Mutex
	// Guarded by mu.
	came  int         // new clients since the last time
	timer *time.Timer // runs once came has reached burstSize; nil before
}

// NewScavenger returns a Scavenger. waiting says how many tokens of new clients wait
// for their check: while there are any, the burst is not over. It is called on any
// goroutine and must not block.
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

// Stop stops the timer. Memory is not returned any more, unless that is under way.
func (s *Scavenger) Stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.timer != nil {
		s.timer.Stop()
	}
}
