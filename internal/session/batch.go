package session

import (
	"github.com/ikornaselur/notiflux"
	"github.com/ikornaselur/notiflux/internal/topic"
)

const (
	// maxBatch is the size in bytes from which a write gets no further frame. It is
	// about what TCP_NOTSENT_LOWAT lets a socket take. It also bounds the message bytes
	// of a write, which may be much longer than their compressed frames.
	maxBatch = 64 << 10
	// batchSlots is the number of batches that a loop keeps. Most sessions of a topic
	// have the same cursor.
	batchSlots = 4
)

// A batch is the joined frames from one cursor on, for every session with that cursor.
type batch struct {
	from, end    topic.Cursor
	limit        int                 // of len(data): no frame was added from there on
	exclude      notiflux.Connection // the connection that must not get the batch; 0 means none
	messages     int
	messageBytes int    // size of the messages, unencoded
	data         []byte // the frames
	sizes        []int  // of the frame of each message; 0 if it has none
	buffer       []byte // the memory of data if that holds more than one frame
	format       uint8  // index in batches.formats
	taken        bool   // the slot holds a batch with messages
}

// add adds an entry and its frame.
func (b *batch) add(e *topic.Entry, frame []byte) {
	switch {
	case len(frame) == 0:
	case len(b.data) == 0:
		b.data = frame
	case len(b.buffer) == 0:
		b.buffer = append(append(b.buffer, b.data...), frame...)
		b.data = b.buffer
	default:
		b.buffer = append(b.buffer, frame...)
		b.data = b.buffer
	}
	b.sizes = append(b.sizes, len(frame))
	b.messageBytes += e.Size()
	if len(frame) > 0 {
		b.messages++
	}
}

// segment returns b as a segment of a subscription.
func (b *batch) segment(sub *subscription) segment {
	return segment{sub: sub, from: b.from, end: b.end, bytes: len(b.data), messages: b.messages, sizes: b.sizes}
}

// batches holds the latest batches of a loop.
type batches struct {
	formats []format // immutable
	slots   [batchSlots]batch
	next    int   // the slot to replace next
	none    batch // see empty
}

// of returns the format of a session.
func (b *batches) of(s *Session) *format { return &b.formats[s.format] }

// reset drops all batches, so that the next ones reach the tails.
func (b *batches) reset() {
	for i := range b.slots {
		b.slots[i] = batch{buffer: b.slots[i].buffer, sizes: b.slots[i].sizes}
	}
	b.none = batch{}
}

// empty returns a batch without messages that fills a write.
func (b *batches) empty(c topic.Cursor) *batch {
	b.none = batch{from: c, end: c, messageBytes: maxBatch}
	return &b.none
}

// from returns the batch of a subscription from a cursor on. It is empty at the tail. A
// batch of limit bytes gets no further frame. It is valid until the next call.
func (b *batches) from(sub *subscription, c topic.Cursor, limit int) *batch {
	f := sub.session.format
	for i := range b.slots {
		if s := &b.slots[i]; s.from == c && s.format == f && s.taken && (s.limit == limit || len(s.data) < min(s.limit, limit)) {
			return s
		}
	}
	s := &b.slots[b.next]
	b.next = (b.next + 1) % batchSlots
	*s = batch{from: c, end: c, limit: limit, format: f, buffer: s.buffer[:0], sizes: s.sizes[:0]}
	for len(s.data) < limit && s.messageBytes < maxBatch {
		entry, next, ok := s.end.Next()
		if !ok {
			break
		}
		m := entry.Message()
		if len(s.sizes) > 0 && m.Exclude != s.exclude {
			break
		}
		s.exclude = m.Exclude
		s.add(entry, b.formats[f].frame(entry))
		s.end = next
	}
	s.taken = len(s.sizes) > 0
	return s
}

// batch returns the next batch of a subscription from a cursor on, past messages that
// exclude its session. If these are too many for one call of Next, the batch is empty and
// does not end at the tail.
func (w *write) batch(s *Session, sub *subscription, at topic.Cursor, limit int) *batch {
	batches := &s.group.batches
	b := batches.from(sub, at, limit)
	if b.exclude == 0 || b.exclude != s.extra.name() {
		return b
	}
	at, more := w.skipExcluded(s, b.end)
	if more {
		return batches.empty(at)
	}
	return batches.from(sub, at, limit)
}

// maxExcluded is about how many messages that exclude the session a call of Next passes.
// Then it is the turn of the loop's other sessions.
const maxExcluded = 1024

// skipExcluded returns the cursor of the first message from c on that does not exclude
// the session. It encodes none of the messages before it. more reports that it stopped
// early, at maxExcluded.
func (w *write) skipExcluded(s *Session, c topic.Cursor) (_ topic.Cursor, more bool) {
	for ; ; w.excluded++ {
		entry, next, ok := c.Next()
		if !ok || !s.extra.excluded(entry.Message()) {
			return c, false
		}
		if w.excluded >= maxExcluded {
			return c, true
		}
		c = next
	}
}
