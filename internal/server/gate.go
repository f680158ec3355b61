package server

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/ikornaselur/notiflux/internal/config"
)

const (
	// spareConnections are taken past the limit, each for one request: health checks
	// are answered, others are told that the server is full. A connection more may
	// wait for one of them to end.
	spareConnections = config.SpareDescriptors/2 - 1
	// spareTime is how long such a connection may take for its request and the answer,
	// silentTime for the head of the request: clients that connect and say nothing
	// would keep out the others for a second each.
	spareTime  = time.Second
	silentTime = spareTime / 10
	// adminConnections is how many the admin listener has at once. One more may wait.
	adminConnections = config.SpareDescriptors/2 - 1

	// crowdedIdle is how long an HTTP connection may be idle while fewer than a tenth
	// of the connections are free.
	crowdedIdle = 5 * time.Second
	// crowdedEvery is how often idle connections are looked for then.
	crowdedEvery = time.Second
	// settleTime is how long a shutdown waits for requests that are on their way: on a
	// connection that is new, or that had a request in as short a time before. A
	// publisher that sends less often than that finds its connection closed between
	// two requests.
	settleTime = time.Second
)

// gateConfig is what a gate is made of.
type gateConfig struct {
	most   int  // connections at once
	spare  int  // connections past that, each for a second at most
	passed bool // another process has the listener too: what waits in its queue is the next server's
	log    *slog.Logger
	limit  string // the setting that most follows from, for warnings
}

// A gate is a listener that counts its connections and keeps them within a limit.
// net/http tells it which are idle ([gate.state]); those that a loop serves are
// counted on until [gate.leave]. Safe for concurrent use.
type gate struct {
	// Immutable after newGate.
	Listener
	config gateConfig
	start  time.Time

	full, failed occasion
	finishing    atomic.Bool
	closed       chan struct{} // closed with the listener
	close        func() error  // once

	mu sync.Mutex
	// Guarded by mu.
	changed sync.Cond          // a connection has ended, or the gate closes
	open    int                // connections but the spare ones
	spares  int                // those past the limit
	conns   map[*conn]struct{} // connections that net/http has
	fresh   int                // of these, those that a shutdown waits for
	sweeper *time.Timer        // runs while few are free; nil: many are
	out     bool               // descriptors have run out since the last sweep
}

// A socket is what the listener accepts, a [net.TCPConn].
type socket interface {
	net.Conn
	CloseWrite() error
}

// A conn is a connection of net/http.
type conn struct {
	socket

	// Immutable after admit.
	gate  *gate
	spare *time.Timer // ends a connection past the limit; nil: within it

	// idle is since when no request is under way, by the gate's clock. 0: one is, or none
	// came yet; ending: the sweep closes the connection.
	idle atomic.Int64

	// Guarded by gate.mu.
	fresh bool // counted in gate.fresh
}

// ending marks a connection that the sweep closes, whatever comes on it now.
const ending = -1

func newGate(l Listener, c gateConfig) *gate {
	g := &gate{Listener: l, config: c, start: time.Now(), closed: make(chan struct{}), conns: make(map[*conn]struct{})}
	g.changed.L = &g.mu
	g.close = sync.OnceValue(func() error {
		defer close(g.closed)
		return l.Close()
	})
	return g
}

// Accept waits for a connection. Past the limit it waits for a spare place too.
func (g *gate) Accept() (net.Conn, error) {
	for {
		if g.finishing.Load() && !g.waiting() {
			g.Close()
			return nil, net.ErrClosed
		}
		c, err := g.Listener.Accept()
		switch {
		case err == nil:
			return g.admit(c.(socket)), nil
		case errors.Is(err, os.ErrDeadlineExceeded): // of finish
		case errors.Is(err, net.ErrClosed):
			return nil, err
		default:
			g.crowded(true)
			if g.failed.due() {
				g.config.log.Warn("accepting a connection failed: if descriptors ran out, raise their limit (ulimit -n, LimitNOFILE= of systemd)", "err", err)
			}
			return nil, err // net/http tries again.
		}
	}
}

