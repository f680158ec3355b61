package client

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/coder/websocket"

	"github.com/ikornaselur/notiflux/internal/pubsub"
)

const (
	// The n-th attempt waits for a random part of backoffBase·2ⁿ, at most of
	// backoffMost: clients that were cut off together do not come back together
	// (docs/protocol.md, section 8).
	backoffBase = 500 * time.Millisecond
	backoffMost = 30 * time.Second
	// steady is how long a connection must have held for the next attempt to be
	// the first: as long as the longest wait.
	steady = backoffMost
	// mostAfter bounds for how long a server can send a client away.
	mostAfter = 5 * time.Minute
)

// backoff returns how long to wait before an attempt; 0 is the first.
func backoff(attempt int) time.Duration {
	return rand.N(min(backoffBase<<min(attempt, 10), backoffMost))
}

// Close codes of docs/protocol.md that RFC 6455 does not have.
const (
	closeDisconnected websocket.StatusCode = 4003
	closeIdle         websocket.StatusCode = 4009
	closeSilent       websocket.StatusCode = 4201
	closeTooSlow      websocket.StatusCode = 4202
)

// run keeps the client connected until ctx ends or a server says not to come
// back. It is one goroutine, and serve starts one more that it waits for.
func (c *Client) run(ctx context.Context, s *session) {
	defer close(c.done)
	defer c.cancel()
	err := c.keep(ctx, s)
	c.log.Debug("client ended", "error", err)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = err
}

// keep serves one session after the other, and returns why there is no next one.
func (c *Client) keep(ctx context.Context, s *session) error {
	attempt := 0
	for {
		began := time.Now()
		err := c.serve(ctx, s)
		if ctx.Err() != nil {
			return ErrClosed
		}
		if time.Since(began) >= steady {
			attempt = 0
		}
		if e, ok := errors.AsType[*CloseError](err); ok && e.Code == int(closeIdle) && s.unused() {
			err = errUnused
		}
		ended := s
		for s = nil; s == nil; attempt++ {
			wait, ok := c.pause(err, attempt)
			if !ok {
				return err
			}
			if ended != nil && ended.opened.Load() {
				c.announce(ended, err)
			}
			ended = nil
			c.log.Info("connecting again", "error", err, "wait", wait)
			if !sleep(ctx, wait) || !c.needed(ctx) {
				return ErrClosed
			}
			if s, err = c.connect(ctx); ctx.Err() != nil {
				if s != nil {
					s.end()
				}
				return ErrClosed
			}
		}
	}
}

// errUnused is why a session ends in which there was nothing to do.
var errUnused = errors.New("the connection was not used")

// unused reports whether the server may have seen no command for the reason that
// none has reached it yet.
func (s *session) unused() bool { return s.first.IsZero() || time.Since(s.first) < writeTimeout }

// pause returns how long to wait after err before an attempt, whose number
// counts from 0 since a connection was steady; false: there is to be none.
func (c *Client) pause(err error, attempt int) (time.Duration, bool) {
	if errors.Is(err, errProtocol) || errors.Is(err, websocket.ErrMessageTooBig) {
		return 0, false
	}
	if err == errUnused {
		return 0, true
	}
	if e, ok := errors.AsType[*StatusError](err); ok {
		later := e.Status >= 500 || e.Status == http.StatusTooManyRequests
		return max(min(e.After, mostAfter), 0) + c.delay(attempt), later
	}
	e, ok := errors.AsType[*CloseError](err)
	if !ok {
		return c.delay(attempt), true
	}
	after := max(min(e.After, mostAfter), 0)
	switch websocket.StatusCode(e.closeCode()) {
	case websocket.StatusProtocolError, websocket.StatusUnsupportedData, websocket.StatusInvalidFramePayloadData,
		websocket.StatusMessageTooBig, closeDisconnected, closeIdle:
		return 0, false
	case closeSilent, closeTooSlow:
		attempt = 0 // at once
	}
	return max(after, c.delay(attempt)), true
}

// closeCode returns the code of a close, or that which an event stream's end would have.
func (e *CloseError) closeCode() int {
	switch {
	case e.Code != 0:
	case e.Bye == pubsub.Draining:
		return int(websocket.StatusServiceRestart)
	case e.Bye == pubsub.TooSlow:
		return int(closeTooSlow)
	}
	return e.Code
}

// sleep waits, and reports whether ctx still holds.
func sleep(ctx context.Context, wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// needed waits until there is a subscription, and reports whether ctx still
// holds.
func (c *Client) needed(ctx context.Context) bool {
	for {
		c.mu.Lock()
		n := len(c.subscriptions)
		c.mu.Unlock()
		if n > 0 {
			return true
		}
		select {
		case <-c.wake:
		case <-ctx.Done():
			return false
		}
	}
}

// announce tells each subscriber that a session has ended. It waits for none:
// one that has not seen the last cut sees both as one.
func (c *Client) announce(s *session, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	told := map[*subscriber]bool{}
	for _, i := range c.subscriptions {
		if told[i.by] {
			continue
		}
		told[i.by] = true
		select {
		case i.by.cuts <- cut{s.number, err}:
		default:
		}
	}
}
