package httpapi

import (
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"github.com/ikornaselur/notiflux/internal/listen"
	"github.com/ikornaselur/notiflux/internal/loop"
	"github.com/ikornaselur/notiflux/internal/session"
)

// A Loop is an event loop, and the sessions of its connections.
type Loop struct {
	Loop  *loop.Loop
	Group *session.Group
}

// clients lets clients in that stay: WebSockets and streams. Each has a slot, and its
// connection lives on a loop. Safe for concurrent use.
type clients struct {
	// Immutable after New.
	slots     *listen.Slots
	limiter   *listen.Limiter
	scavenger *listen.Scavenger
	loops     []Loop
	ready     func() error
	log       *slog.Logger

	next atomic.Uint32 // the loop of the next client, modulo their number
}

// admit takes a slot for a client, unless the server shuts down: a shutdown waits for
// the clients that have one.
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

// serve gives the connection of an admitted client to the next loop. early is what the
// client sent already. newClient runs on that loop. If the connection or the loop has
// ended, serve closes the connection, gives the slot back and returns false; otherwise the
// loop does that, at the end of the connection.
func (c *clients) serve(nc net.Conn, early []byte, newClient func(*session.Group, *loop.Conn, time.Duration) loop.Client) bool {
	detached, err := c.limiter.Detach(nc)
	if err != nil {
		nc.Close()
		c.slots.Release()
		c.log.Debug("connection not handed over", "remote", nc.RemoteAddr(), "err", err)
		return false
	}
	c.scavenger.Connected()
	l := &c.loops[int(c.next.Add(1))%len(c.loops)]
	return l.Loop.Serve(detached, early, func(conn *loop.Conn, now time.Duration) loop.Client {
		return newClient(l.Group, conn, now)
	})
}
