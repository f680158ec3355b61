package loop

import (
	"net"
	"time"
)

// A Conn is one connection of a loop: what its [Client] may ask for. All
// methods are for the loop's goroutine only, and none waits.
type Conn struct {
	// Immutable once the loop serves it.
	loop   *Loop
	client Client
	socket socket

	// Owned by the loop.
	left       []byte   // read from the socket and not taken by the client yet
	prev, next *Conn    // in its slot of the wheel
	slot       int32    // tick at which the wheel has it; 0: not on the wheel
	ticket     uint32   // of its place in a queue
	priority   priority // the queue that it is in
	resumed    bool     // reading goes on in the next flush: with left, else with the socket
	blocked    bool     // the socket takes nothing until it says so
	gone       bool
	refused    bool   // it was blocked at the last look, and had been for some time
	looked     uint8  // when it was looked at last, or took something; see lookAt
	stalled    uint16 // for how long it has taken nothing, in ticks of the wheel; if blocked
}

// socket is the system's side of a connection.
type socket interface {
	// write takes what it can without waiting. If it is blocked afterwards, it
	// takes nothing more until it calls writable.
	write(p []byte) (n int, blocked bool, err error)

	// moved and full are asked of a blocked socket. moved reports whether the peer
	// has taken bytes since it was asked last. full reports whether the socket is
	// still blocked at this moment, and has not just failed to say otherwise.
	moved() bool
	full() bool

	more()                // everything that came was taken: read on
	keep(p []byte) []byte // returns bytes that came so that they stay, until the next more
	closeWrite()          // end the sending side, after what was written
	drop()                // close at once
	remote() string       // the address of the peer
}

// Remote returns the address of the peer, empty if it is not known any more.
func (c *Conn) Remote() string {
	switch {
	case c.gone:
	case c.socket != nil:
		return c.socket.remote()
	case c.loop.adding != nil: // its client is being made
		return address(c.loop.adding)
	}
	return ""
}

// address returns the address of a connection's peer, which pipes of tests lack.
func address(nc net.Conn) string {
	if addr := nc.RemoteAddr(); addr != nil {
		return addr.String()
	}
	return ""
}

// Dirty says that there is something to write: Next is called in this turn or
// a following one.
func (c *Conn) Dirty() { c.enqueue(c.loop.marking) }

// Resume says that bytes which Read left may be offered again. If Read itself calls
// it, that is done when others had their turn.
func (c *Conn) Resume() {
	switch {
	case c.loop.reading == c:
		c.resumed = true
	case c.left != nil:
		c.again(c.loop.marking)
	}
}

// again has reading go on when c is served.
func (c *Conn) again(r priority) {
	c.resumed = true
	c.enqueue(r)
}

// Arm has Tick called at a time or soon after. Only the earliest time counts:
// that Tick returns the next one, of all that the client waits for.
func (c *Conn) Arm(at time.Duration) {
	if !c.gone {
		c.loop.wheel.arm(c, at)
	}
}

// Post has f called on the loop, in the next turn, unless the connection is gone by
// then; if f panics, that ends the connection. It reports whether the loop still
// turns. Safe for concurrent use.
func (c *Conn) Post(f func()) bool {
	return c.loop.Post(func() {
		defer c.loop.recovered(c)
		if !c.gone {
			f()
		}
	})
}

// CloseWrite ends the sending side once everything written has left.
func (c *Conn) CloseWrite() {
	if !c.gone {
		c.socket.closeWrite()
	}
}

// Drop closes the connection at once; the client's Gone is called before Drop returns.
func (c *Conn) Drop() {
	if c.gone {
		return
	}
	c.gone = true
	c.left = nil
	l := c.loop
	l.wheel.remove(c)
	delete(l.conns, c)
	defer l.config.Closed()
	if c.socket != nil {
		c.socket.drop()
	}
	if c.client != nil {
		c.client.Gone()
	}
}

// block notes that the socket takes nothing until it says so.
func (c *Conn) block() {
	c.blocked = true
	c.Arm(c.loop.now + blockedTick)
}

// writable is called when a blocked socket takes more.
func (c *Conn) writable() {
	if !c.gone && c.blocked {
		c.blocked = false
		c.enqueue(unfinished)
	}
}
