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
	// The n-th attempt waits for a random part of backoffBase·2ⁿ, at most of
	// MaxBackoff: clients that were cut off together do not come back together
	// (docs/protocol.md, section 8).
	backoffBase = 500 * time.Millisecond
	MaxBackoff  = 30 * time.Second
	// maxAfter bounds for how long a server can send a client away.
	maxAfter = 5 * time.Minute
)

// Close codes of docs/protocol.md that RFC 6455 does not have.
const (
	closeDisconnected websocket.StatusCode = 4003
	closeIdle         websocket.StatusCode = 4009
	closeSilent       websocket.StatusCode = 4201
	closeTooSlow      websocket.StatusCode = 4202
)

// Backoff returns how long to wait before an attempt; 0 is the first.
func Backoff(attempt int) time.Duration {
	return rand.N(min(backoffBase<<min(attempt, 10), MaxBackoff))
}

// Bounded returns for how long a client stays away that a server sent away.
func Bounded(after time.Duration) time.Duration { return max(0, min(after, maxAfter)) }

// IsIdle reports whether err is that the server saw no command on a connection.
func IsIdle(err error) bool {
	e, ok := errors.AsType[*wire.Close](err)
	return ok && websocket.StatusCode(e.Code) == closeIdle
}

// Pause returns how long to wait after err before an attempt, whose number counts from 0
// since a connection was steady; false: the client is not to come back.
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
	case websocket.StatusProtocolError, websocket.StatusUnsupportedData, websocket.StatusInvalidFramePayloadData,
		websocket.StatusMessageTooBig, closeDisconnected, closeIdle:
		return 0, false
	case closeSilent, closeTooSlow:
		attempt = 0 // at once
	}
	if e.Bye == "too_slow" {
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
