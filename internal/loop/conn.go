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
	left       []byte   // bytes read from the socket that the client has not taken yet
	prev, next *Conn    // neighbours in the slot of the wheel
	slot       int32    // tick at which it is on the wheel; 0: not on the wheel
	ticket     uint32   // ticket of its waiter in a queue
	priority   priority // queue that it is in
	resumed    bool     // the next flush continues to read: first left, then the socket
	blocked    bool     // the socket accepts nothing until it calls writable
	gone       bool
	refused    bool   // it was blocked at the last check, and for some time before
	checked    uint8  // time of the last check or of the last progress; see checkTime
	stalled    uint16 // how long it has taken nothing, in ticks of the wheel; only if blocked
}

// socket is the operating system's side of a connection.
type socket interface {
	// write writes as much of p as it can without blocking. If blocked is true, the socket
	// accepts nothing more until it calls writable.
	write(p []byte) (n int, blocked bool, err error)

	// moved and full are for a blocked socket. moved reports whether the peer took bytes
	// since the last call of moved. full reports whether the socket still accepts nothing.
	moved() bool
	full() bool

	more()                // continues to read, because the client took all bytes
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
	case c.loop.adding != nil: // Its client is being created.
		return address(c.loop.adding)
	}
	return ""
}

// address returns the address of a connection's peer. In-memory connections in tests have
// none.
func address(nc net.Conn) string {
	if addr := nc.RemoteAddr(); addr != nil {
		return addr.String()
	}
	return ""
}

// Dirty says that there is something to write. The loop calls Next in this turn or a later
// one.
func (c *Conn) Dirty() { c.enqueue(c.loop.marking) }

// Resume asks the loop to offer again the bytes that Read left. If Read itself calls
// Resume, other connections get their turn first.
func (c *Conn) Resume() {
	switch {
	case c.loop.reading == c:
		c.resumed = true
	case c.left != nil:
		c.requeue(c.loop.marking)
	}
}

// requeue makes the loop continue reading when it serves c next.
func (c *Conn) requeue(r priority) {
	c.resumed = true
	c.enqueue(r)
}

// Arm asks for a Tick at a time or soon after. If it is called several times, the earliest
// time counts; that Tick returns the next time.
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

// block records that the socket accepts nothing until it calls writable.
func (c *Conn) block() {
	c.blocked = true
	c.Arm(c.loop.now + blockedTick)
}

// writable is called when a blocked socket accepts bytes again.
func (c *Conn) writable() {
	if !c.gone && c.blocked {
		c.blocked = false
		c.enqueue(unfinished)
	}
}
