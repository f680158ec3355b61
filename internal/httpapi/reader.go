package httpapi

import (
	"net/http"
	"sync"
	"time"
)

const (
	// answerTimeout is how long a client may take to read each piece of an answer, or
	// all of it if it is written at once.
	answerTimeout = 30 * time.Second

	// drainTimeout is the same while the server shuts down, which waits for the answer.
	drainTimeout = 5 * time.Second

	// lookEvery is how often a timer checks a client that reads nothing.
	lookEvery = time.Second
)

// A reader is a client that reads an answer, and the time that it has for that.
type reader struct {
	// Immutable.
	control  *http.ResponseController
	draining <-chan struct{}
	lags     func() bool // called with mu held: whether to give up the client; nil: never

	mu      sync.Mutex
	look    *time.Timer // guarded by mu
	hurried bool        // guarded by mu: drainTimeout holds for this piece already
	over    bool        // guarded by mu
}

// start gives the client time for the first piece. Call [reader.end] at the end.
func (r *reader) start() {
	r.extend()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.look = time.AfterFunc(lookEvery, r.check)
}

// extend gives the client time for another piece.
func (r *reader) extend() {
	r.mu.Lock()
	defer r.mu.Unlock()
	timeout := answerTimeout
	if r.hurried = isClosed(r.draining); r.hurried {
		timeout = drainTimeout
	}
	r.limitLocked(timeout)
}

// check shortens the time of a client whose answer keeps too much memory, or that a
// shutdown waits for.
func (r *reader) check() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over {
		return
	}
	switch {
	case r.lags != nil && r.lags():
		r.limitLocked(0)
	case !r.hurried && isClosed(r.draining):
		r.hurried = true
		r.limitLocked(drainTimeout)
	}
	r.look.Reset(lookEvery)
}

// limitLocked has writes fail after timeout. It ignores that fakes in tests have no
// deadlines.
func (r *reader) limitLocked(timeout time.Duration) {
	_ = r.control.SetWriteDeadline(time.Now().Add(timeout))
}

// end sends the rest of the answer, and removes the deadline for the next request on the
// connection.
func (r *reader) end() {
	_ = r.control.Flush()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.over = true
	r.look.Stop()
	_ = r.control.SetWriteDeadline(time.Time{})
}