// admit counts a connection.
func (g *gate) admit(s socket) *conn {
	c := &conn{socket: s, gate: g}
	limitUnsent(c)
	g.mu.Lock()
	for g.open >= g.config.most && g.spares >= g.config.spare && !g.finishing.Load() {
		g.changed.Wait()
	}
	spare := g.open >= g.config.most
	if spare {
		g.spares++
		c.spare = time.AfterFunc(silentTime, func() { c.Close() })
	} else {
		g.open++
	}
	g.conns[c] = struct{}{}
	if g.finishing.Load() {
		c.fresh = true
		g.fresh++
	}
	g.mu.Unlock()
	g.crowded(spare)
	if spare && g.full.due() {
		g.config.log.Warn("no more connections are accepted, but for health checks", "limit", g.config.most, "setting", g.config.limit)
	}
	return c
}

// Close ends the connection for net/http, or for a loop that had it handed over.
func (c *conn) Close() error {
	c.gate.end(c)
	discard(c)
	return c.socket.Close()
}

// SyscallConn gives access to the descriptor of the socket, if it has one.
func (c *conn) SyscallConn() (syscall.RawConn, error) {
	if of, ok := c.socket.(syscall.Conn); ok {
		return of.SyscallConn()
	}
	return nil, errors.ErrUnsupported
}

// end forgets a connection that net/http had.
func (g *gate) end(c *conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.forgetLocked(c) {
		return
	}
	if c.spare != nil {
		c.spare.Stop()
		g.spares--
	} else {
		g.open--
	}
	g.changed.Broadcast()
}

// forgetLocked takes c off the connections of net/http, and reports whether it was
// among them.
func (g *gate) forgetLocked(c *conn) bool {
	if _, ok := g.conns[c]; !ok {
		return false
	}
	delete(g.conns, c)
	if c.fresh {
		c.fresh = false
		g.fresh--
	}
	return true
}

// errEnded is why a connection cannot be handed over: the sweep has closed it, or it is
// past the limit.
var errEnded = errors.New("the connection has ended")

// hand returns the connection of nc for a loop. It is counted until leave. A response
// over HTTP/2 that a loop serves counts as a connection of its own. On an error nothing
// is counted, and the caller closes nc.
func (g *gate) hand(nc net.Conn) (net.Conn, error) {
	c := connOf(nc)
	g.mu.Lock()
	defer g.mu.Unlock()
	if c == nil {
		g.open++
		return nc, nil
	}
	if c.spare != nil || c.idle.Load() == ending || !g.forgetLocked(c) {
		return nil, errEnded
	}
	g.changed.Broadcast()
	if nc == net.Conn(c) {
		return c.socket, nil // which epoll knows
	}
	return nc, nil
}

// leave says that a connection which was handed over has ended.
func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open--
	g.changed.Broadcast()
}

// count returns how many connections there are.
func (g *gate) count() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.open + g.spares
}

// connOf returns the conn that is or carries nc, nil if there is none.
func connOf(nc net.Conn) *conn {
	if secure, ok := nc.(*tls.Conn); ok {
		nc = secure.NetConn()
	}
	c, _ := nc.(*conn)
	return c
}

// state is for http.Server.ConnState.
func (g *gate) state(nc net.Conn, state http.ConnState) {
	c := connOf(nc)
	if c == nil {
		return
	}
	switch state {
	case http.StateIdle:
		c.setIdle(int64(time.Since(g.start)))
	case http.StateActive:
		c.setIdle(0)
		if c.spare != nil {
			c.spare.Reset(spareTime)
		}
	}
}

// setIdle sets idle, unless the connection is ending.
func (c *conn) setIdle(idle int64) {
	for {
		was := c.idle.Load()
		if was == ending || c.idle.CompareAndSwap(was, idle) {
			return
		}
	}
}

// spareKey marks the context of a spare connection.
type spareKey struct{}

// mark is for http.Server.ConnContext.
func (g *gate) mark(ctx context.Context, nc net.Conn) context.Context {
	if c := connOf(nc); c != nil && c.spare != nil {
		return context.WithValue(ctx, spareKey{}, true)
	}
	return ctx
}

