package fanout

import "github.com/ikornaselur/notiflux/internal/topic"

// NewestSnapshot returns the cursor at the newest presence event that can be read from c and
// that supersedes those before it, and whether there is one.
func NewestSnapshot(c topic.Cursor) (at topic.Cursor, ok bool) {
	for {
		entry, next, more := c.Next()
		if !more {
			return at, ok
		}
		if p := entry.Message().Presence; p != nil && p.Supersedes() {
			at, ok = c, true
		}
		c = next
	}
}
