package server

import (
	"sync"
	"time"
)

const (
	// stormSize is how many handshakes leave enough behind to be worth a
	// collection: net/http takes some 20 KB for each, an idle client under 1 KB.
	stormSize = 1000
	// stormOver is how long nobody may come, nor any token wait for its check, for a
	// storm to be over.
	stormOver = 300 * time.Millisecond
)

// tidier gives memory back to the system once a storm of handshakes is over,
// so that idle clients cost what they hold and not what their coming took.
// Safe for concurrent use.
type tidier struct {
	// Immutable.
	waiting func() int // how many tokens wait for their check
	free    func()     // gives memory back

	mu sync.Mutex
	// Guarded by mu.
	came  int         // since the last time
	timer *time.Timer // runs when came has reached stormSize
}

// handshake counts one.
func (t *tidier) handshake() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.came++
	switch {
	case t.came < stormSize:
	case t.timer == nil:
		t.timer = time.AfterFunc(stormOver, t.tidy)
	default:
		t.timer.Reset(stormOver)
	}
}

func (t *tidier) tidy() {
	if t.over() {
		t.free()
	}
}

// over reports whether the storm is over. If not, tidy is called again.
func (t *tidier) over() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.waiting() > 0 {
		t.timer.Reset(stormOver)
		return false
	}
	t.came = 0
	return true
}

// stop ends the waiting for a storm to be over.
func (t *tidier) stop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.timer != nil {
		t.timer.Stop()
	}
}