// isSpare reports whether a request came on a connection past the limit.
func isSpare(r *http.Request) bool { return r.Context().Value(spareKey{}) != nil }

// crowded has idle connections closed early while few are free, or if descriptors
// have run out already.
func (g *gate) crowded(out bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.out = g.out || out
	if g.sweeper == nil && (g.out || g.crowdedLocked()) {
		g.sweeper = time.AfterFunc(crowdedEvery, g.sweep)
	}
}

// crowdedLocked reports whether fewer than a tenth of the connections are free.
func (g *gate) crowdedLocked() bool { return g.open > g.config.most-g.config.most/10 }

// sweep closes connections that are idle for long, the oldest first, until half of all
// are free: a tenth would be gone again with the next clients. It comes again while few
// are free.
func (g *gate) sweep() {
	for _, i := range g.idlest() {
		i.close()
	}
}

// An idler is a connection, and since when it was idle.
type idler struct {
	conn  *conn
	since int64
}

// close closes the connection, unless a request came on it in the meantime.
func (i idler) close() {
	if i.conn.idle.CompareAndSwap(i.since, ending) {
		i.conn.Close()
	}
}

// idlest returns the connections for the sweep.
func (g *gate) idlest() []idler {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.out && !g.crowdedLocked() || g.finishing.Load() {
		g.sweeper = nil
		return nil
	}
	excess := g.open - g.config.most/2
	if g.out {
		excess, g.out = max(excess, g.open/2), false
	}
	g.sweeper.Reset(crowdedEvery)
	before := int64(time.Since(g.start) - crowdedIdle)
	var idle []idler
	for c := range g.conns {
		if at := c.idle.Load(); at > 0 && at <= before && c.spare == nil {
			idle = append(idle, idler{c, at})
		}
	}
	slices.SortFunc(idle, func(a, b idler) int { return cmp.Compare(a.since, b.since) })
	return idle[:min(excess, len(idle))]
}

// Close closes the listener. Connections that wait in its queue are refused by the
// system, unless another process has the listener too.
func (g *gate) Close() error {
	err := g.close()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.sweeper != nil {
		g.sweeper.Stop()
	}
	g.changed.Broadcast()
	return err
}

// finish closes the listener once the connections in its queue are taken, so that
// none of their clients is refused, and waits until the requests on new and busy
// connections have come and are answered: for settleTime each, and within ctx.
func (g *gate) finish(ctx context.Context) {
	recent := int64(time.Since(g.start) - settleTime)
	g.mu.Lock()
	g.finishing.Store(true)
	for c := range g.conns {
		if at := c.idle.Load(); at == 0 || at > recent {
			c.fresh = true
			g.fresh++
		}
	}
	g.changed.Broadcast()
	g.mu.Unlock()

	emptying, stop := context.WithTimeout(ctx, settleTime)
	defer stop()
	if !g.config.passed {
		_ = g.SetDeadline(time.Unix(1, 0)) // Wakes Accept; fails only if the listener is closed.
		select {
		case <-g.closed:
		case <-emptying.Done():
		}
	}
	g.Close()
	settling, stop := context.WithTimeout(ctx, settleTime)
	defer stop()
	defer context.AfterFunc(settling, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.changed.Broadcast()
	})()
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.fresh > 0 && settling.Err() == nil {
		g.changed.Wait()
	}
}

// waiting reports whether there are connections in the queue of the listener, and
// then has Accept take one.
func (g *gate) waiting() bool {
	if g.config.passed || !queued(g.Listener) {
		return false
	}
	return g.SetDeadline(time.Now().Add(settleTime)) == nil
}

// An occasion is for a warning that is worth logging once in a while.
type occasion struct {
	last atomic.Int64 // when it was logged, in Unix seconds; 0: never
}

// occasionEvery is how often.
const occasionEvery = time.Minute

// due reports whether the warning should be logged now.
func (o *occasion) due() bool {
	now, last := time.Now().Unix(), o.last.Load()
	if last != 0 && now-last < int64(occasionEvery/time.Second) {
		return false
	}
	return o.last.CompareAndSwap(last, now)
}
