package loop

import (
	"math"
	"time"
)

// maxCheck is the maximum that one check adds to the time in which a socket took nothing, in
// ticks of the wheel. Checks are a second apart. If the loop itself was stuck between two
// checks, the rest of that time does not count.
const maxCheck = uint8(2 * time.Second / tickEvery)

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
	c.stalled, c.checked = 0, checkTime(now)
}

// checkProgress adds the time since the last check to stalled, unless the peer took bytes.
func (c *Conn) checkProgress(now time.Duration) {
	at := checkTime(now)
	passed := min(at-c.checked, maxCheck)
	c.refused = c.blocked && passed > 0
	switch {
	case !c.blocked:
	case c.socket.moved():
		c.stalled = 0
	case c.stalled < math.MaxUint16-uint16(maxCheck):
		c.stalled += uint16(passed)
	}
	c.checked = at
}

// checkTime returns a time in the unit of Conn.checked. It wraps around after 64 s; blocked
// sockets are checked every second.
func checkTime(now time.Duration) uint8 { return uint8(now / tickEvery) }
