package topic

import (
	"sync/atomic"

	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// Overhead is what an entry counts besides its data, in bytes, so that the bounds also
// hold for many small messages.
const Overhead = 256

// An Entry is one element of a log. Once it is filled, it holds a message, a presence
// event (Message.Presence) or a marker: see [Entry.Marker].
type Entry struct {
	// Immutable from the moment the entry before it is visible.
	seq         uint64   // sequence number: one more than that of the entry before it
	bytesBefore uint64   // of all entries before this one, dropped ones included
	previous    uint64   // offset of the position before this entry, whose epoch is that of segment
	segment     *segment // that the entry belongs to; a marker belongs to the one that it ends

	// Immutable once next is set.
	message pubsub.Message

	next   atomic.Pointer[Entry] // nil: this is the empty entry at the tail
	frames atomic.Pointer[frame] // ends with Logs.end; nil once the log has dropped the entry, and for one it never held
}

// A segment is the entries of a log without a marker between them. All of them share it.
type segment struct {
	epoch   string // of the positions
	markers uint64 // before it, since the log is there
}

// origin is the sequence number of the first entry of a log, and what its bytes are
// counted from: there is room for as many in front of it as behind it.
const origin = 1 << 62

// Message returns the message of an entry that [Cursor.Next] returned, or a message
// without a topic if the entry is a marker. Callers must not change it.
func (e *Entry) Message() *pubsub.Message { return &e.message }

// Marker reports whether an entry that [Cursor.Next] returned is a marker: the messages
// between the position before it and to are missing, or the epoch of to is a new one.
func (e *Entry) Marker() (to pubsub.Position, marker bool) {
	if !e.IsMarker() {
		return pubsub.Position{}, false
	}
	return e.message.Position, true
}

// IsMarker reports whether an entry that [Cursor.Next] returned is a marker. See [Entry.Marker].
func (e *Entry) IsMarker() bool { return e.next.Load().segment != e.segment }

// held reports whether the log holds an entry.
func (e *Entry) held() bool { return e.frames.Load() != nil }

// Size returns the size of the data of an entry, in bytes.
func (e *Entry) Size() int {
	if p := e.message.Presence; p != nil {
		return p.Size()
	}
	return len(e.message.Body.Data)
}

// size returns what an entry counts.
func (e *Entry) size() uint64 { return uint64(e.Size()) + Overhead }

// A Cursor is a place in a log: it points to the first entry that its reader has not
// taken yet. Two cursors at the same place are ==. The zero Cursor points nowhere and must
// not be read.
type Cursor struct{ at *Entry }

// Next returns the entry at c and the cursor after it. It returns false at the tail.
func (c Cursor) Next() (*Entry, Cursor, bool) {
	next := c.at.next.Load()
	if next == nil {
		return nil, c, false
	}
	return c.at, Cursor{next}, true
}

// AtTail reports whether there is no entry to read at c.
func (c Cursor) AtTail() bool { return c.at.next.Load() == nil }

// LastMarker returns the position after the last marker between c and end, which is a cursor
// of the same log and not before c. ok is false if there is none. It walks the entries up
// to that marker, and none if there is no marker.
func (c Cursor) LastMarker(end Cursor) (to pubsub.Position, ok bool) {
	// Walking from c may not lead to end itself: c may lead to messages that the log has
	// dropped, and end be at a copy of one that was prepended. Copies share the segment.
	for c.at.segment != end.at.segment {
		entry, next, more := c.Next()
		if !more {
			break
		}
		if entry.IsMarker() {
			to, ok = next.Position(), true
		}
		c = next
	}
	return to, ok
}

// Position returns the position before the entry at c: that of the last message before
// it, or where the log begins, or where the last marker before it leads. In front of a
// message that was prepended, it may be higher than that of the last message if a reader
// resumed from a position between the two. A reader at c has taken every message up to
// that position.
func (c Cursor) Position() pubsub.Position {
	return pubsub.Position{Epoch: c.at.segment.epoch, Offset: c.at.previous}
}
