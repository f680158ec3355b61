package client

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// blockedFor is how long no WebSocket is tried after one was blocked: what stands
// between seldom changes, and to find out may take seconds. A connection by event
// streams that holds longer is not given up for it.
const blockedFor = 10 * time.Minute

// An interruption is the end of a handshake that was begun and got no answer, or
// of a connection right after it.
type interruption struct{ err error }

func (e *interruption) Error() string { return e.err.Error() }
func (e *interruption) Unwrap() error { return e.err }

// connect opens a session: over a WebSocket, or by event streams if something
// between here and the server lets none through. What tells is an answer that is
// none of a notiflux server's, one which says that the handshake has been changed
// on its way, or that twice in a row a handshake came to no end; that the server
// itself can be reached; and that it is no better after that, for a server that was
// starting gives the same signs.
func (c *Client) connect(ctx context.Context) (*session, error) {
	if time.Now().Before(c.blocked) {
		return c.opened(&session{}), nil
	}
	s, err := c.dialSocket(ctx)
	if _, ok := errors.AsType[*interruption](err); ok {
		s, err = c.dialSocket(ctx)
	}
	if blocks(err) && c.reachable(ctx) {
		if s, err = c.dialSocket(ctx); blocks(err) {
			c.log.Info("using event streams", "error", err)
			c.blocked = time.Now().Add(blockedFor)
			return c.opened(&session{}), nil
		}
	}
	if err == nil {
		return c.opened(s), nil
	}
	if e, ok := errors.AsType[*interruption](err); ok {
		return nil, e.err
	}
	return nil, err
}

// opened numbers a session.
func (c *Client) opened(s *session) *session {
	c.sessions++
	s.number = c.sessions
	return s
}

// blocks reports whether a handshake may have failed for something that stands
// between.
func blocks(err error) bool {
	if _, ok := errors.AsType[*interruption](err); ok {
		return true
	}
	e, ok := errors.AsType[*StatusError](err)
	switch {
	case !ok:
		return false
	case e.Err != nil: // what was sent was well-formed, and an upgrade
		return e.Err.Code == pubsub.UpgradeRequired || e.Err.Code == pubsub.Malformed
	}
	switch e.Status {
	case http.StatusUnauthorized, http.StatusProxyAuthRequired, http.StatusNotFound, http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return false // this is said about every request
	}
	return e.Status < 300 || e.Status >= 400
}

// reachable reports whether a notiflux server answers to what is no upgrade: it
// refuses a stream without a topic.
func (c *Client) reachable(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	_, err := c.exchange(ctx, request{method: http.MethodGet, path: "events"}, "")
	e, ok := errors.AsType[*StatusError](err)
	return ok && e.Err != nil && e.Err.Code == pubsub.Malformed
}
