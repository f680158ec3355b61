package listen

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/ikornaselur/notiflux/internal/forwarded"
)

const (
	// spareTime limits how long a spare connection may take for its request and the answer.
	// silentTime limits the head of the request, because clients that connect and send
	// nothing would otherwise block others for a second each.
	spareTime  = time.Second
	silentTime = spareTime / 10
)

// A Config configures [New]. Max and Log are required.
type Config struct {
	Max     int          // maximum number of connections
	Spare   int          // number of connections above Max, each for one request of at most a second
	Passed  bool         // another process shares the listener, and serves its queue later
	Log     *slog.Logger // for warnings
	Setting string       // the setting that determines Max, for warnings

	// Proxies begin each connection with a header of the PROXY protocol. Nil means that there
	// are none.
	Proxies      forwarded.Proxies
	ProxySetting string // the setting that turns this on, for warnings
}

// A Limiter is a [net.Listener] that counts its connections and limits their number.
// net/http reports which of them are idle ([Limiter.ConnState]). It is safe for concurrent
// use.
type Limiter struct {
	// Immutable after New.
	Listener
	config Config
	start  time.Time

	full, failed     warning
	headless, forged warning // see proxied.go
	draining         atomic.Bool
	closed           chan struct{} // closed when the listener closes
	close            func() error  // closes the listener once

	mu sync.Mutex
	// Guarded by mu.
	changed sync.Cond          // a connection has ended, or the Limiter is draining or closed
	open    int                // connections other than spare ones
	spares  int                // spare connections
	conns   map[*conn]struct{} // connections that net/http has
	fresh   int                // how many of conns Drain waits for
	sweeper *time.Timer        // runs while the listener is crowded; otherwise nil
	out     bool               // the process has run out of descriptors since the last sweep
}

// A socket is a connection that the listener accepted, such as a [net.TCPConn].
type socket interface {
	net.Conn
	CloseWrite() error
}

// A conn is a connection that net/http serves.
type conn struct {
	socket

	// Immutable after admit.
	limiter *Limiter
	spare   *time.Timer // closes a spare connection when its time is over; nil: not spare
	proxied *proxied    // nil: no proxies are trusted to send a header

	// idle is when the last request ended, in nanoseconds after Limiter.start. 0 means that
	// a request is in progress or none has arrived yet; ending that the sweep closes the
	// connection.
	idle atomic.Int64

	// Guarded by limiter.mu.
	fresh bool // counted in limiter.fresh
}

// ending marks a connection that the sweep closes, even if a request arrives now.
const ending = -1

// New returns a Limiter for the connections of l. The Limiter owns l, and closes it.
func New(l Listener, c Config) *Limiter {
	m := &Limiter{Listener: l, config: c, start: time.Now(), closed: make(chan struct{}), conns: make(map[*conn]struct{})}
	m.changed.L = &m.mu
	m.close = sync.OnceValue(func() error {
		defer close(m.closed)
		return l.Close()
	})
	return m
}

// Accept waits for a connection. If the limit is reached, it also waits until fewer than
// Config.Spare spare connections are open.
func (l *Limiter) Accept() (net.Conn, error) {
	for {
		if l.draining.Load() && !l.isQueued() {
			l.Close()
			return nil, net.ErrClosed
		}
		c, err := l.Listener.Accept()
		switch {
		case err == nil:
			return l.admit(c.(socket)), nil
		case errors.Is(err, os.ErrDeadlineExceeded): // set by Drain
		case errors.Is(err, net.ErrClosed):
			return nil, err
		default:
			l.crowded(true)
			if l.failed.due() {
				l.config.Log.Warn("accepting a connection failed; if the process is out of file descriptors, raise the limit (ulimit -n, or LimitNOFILE= in systemd)", "err", err)
			}
			return nil, err // net/http tries again
		}
	}
}

// admit counts a connection. It blocks while the listener is full.
func (l *Limiter) admit(s socket) *conn {
	c := &conn{socket: s, limiter: l}
	if l.config.Proxies != nil {
		c.proxied = new(proxied)
	}
	limitUnsent(c)
	l.mu.Lock()
	for l.open >= l.config.Max && l.spares >= l.config.Spare && !l.draining.Load() {
		l.changed.Wait()
	}
	spare := l.open >= l.config.Max
	if spare {
		l.spares++
		c.spare = time.AfterFunc(silentTime, func() { c.Close() })
	} else {
		l.open++
	}
	l.conns[c] = struct{}{}
	if l.draining.Load() {
		c.fresh = true
		l.fresh++
	}
	l.mu.Unlock()
	l.crowded(spare)
	if spare && l.full.due() {
		l.config.Log.Warn("connection limit reached; only health checks are accepted", "limit", l.config.Max, "setting", l.config.Setting)
	}
	return c
}

