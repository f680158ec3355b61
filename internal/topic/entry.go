package topic

import (
	"sync/atomic"

	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// Overhead is what an entry counts in addition to its data, in bytes. It makes the limits
// effective for many small messages as well.
const Overhead = 256

// An Entry is one element of a log. Once it is filled, it holds a message, a presence
// event (Message.Presence) or a marker: see [Entry.Marker].
type Entry struct {
	// Immutable from the moment the entry before it is visible.
	seq         uint64   // sequence number: one more than that of the previous entry
	bytesBefore uint64   // size of all entries before this one, including dropped ones
	previous    uint64   // offset of the position before this entry, in the epoch of segment
	segment     *segment // a marker belongs to the segment that it ends

	// Immutable once next is set.
	message  pubsub.Message
	original *Entry // in a pattern topic: the entry of the message's own topic; else nil

	next   atomic.Pointer[Entry] // nil: this is the empty entry at the tail
	copies atomic.Int32          // see copies.go
	frames atomic.Pointer[frame] // ends with Logs.end; nil once the log has dropped the entry, and if the log never held it
}

// A segment is a run of entries without a marker between them. Its entries share it.
type segment struct {
	epoch   string // of its positions
	markers uint64 // number of markers before it since New
}

// origin is the sequence number of a log's first entry, and the start of its byte count. It
// leaves as much room in front of that entry as behind it.
const origin = 1 << 62

// Message returns the message of an entry that [Cursor.Next] returned, or a message
// without a topic if the entry is a marker. Callers must not change it.
func (e *Entry) Message() *pubsub.Message { return &e.message }

// Marker reports whether an entry that [Cursor.Next] returned is a marker: either messages
// between the position before it and to are missing, or to begins a new epoch.
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

// size returns the size that the entry counts towards the limits.
func (e *Entry) size() uint64 { return uint64(e.Size()) + Overhead }

// A Cursor is a place in a log: it points to the first entry that its reader has not taken
// yet. Two cursors at the same place are ==. The zero Cursor points nowhere and must not be
// read.
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

// LastMarker returns the position after the last marker between c and end. end is a cursor
// of the same log and not before c. ok is false if there is no marker. LastMarker walks
// only entries before that marker, and none if there is no marker.
func (c Cursor) LastMarker(end Cursor) (to pubsub.Position, ok bool) {
	// Walking from c may not reach end itself: c may lead through messages that the log has
	// dropped, while end is at a prepended copy of one of them. Copies share the segment.
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

// Position returns the position before the entry at c: that of the last message before it,
// or where the log begins, or where the last marker before it leads. A reader at c has
// taken every message up to that position. Before a prepended message, the position may be
// higher than that of the last message, if a reader resumed from a position between the
// two.
func (c Cursor) Position() pubsub.Position {
	return pubsub.Position{Epoch: c.at.segment.epoch, Offset: c.at.previous}
}
