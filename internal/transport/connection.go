package transport

import (
	"cmp"
	"time"

	"github.com/ikornaselur/notiflux/internal/wire"
)

// A connection is the common part of a [WebSocket] and a [Stream]: the application that it
// serves, and its phases from open to gone.
type connection struct {
	// Immutable after Serve.
	cfg  *Config
	sock Socket
	app  App

	// Owned by the loop.
	deadline  time.Duration // of the current phase, once it is not open; 0: the next tick sets it
	phase     phase
	ended     bool   // the peer has ended its sending side
	willClose bool   // the client has less time than StallTimeout
	writing   source // of the last result of Next
}

// A phase is how far a connection is on its way from open to gone. Phases never go back.
type phase uint8

const (
	open      phase = iota
	closing         // the last bytes, a close frame or a goodbye, wait to be written
	finishing       // only for WebSockets: the close frame is the last of the queued control frames
	lingering       // everything is written; waiting until the peer ends its side
	dropped         // the loop was asked to close the socket
	gone
)

// A source is the origin of bytes to write.
type source uint8

const (
	nothing source = iota
	own            // from the state machine
	application
)

// lingerTimeout is how long the client may take to end its side after the server's last
// byte. Then the connection is dropped.
const lingerTimeout = time.Second

// Serve sets the application of the connection.
func (c *connection) Serve(app App) {
	c.app = app
}

// Closing reports whether the connection is closing: messages are no longer received, and
// no new ones are written.
func (c *connection) Closing() bool { return c.phase != open }

// Dirty says that the application has something to write.
func (c *connection) Dirty() { c.sock.Dirty() }

// Resume says that the application is no longer busy.
func (c *connection) Resume() { c.sock.Resume() }

// Post calls f on the loop; see [Socket].
func (c *connection) Post(f func()) bool { return c.sock.Post(f) }

// Remote returns the address of the peer, for the log.
func (c *connection) Remote() string { return c.sock.Remote() }

// Arm asks for a tick, and so for [App.Tick], at that time or earlier.
func (c *connection) Arm(at time.Duration) { c.sock.Arm(at) }

// Blocked reports, during [App.Tick], whether the socket was offered bytes and accepts none
// now.
func (c *connection) Blocked() bool { return c.sock.Blocked() }

// WillClose says that the application ends the connection once everything is written. From
// now on a client that takes no bytes is dropped after CloseTimeout.
func (c *connection) WillClose() { c.willClose = true }

// Gone says that the socket is closed. Calls after the first one do nothing.
func (c *connection) Gone() {
	if c.phase == gone {
		return
	}
	if c.phase == open {
		c.cfg.Stats.closed(wire.CloseAbnormal)
	}
	c.phase, c.writing = gone, nothing
	c.app.Gone()
}

// begin starts closing, and reports whether this was the first time. counted is the close
// code for the statistics.
func (c *connection) begin(counted wire.CloseCode) bool {
	if c.phase != open {
		return false
	}
	c.cfg.Stats.closed(counted)
	c.phase, c.deadline = closing, 0
	c.sock.Arm(0) // the next tick knows the time and sets the deadline
	c.sock.Dirty()
	return true
}

// checkStall ends a connection whose client reads nothing. Bytes from the client do not
// prove that it reads.
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

// readEnd handles the end of the peer's sending side. counted is the close code for the
// statistics if this starts closing.
func (c *connection) readEnd(counted wire.CloseCode) {
	c.ended = true
	if c.phase == closing || c.phase == finishing {
		return // The peer may still read the close frame. The connection is dropped when that is written, or at its deadline.
	}
	if c.phase == open {
		c.cfg.Stats.closed(counted)
	}
	c.drop()
}

// linger ends our sending side after the last byte, and gives the client time to read it.
// If the socket were closed with unread input, the kernel would discard bytes that the
// client has not received yet.
func (c *connection) linger() {
	if c.ended {
		c.drop()
		return
	}
	c.phase, c.deadline = lingering, 0
	c.sock.CloseWrite()
	c.sock.Arm(0)
}

// checkEnd drops a connection that exceeds the time limit of a closing phase.
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
