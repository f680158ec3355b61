package topic

import (
	"sort"
	"time"

	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// prependAtOnce limits how many entries are prepended, dropped or passed under one lock.
const prependAtOnce = 256

// Prepend inserts ms before the place of p. ms are all messages of the topic after from up
// to that place, in order. p is then covered, unless its resume point is a position before
// from.
//
// The log keeps those of ms that it already holds. It also holds the others, within its
// limits, if they directly precede its oldest message. Otherwise only the pin keeps them in
// memory: see [Pin.Lag]. Prepend does nothing if p is covered or abandoned, or if from is
// in another epoch than the place.
//
// It releases the lock of the topic after every 256 messages, so that others can read and
// join in between.
func (s *Topics) Prepend(p *Pin, from pubsub.Position, ms []pubsub.Message) {
	t := p.topic
	w := prepending{pin: p, log: t.log, from: from, rest: ms}
	for more := true; more; {
		more = s.prependSome(t, w.prependLocked)
		s.shrink()
	}
	for w.cover(t) {
	}
}

// prependSome calls prepend with the lock of t held.
func (s *Topics) prependSome(t *Topic, prepend func() (more bool)) (more bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	first := t.log.first.Load()
	s.changeLocked(t, func() { more = prepend() })
	if expires, ok := t.log.Expires(); ok && t.queued && t.log.first.Load() != first {
		s.expiry.move(t, expires) // Its time in expiry is too late.
	}
	s.queueLocked(t)
	return more
}

// A prepending is one call of Prepend. It prepends the newest messages first.
type prepending struct {
	pin   *Pin
	log   *Log
	from  pubsub.Position
	rest  []pubsub.Message // messages after from that are not prepended yet
	place Cursor           // place of the pin at the start; zero: there is nothing to do
}

// prependLocked prepends some of the messages, and reports whether to call it again. At the
// end the pin is at the first message after from, or at a later one that is not after the
// beginning of its resume point.
func (w *prepending) prependLocked() (more bool) {
	p, l := w.pin, w.log
	if p.final || w.from.Epoch != p.at.at.segment.epoch {
		return false
	}
	if w.place == (Cursor{}) {
		w.place = p.at
	}
	front := l.front(p.at)
	w.rest = upTo(w.rest, front.at.previous) // The log has the messages after it.
	if len(w.rest) == 0 {
		p.at = w.beginLocked(front)
		return false
	}
	if front.at.held() && l.dropBefore(front) {
		return true
	}
	n := max(0, len(w.rest)-prependAtOnce)
	from := w.from
	if n > 0 {
		from = w.rest[n-1].Position
	}
	p.at = l.prepend(front, from, w.rest[n:], p.topics.config.Now())
	w.rest = w.rest[:n]
	return true
}

// upTo returns the messages of ms, which are in order, up to and including an offset.
func upTo(ms []pubsub.Message, offset uint64) []pubsub.Message {
	return ms[:sort.Search(len(ms), func(i int) bool { return ms[i].Position.Offset > offset })]
}

// beginLocked returns where to begin the search for the first message of the resume point:
// at front, which is the first message after from, or later if the log's index allows it.
func (w *prepending) beginLocked(front Cursor) Cursor {
	offset := max(w.from.Offset, w.pin.point.Since.Offset)
	if offset <= front.at.previous || !front.at.held() || front.at.segment != w.log.tail.segment {
		return front
	}
	if c := w.log.after(offset); c.at.seq < w.place.at.seq {
		return c
	}
	return w.place
}

// cover moves the pin towards the beginning of its resume point, by up to 256 messages, and
// reports whether to call it again. Nothing is missing between from and the place.
func (w *prepending) cover(t *Topic) (more bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p, since := w.pin, w.pin.point.Since
	if p.final || w.place == (Cursor{}) || since.Epoch != "" && since.Offset < w.from.Offset {
		return false
	}
	for range prependAtOnce {
		if p.at == w.place || !w.beforePoint(p.at.at) {
			p.covered, p.final = true, true
			return false
		}
		p.at = Cursor{p.at.at.next.Load()}
	}
	return true
}

// beforePoint reports whether an entry before the place is also before the resume point.
func (w *prepending) beforePoint(e *Entry) bool {
	if since := w.pin.point.Since; since.Epoch != "" {
		return e.message.Position.Offset <= since.Offset
	}
	return w.place.at.seq-e.seq > uint64(w.pin.missing)
}

// front returns the cursor before which messages are prepended for a reader at c: the
// oldest message of the log if that leads to c, and c otherwise.
func (l *Log) front(c Cursor) Cursor {
	if first := l.First(); c.at.held() && first.at.segment == c.at.segment {
		return first
	}
	return c
}

// dropBefore drops the entries before c, up to 256 of them: a marker and the entries before
// it, where readers no longer begin. It reports whether it dropped any.
func (l *Log) dropBefore(c Cursor) (any bool) {
	for range prependAtOnce {
		if l.first.Load() == c.at {
			return any
		}
		l.DropOldest()
		any = true
	}
	return any
}

// prepend inserts ms before c, a cursor of this log, and returns the cursor at the first of
// them. ms are all messages after from up to the position of c, in order and in its epoch.
// c is at the oldest entry of the log, or at one that the log has dropped. In the first
// case, the log holds as many of ms as its limits allow at the time now. Only the returned
// cursor keeps the others.
func (l *Log) prepend(c Cursor, from pubsub.Position, ms []pubsub.Message, now time.Time) Cursor {
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

// fits reports whether the log would stay within its limits if e were its oldest entry.
func (l *Log) fits(e *Entry, now time.Time) bool {
	limits := l.limits
	return !limits.Off && (limits.Count <= 0 || l.Count(Cursor{e}) <= limits.Count) &&
		(limits.Bytes == 0 || l.tail.bytesBefore-e.bytesBefore <= limits.Bytes) &&
		(limits.Age <= 0 || now.Sub(e.message.Time) < limits.Age)
}

// hold makes e, which leads to the oldest entry, the new oldest entry.
func (l *Log) hold(e *Entry) {
	oldest := l.first.Load()
	if e == oldest {
		return
	}
	l.indexFront(e, oldest)
	if l.newest.Load() == nil { // Everything that the log holds is new.
		newest := e
		for next := e.next.Load(); next != oldest; next = next.next.Load() {
			newest = next
		}
		l.newest.Store(newest)
	}
	l.first.Store(e)
}
