package loop

import (
	"net"
	"time"
)

// A Conn is one connection of a loop. Its [Client] uses it to ask for calls. Only the
// goroutine of the loop may call its methods, except Post. None of them blocks.
type Conn struct {
	// Immutable once the loop serves it.
	loop   *Loop
	client Client
	socket socket

	// Owned by the loop.
	left       []byte   // read from the socket, not yet taken by the client
	prev, next *Conn    // in its slot of the wheel
	slot       int32    // tick at which the wheel has it; 0 if it is not on the wheel
	ticket     uint32   // of its waiter in a queue
	priority   priority // the queue that it is in
	resumed    bool     // the next flush continues to read: first left, then the socket
	blocked    bool     // the socket takes nothing until it calls writable
	gone       bool
	refused    bool   // it was blocked at the last check, and for some time before
	looked     uint8  // when it was last checked, or took bytes; see looksAt
	stalled    uint16 // for how long it has taken nothing, in ticks of the wheel; only if blocked
}

// socket is the system's side of a connection.
type socket interface {
	// write takes what it can without blocking. If blocked is true, it takes nothing more
	// until it calls writable.
	write(p []byte) (n int, blocked bool, err error)

	// moved and full are for a blocked socket. moved reports whether the peer took bytes
	// since the last call of moved. full reports whether the socket still takes nothing at
	// this moment.
	moved() bool
	full() bool

	more()                // continues to read: all received bytes were taken
	keep(p []byte) []byte // returns p in memory that stays valid until the next more
	closeWrite()          // ends the sending side after all written bytes
	drop()                // closes at once
	remote() string       // returns the address of the peer
}

// Remote returns the address of the peer, or an empty string after Drop.
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

// Dirty says that there is something to write. The loop calls Next in this turn or a later
// one.
func (c *Conn) Dirty() { c.enqueue(c.loop.marking) }

// Resume asks the loop to offer again the bytes that Read left. If Read itself calls it,
// other connections have their turn before.
func (c *Conn) Resume() {
	switch {
	case c.loop.reading == c:
		c.resumed = true
	case c.left != nil:
		c.requeue(c.loop.marking)
	}
}

// requeue continues reading when c is served next.
func (c *Conn) requeue(r priority) {
	c.resumed = true
	c.enqueue(r)
}

// Arm asks for a Tick at a time or soon after. Only the earliest time of several calls
// counts: that Tick returns the next time.
func (c *Conn) Arm(at time.Duration) {
	if !c.gone {
		c.loop.wheel.arm(c, at)
	}
}

// Post calls f on the loop in the next turn, unless the connection is closed by then. A
// panic in f closes the connection. Post reports whether the loop still runs. Safe for
// concurrent use.
func (c *Conn) Post(f func()) bool {
	return c.loop.Post(func() {
		defer c.loop.recovered(c)
		if !c.gone {
			f()
		}
	})
}

// CloseWrite ends the sending side after all written bytes.
func (c *Conn) CloseWrite() {
	if !c.gone {
		c.socket.closeWrite()
	}
}

// Drop closes the connection at once. It calls the client's Gone before it returns.
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

// block records that the socket takes nothing until it calls writable.
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
