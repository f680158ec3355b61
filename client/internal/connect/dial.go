// Package connect connects to a server over a WebSocket or, if something between client and
// server blocks WebSockets, by event streams. It also says when to connect again.
package connect

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/ikornaselur/notiflux/client/internal/eventstream"
	"github.com/ikornaselur/notiflux/client/internal/rest"
	"github.com/ikornaselur/notiflux/client/internal/socket"
	"github.com/ikornaselur/notiflux/client/internal/wire"
)

const (
	// blockedFor is how long no WebSocket is tried after one was blocked: what is
	// between client and server seldom changes, and to find out may take seconds. A
	// connection by event streams that holds longer is not given up for it.
	blockedFor = 10 * time.Minute
	// reachTimeout is above a slow network's answer and below a person's patience.
	reachTimeout = 10 * time.Second
)

// A Conn is a connection to the server: a WebSocket, or event streams that behave like one.
// One goroutine reads and one writes. Close ends a Read that is blocked, and returns when
// no goroutine of the connection is left.
type Conn interface {
	Welcome() wire.Welcome
	Read() (*wire.Frame, error)
	Write(context.Context, *wire.Command) error
	Close(context.Context) error
}

// A Dialer makes connections to one server. It is safe for concurrent use.
type Dialer struct {
	Server *rest.Server
	Log    *slog.Logger

	mu      sync.Mutex
	blocked time.Time // until then no WebSocket is tried; guarded by mu
}

// Dial connects once, and reports whether by event streams: then it has not sent anything
// yet. These are the signs that WebSockets are blocked: an answer that is not one of a
// notiflux server, or that says that the handshake was changed on its way, or two
// handshakes in a row without an answer. A server that is just starting gives them as well,
// so they only count if the server answers a plain request, and a handshake after that
// fails likewise.
func (d *Dialer) Dial(ctx context.Context) (c Conn, streams bool, err error) {
	if d.isBlocked() {
		return d.streams(), true, nil
	}
	c, err = d.socket(ctx)
	if _, ok := errors.AsType[*wire.Interrupted](err); ok {
		c, err = d.socket(ctx)
	}
	if blocks(err) && d.reachable(ctx) {
		if c, err = d.socket(ctx); blocks(err) {
			d.Log.Info("using event streams", "error", err)
			d.block()
			return d.streams(), true, nil
		}
	}
	return c, false, err
}

func (d *Dialer) socket(ctx context.Context) (Conn, error) {
	c, err := socket.Dial(ctx, d.Server.HTTP, d.Server.Base)
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (d *Dialer) streams() Conn { return eventstream.New(d.Server) }

func (d *Dialer) isBlocked() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return time.Now().Before(d.blocked)
}

func (d *Dialer) block() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.blocked = time.Now().Add(blockedFor)
}

// blocks reports whether something between client and server may be why a handshake
// failed.
func blocks(err error) bool {
	if _, ok := errors.AsType[*wire.Interrupted](err); ok {
		return true
	}
	e, ok := errors.AsType[*wire.Status](err)
	switch {
	case !ok:
		return false
	case e.Code != "": // the client sent an upgrade, and it was well-formed
		return e.Code == "upgrade_required" || e.Code == "malformed"
	}
	switch e.Status {
	case http.StatusUnauthorized, http.StatusProxyAuthRequired, http.StatusNotFound, http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return false // any other request would get the same answer
	}
	return e.Status < 300 || e.Status >= 400
}

// reachable reports whether a notiflux server answers a plain request: it refuses a
// stream without a topic.
func (d *Dialer) reachable(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	_, err := d.Server.Ask(ctx, rest.Request{Method: http.MethodGet, Path: "events"}, "")
	e, ok := errors.AsType[*wire.Status](err)
	return ok && e.Code == "malformed"
}