// Close closes the connection. Its owner, net/http or a loop, calls it.
func (c *conn) Close() error {
	c.limiter.end(c)
	discard(c)
	return c.socket.Close()
}

// SyscallConn returns access to the socket's descriptor, if it has one.
func (c *conn) SyscallConn() (syscall.RawConn, error) {
	if of, ok := c.socket.(syscall.Conn); ok {
		return of.SyscallConn()
	}
	return nil, errors.ErrUnsupported
}

// end stops counting a connection, unless net/http no longer has it.
func (l *Limiter) end(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.forgetLocked(c) {
		return
	}
	if c.spare != nil {
		c.spare.Stop()
		l.spares--
	} else {
		l.open--
	}
	l.changed.Broadcast()
}

// forgetLocked removes c from the connections that net/http has, and reports whether c was
// one of them.
func (l *Limiter) forgetLocked(c *conn) bool {
	if _, ok := l.conns[c]; !ok {
		return false
	}
	delete(l.conns, c)
	if c.fresh {
		c.fresh = false
		l.fresh--
	}
	return true
}

// errEnded means that a connection cannot be detached, because the sweep has closed it or
// it is spare.
var errEnded = errors.New("the connection has ended")

// Detach takes a connection from net/http for an event loop. nc is the connection that
// net/http passed to its handler. The loop must serve the result instead, because it gives
// epoll access to the descriptor, if there is one. The connection counts until Release. If
// nc was not accepted here, for example because it is made from an HTTP/2 response, it now
// counts as one more connection.
//
// Detach fails if the connection has ended or is spare. The caller must then close nc.
func (l *Limiter) Detach(nc net.Conn) (net.Conn, error) {
	c := connOf(nc)
	l.mu.Lock()
	defer l.mu.Unlock()
	if c == nil {
		l.open++
		return nc, nil
	}
	if c.spare != nil || c.idle.Load() == ending || !l.forgetLocked(c) {
		return nil, errEnded
	}
	l.changed.Broadcast()
	if b, ok := nc.(buffering); ok && b.Buffered() == 0 {
		nc = b.NetConn()
	}
	if nc == net.Conn(c) {
		return c.socket, nil // the type that epoll knows
	}
	return nc, nil
}

// A buffering connection wraps another one, from which it may have read more bytes than it
// has returned.
type buffering interface {
	NetConn() net.Conn
	Buffered() int
}

// Release stops counting a detached connection. Call it once for each, after it has ended.
func (l *Limiter) Release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open--
	l.changed.Broadcast()
}

// Count returns the number of open connections.
func (l *Limiter) Count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.open + l.spares
}

// Close closes the listener. The system then refuses the connections in its queue, unless
// another process shares the listener.
func (l *Limiter) Close() error {
	err := l.close()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sweeper != nil {
		l.sweeper.Stop()
	}
	l.changed.Broadcast()
	return err
}

// connOf returns the conn that nc is or wraps, or nil.
func connOf(nc net.Conn) *conn {
	if wrapper, ok := nc.(interface{ NetConn() net.Conn }); ok { // such as a *tls.Conn
		nc = wrapper.NetConn()
	}
	c, _ := nc.(*conn)
	return c
}

// ConnState is for [http.Server.ConnState].
func (l *Limiter) ConnState(nc net.Conn, state http.ConnState) {
	c := connOf(nc)
	if c == nil {
		return
	}
	switch state {
	case http.StateIdle:
		c.setIdle(int64(time.Since(l.start)))
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

// ConnContext is for [http.Server.ConnContext].
func (l *Limiter) ConnContext(ctx context.Context, nc net.Conn) context.Context {
	if c := connOf(nc); c != nil && c.spare != nil {
		return context.WithValue(ctx, spareKey{}, true)
	}
	return ctx
}

// IsSpare reports whether a request came on a spare connection.
func IsSpare(r *http.Request) bool { return r.Context().Value(spareKey{}) != nil }
