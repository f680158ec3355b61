package httpapi

import (
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"github.com/ikornaselur/notiflux/internal/listen"
	"github.com/ikornaselur/notiflux/internal/loop"
	"github.com/ikornaselur/notiflux/internal/session"
	"github.com/ikornaselur/notiflux/internal/transport"
)

// A Loop is an event loop with the sessions of its connections.
type Loop struct {
	Loop  *loop.Loop
	Group *session.Group
}

// clients admits clients that stay connected: WebSockets and streams. Each has a slot, and
// a loop serves its connection. It is safe for concurrent use.
type clients struct {
	// Immutable after New.
	slots     *listen.Slots
	limiter   *listen.Limiter
	scavenger *listen.Scavenger
	loops     []Loop
	ready     func() error
	log       *slog.Logger

	next atomic.Uint32 // index of the next client's loop, modulo the number of loops
}

// admit takes a slot for a client, unless the server is shutting down: shutdown waits for
// all clients with a slot.
func (c *clients) admit() error {
	if err := c.slots.Acquire(); err != nil {
		return err
	}
	if err := c.ready(); err != nil {
		c.slots.Release()
		return err
	}
	return nil
}

// serve passes the connection of an admitted client to the next loop, which calls
// newClient. remote is the address of the client; early is the data that it has already sent. The loop closes the
// connection at its end, and the slot is released. If the connection or the loop has
// already ended, serve does both and returns false.
func (c *clients) serve(nc net.Conn, remote string, early []byte, newClient func(*session.Group, transport.Socket, time.Duration) loop.Client) bool {
	detached, err := c.limiter.Detach(nc)
	if err != nil {
		nc.Close()
		c.slots.Release()
		c.log.Debug("connection not handed over", "remote", remote, "err", err)
		return false
	}
	c.scavenger.Connected()
	l := &c.loops[int(c.next.Add(1))%len(c.loops)]
	return l.Loop.Serve(detached, early, func(conn *loop.Conn, now time.Duration) loop.Client {
		if remote != conn.Remote() {
			return newClient(l.Group, proxied{conn, remote}, now)
		}
		return newClient(l.Group, conn, now)
	})
}

// A proxied connection comes from a proxy that reports the address of its client.
type proxied struct {
	*loop.Conn
	remote string
}

// Remote returns the address of the client.
func (p proxied) Remote() string { return p.remote }
