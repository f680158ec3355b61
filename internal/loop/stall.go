package loop

import (
	"math"
	"time"
)

// maxLook is the maximum that one check adds to the time in which a socket took nothing, in
// ticks of the wheel. Checks are a second apart. If the loop itself was stuck between two
// checks, the rest of that time does not count.
const maxLook = uint8(2 * time.Second / tickEvery)

// Stalled returns how long the peer has taken no byte although bytes wait for it. It is
// accurate to about a second. Time in which the loop did not check its sockets does not
// count.
func (c *Conn) Stalled() time.Duration {
	if !c.blocked {
		return 0
	}
	return time.Duration(c.stalled) * tickEvery
}

// Blocked reports, during a Tick, whether the socket accepts nothing now, although the loop
// offered it bytes and it had time to take them. It is false if the loop itself is late.
func (c *Conn) Blocked() bool { return c.blocked && c.refused && c.socket.full() }

// progressed records that the peer took bytes.
func (c *Conn) progressed(now time.Duration) {
	c.stalled, c.looked = 0, looksAt(now)
}

// checkProgress adds the time since the last check to stalled, unless the peer took bytes.
func (c *Conn) checkProgress(now time.Duration) {
	at := looksAt(now)
	passed := min(at-c.looked, maxLook)
	c.refused = c.blocked && passed > 0
	switch {
	case !c.blocked:
	case c.socket.moved():
		c.stalled = 0
	case c.stalled < math.MaxUint16-uint16(maxLook):
		c.stalled += uint16(passed)
	}
	c.looked = at
}

// looksAt returns a time in the unit of Conn.looked. It wraps around after 64 s; blocked
// sockets are checked every second.
func looksAt(now time.Duration) uint8 { return uint8(now / tickEvery) }
