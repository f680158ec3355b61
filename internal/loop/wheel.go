package loop

import "time"

const (
	// tickEvery is the resolution of deadlines. All deadlines are seconds long.
	tickEvery = 250 * time.Millisecond
	// slots times tickEvery is the furthest deadline. A later one ticks early.
	slots = 256
)

// wheel holds the deadlines of a loop's connections: a ring of lists, one for each future
// tick. It replaces a timer per connection.
type wheel struct {
	ring    [slots]*Conn
	current int64 // everything up to this tick was due
}

// tickAt returns the first tick that is not before at.
func tickAt(at time.Duration) int64 { return int64((at + tickEvery - 1) / tickEvery) }

// next returns the time of the next tick with connections.
func (w *wheel) next() time.Duration {
	tick := w.current + 1
	for last := w.current + slots - 1; tick < last && w.ring[tick%slots] == nil; {
		tick++
	}
	return time.Duration(tick) * tickEvery
}

// arm puts c on the wheel at a time, unless c is due earlier.
func (w *wheel) arm(c *Conn, at time.Duration) {
	tick := int32(min(max(tickAt(at), w.current+1), w.current+slots-1))
	if c.slot != 0 {
		if c.slot <= tick {
			return
		}
		w.remove(c)
	}
	c.slot = tick
	first := &w.ring[tick%slots]
	if c.next = *first; c.next != nil {
		c.next.prev = c
	}
	*first = c
}

// remove removes c from the wheel.
func (w *wheel) remove(c *Conn) {
	if c.slot == 0 {
		return
	}
	if c.prev != nil {
		c.prev.next = c.next
	} else {
		w.ring[c.slot%slots] = c.next
	}
	if c.next != nil {
		c.next.prev = c.prev
	}
	c.prev, c.next, c.slot = nil, nil, 0
}

// due removes one connection whose tick has come from the wheel and returns it, or nil.
func (w *wheel) due(now time.Duration) *Conn {
	for last := int64(now / tickEvery); ; w.current++ {
		if c := w.ring[w.current%slots]; c != nil && int64(c.slot) <= w.current {
			w.remove(c)
			return c
		}
		if w.current >= last {
			return nil
		}
	}
}
