package transport

import (
	"cmp"
	"time"

	"github.com/ikornaselur/notiflux/internal/wire"
)

// A connection is what a [WebSocket] and a [Stream] have in common: whom they
// serve, and the way from open to gone.
type connection struct {
	// Immutable after Serve.
	cfg  *Config
	sock Socket
	app  App

	// Owned by the loop.
	deadline  time.Duration // of the phase, once it is not open; 0: set by the next tick
	phase     phase
	ended     bool   // the peer ended its sending side
	willClose bool   // the client has less time than StallTimeout
	writing   source // of what Next returned last
}

// A phase is how far a connection is on its way from open to gone. It never
// goes back.
type phase uint8

const (
	open      phase = iota
	closing         // the last bytes, a close frame or a goodbye, wait to be written
	finishing       // of a WebSocket: the close frame is the last of out
	lingering       // everything is written; waiting for the peer's end
	dropped         // the loop was told to close the socket
	gone
)

// A source is where bytes to write come from.
type source uint8

const (
	nothing source = iota
	own            // from the state machine itself
	application
)

// lingerTimeout is how long the client may take to end after the last byte of the
// server. Then the connection is dropped.
const lingerTimeout = time.Second

// Serve sets whom the connection is for.
func (c *connection) Serve(app App) {
	c.app = app
}

// Closing reports whether the end has begun: nothing is received any more, and
// nothing new is written.
func (c *connection) Closing() bool { return c.phase != open }

// Dirty says that the application has something to write.
func (c *connection) Dirty() { c.sock.Dirty() }

// Resume says that the application is not busy any more.
func (c *connection) Resume() { c.sock.Resume() }

// Post has f called on the loop, see [Socket].
func (c *connection) Post(f func()) bool { return c.sock.Post(f) }

// Remote returns the address of the peer, for the log.
func (c *connection) Remote() string { return c.sock.Remote() }

// Arm asks for a tick, and so for [App.Tick], at that time or earlier.
func (c *connection) Arm(at time.Duration) { c.sock.Arm(at) }

// Blocked reports, in [App.Tick], whether the socket was offered bytes and takes
// none at this moment.
func (c *connection) Blocked() bool { return c.sock.Blocked() }

// WillClose says that the application ends the connection once everything is
// written. From now on a client that takes nothing has the time that a close
// frame has, and is then dropped.
func (c *connection) WillClose() { c.willClose = true }

// Gone says that the socket is closed. Whatever follows the first call does
// nothing.
func (c *connection) Gone() {
	if c.phase == gone {
		return
	}
	if c.phase == open {
		c.cfg.Stats.closed(CloseAbnormal)
	}
	c.phase, c.writing = gone, nothing
	c.app.Gone()
}

// begin begins the end, and reports whether it had not begun before. counted is
// what it counts as.
func (c *connection) begin(counted wire.CloseCode) bool {
	if c.phase != open {
		return false
	}
	c.cfg.Stats.closed(counted)
	c.phase, c.deadline = closing, 0
	c.sock.Arm(0) // the next tick knows the time, and so the deadline
	c.sock.Dirty()
	return true
}

// checkStall ends a connection whose client reads nothing. What the client sends
// meanwhile is no sign that it reads.
func (c *connection) checkStall() {
	limit := cmp.Or(c.cfg.StallTimeout, DefaultStallTimeout)
	if c.willClose {
		limit = cmp.Or(c.cfg.CloseTimeout, DefaultCloseTimeout)
	}
	if limit < 0 || c.sock.Stalled() < limit {
		return
	}
	c.app.Stuck()
	if c.willClose {
		c.drop()
	}
}

// readEnd takes the end of the peer's sending side. counted is what it counts
// as if it is the beginning of the end.
func (c *connection) readEnd(counted wire.CloseCode) {
	c.ended = true
	if c.phase == closing || c.phase == finishing {
		return // it may still read why: dropped when that is written, or in time
	}
	if c.phase == open {
		c.cfg.Stats.closed(counted)
	}
	c.drop()
}

// linger ends our side after the last byte, and leaves the client the time to
// read it: closing a socket with unread input would make the kernel discard
// what the client has not got yet.
func (c *connection) linger() {
	if c.ended {
		c.drop()
		return
	}
	c.phase, c.deadline = lingering, 0
	c.sock.CloseWrite()
	c.sock.Arm(0)
}

// checkEnd drops a connection that overstays a phase of its end.
func (c *connection) checkEnd(now time.Duration) (next time.Duration) {
	if c.phase >= dropped {
		return Never
	}
	if c.deadline == 0 {
		limit := cmp.Or(c.cfg.CloseTimeout, DefaultCloseTimeout)
		if c.phase == lingering {
			limit = lingerTimeout
		}
		c.deadline = after(now, limit)
	}
	if now >= c.deadline {
		c.drop()
		return Never
	}
	return c.deadline
}

func (c *connection) drop() {
	if c.phase < dropped {
		c.phase = dropped
		c.sock.Drop()
	}
}
