package connect

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/coder/websocket"

	"github.com/ikornaselur/notiflux/client/internal/wire"
)

const (
	// MaxBackoff is the longest back-off, and backoffBase the longest before the first
	// attempt.
	MaxBackoff  = 30 * time.Second
	backoffBase = 500 * time.Millisecond
	// maxAfter bounds how long a server can make a client wait.
	maxAfter = 5 * time.Minute
)

// Close codes of docs/protocol.md, section 5.
const (
	closeRevoked = 4003
	closeIdle    = 4009

	neverFrom, neverTo   = 4000, 4099 // do not connect again
	atOnceFrom, atOnceTo = 4200, 4299 // connect again at once
)

// Backoff returns how long to wait before an attempt, counted from 0. It is a random duration
// below a limit that doubles with each attempt, so that clients that lost their connections
// together do not return together.
func Backoff(attempt int) time.Duration {
	return rand.N(min(backoffBase<<min(attempt, 10), MaxBackoff))
}

// Bounded limits the time that a server asked a client to wait, to at most 5 minutes.
func Bounded(after time.Duration) time.Duration { return max(0, min(after, maxAfter)) }

// IsIdle reports whether the server closed a connection because it got no command.
func IsIdle(err error) bool {
	e, ok := errors.AsType[*wire.Close](err)
	return ok && e.Code == closeIdle
}

// IsRevoked reports whether the operator ended a connection: only another token may help.
func IsRevoked(err error) bool {
	e, ok := errors.AsType[*wire.Close](err)
	return ok && (e.Code == closeRevoked || e.Bye == wire.TokenRevoked)
}

// Pause returns how long to wait before the next attempt after a connection, or an attempt to
// connect, ended with err. The attempt is counted from 0 since the last steady connection, and
// backoff is like [Backoff]. Pause reports false if the client must not connect again, because
// the same would happen.
func Pause(err error, attempt int, backoff func(attempt int) time.Duration) (time.Duration, bool) {
	if errors.Is(err, wire.ErrProtocol) || errors.Is(err, wire.ErrTooLarge) {
		return 0, false
	}
	if e, ok := errors.AsType[*wire.Status](err); ok {
		later := e.Status >= 500 || e.Status == http.StatusTooManyRequests
		return Bounded(e.After) + backoff(attempt), later
	}
	e, ok := errors.AsType[*wire.Close](err)
	if !ok {
		return backoff(attempt), true
	}
	switch websocket.StatusCode(e.Code) {
	case websocket.StatusProtocolError, websocket.StatusUnsupportedData, websocket.StatusInvalidFramePayloadData, websocket.StatusMessageTooBig:
		return 0, false
	}
	if neverFrom <= e.Code && e.Code <= neverTo {
		return 0, false
	}
	if atOnceFrom <= e.Code && e.Code <= atOnceTo || e.Bye == wire.TooSlow {
		attempt = 0
	}
	return max(Bounded(e.After), backoff(attempt)), true
}

// Sleep waits, and reports false if ctx ends first.
func Sleep(ctx context.Context, wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// Delays are how long a client waits before it repeats a command that the server refused for
// now. They grow with each time in a row. The zero value is ready for use.
type Delays struct {
	n    int       // how often it had to wait
	last time.Time // when it last had to
}

// Next returns the next delay. backoff is like [Backoff].
func (d *Delays) Next(backoff func(attempt int) time.Duration) time.Duration {
	if time.Since(d.last) > 2*MaxBackoff {
		d.n = 0
	}
	d.last = time.Now()
	d.n++
	return backoff(d.n - 1)
}
