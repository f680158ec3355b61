package httpapi

import (
	"net/http"
	"sync"
	"time"
)

const (
	// answerTimeout limits the time to read one piece of an answer, or all of an answer
	// that is written at once.
	answerTimeout = 30 * time.Second

	// drainTimeout replaces it during shutdown, which waits for the answer.
	drainTimeout = 5 * time.Second

	// lookEvery is how often a timer checks a client that does not read.
	lookEvery = time.Second
)

// A reader limits the time that a client takes to read an answer.
type reader struct {
	// Immutable.
	control  *http.ResponseController
	draining <-chan struct{}
	lags     func() bool // reports whether to give up on the client, called with mu held; nil: never

	mu      sync.Mutex
	look    *time.Timer // guarded by mu
	hurried bool        // guarded by mu: drainTimeout already applies to this piece
	over    bool        // guarded by mu
}

// start begins the time for the first piece. The caller must call [reader.end] afterwards.
func (r *reader) start() {
	r.extend()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.look = time.AfterFunc(lookEvery, r.check)
}

// extend begins the time for the next piece.
func (r *reader) extend() {
	r.mu.Lock()
	defer r.mu.Unlock()
	timeout := answerTimeout
	if r.hurried = isClosed(r.draining); r.hurried {
		timeout = drainTimeout
	}
	r.limitLocked(timeout)
}

// check shortens the client's time if its answer keeps too much memory, or if the server is
// shutting down.
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

// limitLocked makes writes fail after timeout. It ignores errors, because fakes in tests
// have no deadlines.
func (r *reader) limitLocked(timeout time.Duration) {
	_ = r.control.SetWriteDeadline(time.Now().Add(timeout))
}

// end flushes the answer, and removes the deadline for the next request on the connection.
func (r *reader) end() {
	_ = r.control.Flush()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.over = true
	r.look.Stop()
	_ = r.control.SetWriteDeadline(time.Time{})
}
