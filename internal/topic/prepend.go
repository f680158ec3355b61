package topic

import (
	"time"

	"github.com/ikornaselur/notiflux"
)

// Prepend puts ms in front of c, a cursor of this log, and returns the cursor at the
// first of them. They are all messages after from up to the position of c, in order, and
// have its epoch. c may point to an entry that the log has dropped, or to the first one
// behind a marker, which the log drops then. If c points to the oldest entry of the log
// then, the log holds as many of them as its limits allow at the time now; the others are
// kept by the cursor alone.
func (l *Log) Prepend(c Cursor, from notiflux.Position, ms []notiflux.Message, now time.Time) Cursor {
	if c.at.held() {
		for l.first.Load() != c.at { // A marker and what is before it: nobody begins there any more.
			l.DropOldest()
		}
	}
	held := l.first.Load()
	holds := c.at == held && held.segment == l.tail.segment
	first := c.at
	for i := len(ms) - 1; i >= 0; i-- {
		e := &Entry{seq: first.seq - 1, previous: from.Offset, segment: c.at.segment, message: ms[i]}
		if i > 0 {
			e.previous = ms[i-1].Position.Offset
		}
		e.bytesBefore = first.bytesBefore - e.size()
		e.next.Store(first)
		first = e
		if holds = holds && l.fits(e, now); holds {
			e.frames.Store(&l.logs.end)
			held = e
		}
	}
	l.hold(held)
	return Cursor{first}
}

// fits reports whether the log would keep to its limits if e were its oldest entry.
func (l *Log) fits(e *Entry, now time.Time) bool {
	limits := &l.logs.limits
	return (limits.Count <= 0 || l.Count(Cursor{e}) <= limits.Count) &&
		(limits.Bytes == 0 || l.tail.bytesBefore-e.bytesBefore <= limits.Bytes) &&
		(limits.Age <= 0 || now.Sub(e.message.Time) < limits.Age)
}

// hold makes e, which leads to the oldest entry, the oldest one.
func (l *Log) hold(e *Entry) {
	oldest := l.first.Load()
	if e == oldest {
		return
	}
	l.indexFront(e, oldest)
	if l.newest.Load() == nil { // All that the log holds is new.
		newest := e
		for next := e.next.Load(); next != oldest; next = next.next.Load() {
			newest = next
		}
		l.newest.Store(newest)
	}
	l.first.Store(e)
}
