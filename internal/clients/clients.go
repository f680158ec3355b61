// Package clients admits clients that stay connected, and gives their connections to event loops.
//
//	Enter → Serve → an event loop → the connection ends
//	      → Leave
//
// Each WebSocket, stream and waiting poll takes a [Place] while it lasts: one of --max-connections,
// one of its IP address, and one of its user. A WebSocket belongs to the user of the first token
// that it uses, which is known only later ([Users]); the others have a token from the beginning.
//
// Invariant: a place is given back once, however its client ends.
package clients

import (
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/listen"
	"github.com/ikornaselur/notiflux/internal/loop"
	"github.com/ikornaselur/notiflux/internal/quota"
	"github.com/ikornaselur/notiflux/internal/session"
	"github.com/ikornaselur/notiflux/internal/transport"
)

// A Loop is an event loop with the sessions of its connections.
type Loop struct {
	Loop  *loop.Loop
	Group *session.Group
}

// Config configures [New].
type Config struct {
	Slots      *listen.Slots
	Limiter    *listen.Limiter   // accepts the connections that Serve gets
	Scavenger  *listen.Scavenger // counts them
	Loops      []Loop            // used in turn; when a loop closes a connection, its loop.Config.Closed must release the slot and the connection
	PerAddress *quota.Open       // nil: no limit
	Users      *Users            // nil: no limit
	Log        *slog.Logger
}

// Clients admits clients. It is safe for concurrent use.
type Clients struct {
	config Config // immutable

	next atomic.Uint32 // index of the next client's loop, modulo the number of loops
}

// New returns Clients. Loops, Limiter and Scavenger are required for Serve.
func New(c Config) *Clients { return &Clients{config: c} }

// A Place is what an admitted client takes up.
type Place struct {
	clients *Clients
	remote  string
	claims  *auth.Claims // nil: none yet
}

// Enter admits a client from an address, with the claims of its token or nil. It fails with
// OverCapacity or TooMany. The caller calls Leave or Serve, once.
func (c *Clients) Enter(remote string, claims *auth.Claims) (*Place, error) {
	if err := c.config.PerAddress.Begin(remote); err != nil {
		return nil, err
	}
	if err := c.config.Users.begin(claims); err != nil {
		c.config.PerAddress.End(remote)
		return nil, err
	}
	p := &Place{c, remote, claims}
	if err := c.config.Slots.Acquire(); err != nil {
		p.end(nil)
		return nil, err
	}
	return p, nil
}

// Leave gives the place back.
func (p *Place) Leave() {
	p.clients.config.Slots.Release()
	p.end(nil)
}

// end gives back all but the slot. client is the one that was served, or nil.
func (p *Place) end(client loop.Client) {
	p.clients.config.PerAddress.End(p.remote)
	p.clients.config.Users.end(p.claims)
	if conn, ok := client.(session.Conn); ok {
		p.clients.config.Users.forget(conn)
	}
}

// Serve passes the connection of the client to the next loop, which calls newClient. early is the
// data that the client has already sent. The loop closes the connection at its end, which gives
// the place back. If the connection or the loop has already ended, Serve does both and returns
// false.
func (p *Place) Serve(nc net.Conn, early []byte, newClient func(*session.Group, transport.Socket, time.Duration) loop.Client) bool {
	c := &p.clients.config
	detached, err := c.Limiter.Detach(nc)
	if err != nil {
		nc.Close()
		p.Leave()
		c.Log.Debug("connection not handed over", "remote", p.remote, "err", err)
		return false
	}
	c.Scavenger.Connected()
	l := &c.Loops[int(p.clients.next.Add(1))%len(c.Loops)]
	served := l.Loop.Serve(detached, early, func(conn *loop.Conn, now time.Duration) loop.Client {
		var socket transport.Socket = conn
		if p.remote != conn.Remote() {
			socket = proxied{conn, p.remote}
		}
		return p.counted(func() loop.Client { return newClient(l.Group, socket, now) })
	})
	if !served {
		p.end(nil)
	}
	return served
}

// counted returns the client of newClient, which gives the place back when it is gone.
func (p *Place) counted(newClient func() loop.Client) loop.Client {
	if p.clients.config.PerAddress == nil && p.clients.config.Users == nil {
		return newClient()
	}
	c := counted{place: p}
	defer func() {
		if c.Client == nil { // newClient panicked
			p.end(nil)
		}
	}()
	c.Client = newClient()
	return c
}

// A counted client counts towards the limit of an address or a user.
type counted struct {
	loop.Client
	place *Place
}

// Gone implements [loop.Client].
func (c counted) Gone() {
	defer c.place.end(c.Client)
	c.Client.Gone()
}

// A proxied connection comes from a proxy that reports the address of its client.
type proxied struct {
	*loop.Conn
	remote string
}

// Remote returns the address of the client.
func (p proxied) Remote() string { return p.remote }
