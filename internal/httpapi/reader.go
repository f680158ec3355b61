package httpapi

import (
	"net/http"
	"sync"
	"time"
)

const (
	// answerTimeout is how long the reader of an answer may take for each piece of it,
	// or for all of it if it is made in one.
	answerTimeout = 30 * time.Second

	// drainTimeout is the same while the server shuts down, which waits for the answer.
	drainTimeout = 5 * time.Second

	// lookEvery is how often it is looked what became of a reader that takes nothing.
	lookEvery = time.Second
)

// A reader is a client that an answer is written to, and the time that it has for that.
type reader struct {
	// Immutable.
	control  *http.ResponseController
	draining <-chan struct{}
	lags     func() bool // called with mu held: the reader is to be given up; nil: never

	mu      sync.Mutex
	look    *time.Timer // guarded by mu
	hurried bool        // guarded by mu: the shutdown has begun since the last piece
	over    bool        // guarded by mu
}

// start gives the reader time for the first piece. [reader.end] follows.
func (r *reader) start() {
	r.extend()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.look = time.AfterFunc(lookEvery, r.check)
}

// extend gives the reader time for another piece.
func (r *reader) extend() {
	r.mu.Lock()
	defer r.mu.Unlock()
	timeout := answerTimeout
	if r.hurried = isClosed(r.draining); r.hurried {
		timeout = drainTimeout
	}
	r.limitLocked(timeout)
}

// check shortens the time of a reader that keeps too much, or that a shutdown waits for.
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

// limitLocked has writes fail after a time. A fake in a test knows no deadlines; a
// connection does.
func (r *reader) limitLocked(timeout time.Duration) {
	_ = r.control.SetWriteDeadline(time.Now().Add(timeout))
}

// end sends what is not sent yet. The next request on the connection does not meet the
// deadline of this one.
func (r *reader) end() {
	_ = r.control.Flush()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.over = true
	r.look.Stop()
	_ = r.control.SetWriteDeadline(time.Time{})
}
