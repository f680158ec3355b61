package loop

import (
	"math"
	"time"
)

// maxLook is the most that one look adds to the time in which a socket took
// nothing, in ticks of the wheel. Looks are a second apart. If the loop itself
// stood still between two of them, the rest of that time does not count.
const maxLook = uint8(2 * time.Second / tickEvery)

// Stalled returns for how long the peer has taken no byte, although bytes wait
// for it. It is exact to about a second. Time in which the loop did not look at
// its sockets does not count.
func (c *Conn) Stalled() time.Duration {
	if !c.blocked {
		return 0
	}
	return time.Duration(c.stalled) * tickEvery
}

// Blocked reports, in a Tick, whether the socket takes nothing at this moment:
// the loop offered it bytes that it did not take, and it has had time to take
// them since. It is false while the loop is the one that is late.
func (c *Conn) Blocked() bool { return c.blocked && c.refused && c.socket.full() }

// took notes that the peer takes bytes.
func (c *Conn) took(now time.Duration) {
	c.stalled, c.looked = 0, lookAt(now)
}

// look takes the time that has passed since the last look into account.
func (c *Conn) look(now time.Duration) {
	at := lookAt(now)
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

// lookAt returns a time as Conn.looked has it. It wraps around after 64 s, and
// blocked sockets are looked at every second.
func lookAt(now time.Duration) uint8 { return uint8(now / tickEvery) }
