// Package connect decides how and when a client connects to its server. A [Dialer] tries a
// WebSocket first. If something between the client and the server blocks WebSockets, the
// Dialer uses event streams for ten minutes, and then tries a WebSocket again. Both are a
// [Conn], so the client need not know which one it has.
//
// When a connection has ended, [Pause] says from the error whether and after how long the
// client may connect again, by the rules of docs/protocol.md (section 8). A [Pace] says when the
// next command may be sent.
//
// The package makes one attempt at a time and never sleeps on its own: the loop that connects
// again is the client's. It knows nothing of tokens and subscriptions.
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
	// blockedFor is for how long Dial uses event streams after a WebSocket was blocked:
	// the network seldom changes, and finding out can take seconds. Dial does not end a
	// connection by event streams that lasts longer.
	blockedFor = 10 * time.Minute
	// reachTimeout is above a slow network's answer and below a person's patience.
	reachTimeout = 10 * time.Second
)

// A Conn is a connection to the server: a WebSocket, or event streams that behave like one.
// One goroutine may call Read while another calls Write and Close. Close makes a blocked Read
// return, and returns when no goroutine of the connection is left. Packages socket and
// eventstream document the methods.
type Conn interface {
	Welcome() wire.Welcome
	Read() (*wire.Frame, error)
	Write(context.Context, *wire.Command) error
	Close(context.Context) error
}

// A Dialer makes connections to one server. It is safe for concurrent use.
type Dialer struct {
	// Immutable.
	Server *rest.Server
	Log    *slog.Logger

	// Guarded by mu.
	mu      sync.Mutex
	blocked time.Time // until then Dial does not try a WebSocket
}

// Dial makes one attempt to connect. It reports whether the connection is by event streams;
// such a connection has not sent anything yet. The error is that of the WebSocket, see
// [socket.Dial].
//
// There are three signs that WebSockets are blocked: the answer does not come from a notiflux
// server, the answer says that the handshake was changed on its way, or two handshakes in a
// row got no answer. A server that is starting shows the same signs. So Dial uses event
// streams only if the server answers a plain request and another handshake fails after that.
// All this takes up to 40 s.
func (d *Dialer) Dial(ctx context.Context) (c Conn, streams bool, err error) {
	if d.isBlocked() {
		if err := d.reach(ctx); err != nil {
			return nil, true, err
		}
		return d.streams(), true, nil
	}
	c, err = d.socket(ctx)
	if _, ok := errors.AsType[*wire.Interrupted](err); ok {
		c, err = d.socket(ctx)
	}
	if blocks(err) && d.reach(ctx) == nil {
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

// blocks reports whether a handshake that failed with err may have been blocked.
func blocks(err error) bool {
	if _, ok := errors.AsType[*wire.Interrupted](err); ok {
		return true
	}
	e, ok := errors.AsType[*wire.Status](err)
	switch {
	case !ok:
		return false
	case e.Code != "": // the server did not get the well-formed handshake that was sent
		return e.Code == wire.UpgradeRequired || e.Code == wire.Malformed
	}
	switch e.Status {
	case http.StatusUnauthorized, http.StatusProxyAuthRequired, http.StatusNotFound, http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return false // every other request would get the same answer
	}
	return e.Status < 300 || e.Status >= 400
}

// reach returns nil if a notiflux server answers a plain request. The request is for an event
// stream without a topic, which a server refuses.
func (d *Dialer) reach(ctx context.Context) error {
	_, err := d.Server.Ask(ctx, rest.Request{Method: http.MethodGet, Path: "events", Timeout: reachTimeout}, "")
	if err == nil {
		return wire.ErrProtocol
	}
	if e, ok := errors.AsType[*wire.Status](err); ok && e.Code == wire.Malformed {
		return nil
	}
	return err
}
