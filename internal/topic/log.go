package topic

import (
	"sync/atomic"
	"time"
	"weak"

	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// Limits bound what a log holds. A zero field means no bound.
type Limits struct {
	Count int           // messages
	Bytes uint64        // data and Overhead of all entries; the log holds the newest one even if it is larger
	Age   time.Duration // by the monotonic clock, where a message was ordered by this process
}

// Logs holds what the logs of a process share: their limits and the total size of the
// frames of their messages. Safe for concurrent use.
type Logs struct {
	// Immutable after NewLogs.
	limits Limits
	grown  func()
	end    frame // ends the list of frames of every entry that a log holds

	frameBytes atomic.Int64
}

// NewLogs returns a Logs without logs. Unless grown is nil, it is called each time a frame
// is kept. It must not block.
func NewLogs(limits Limits, grown func()) *Logs {
	s := &Logs{limits: limits, grown: grown}
	s.end = frame{logs: s, encoding: noEncoding}
	return s
}

// FrameBytes returns the size of the frames of all messages in the logs, in bytes. It is
// never less than what the frames hold.
func (s *Logs) FrameBytes() int64 { return s.frameBytes.Load() }

// A Log holds the recent messages of one topic. Make one with [Logs.New]. The owner holds
// a lock around every call, except where a method says that it needs none.
type Log struct {
	// Immutable.
	logs *Logs

	// Guarded by the owner's lock.
	tail     *Entry                         // the empty entry
	dropped  uint64                         // messages since New
	marks    []*Entry                       // some of the entries held; see index.go
	excluded map[pubsub.Connection][]uint64 // sequence numbers of the entries held that a connection does not get; nil if none

	// Changed under the owner's lock; read without it.
	first       atomic.Pointer[Entry]               // the oldest; the tail if the log is empty
	newest      atomic.Pointer[Entry]               // message; nil if the log holds none
	afterMarker atomic.Uint64                       // sequence number of the entry after the last marker; 0: there was none
	marker      atomic.Pointer[weak.Pointer[Entry]] // the last one; nil if there was none
	lastDropped atomic.Pointer[weak.Pointer[Entry]] // the newest message when the last one was dropped; nil if that never happened
}

// New returns an empty log that begins after head: nothing is known about the messages
// up to head, and there is none after it.
func (s *Logs) New(head pubsub.Position) *Log {
	l := &Log{logs: s, tail: &Entry{seq: origin, bytesBefore: origin, previous: head.Offset, segment: &segment{epoch: head.Epoch}}}
	l.tail.frames.Store(&s.end)
	l.first.Store(l.tail)
	return l
}

// Append adds m at the tail and drops the oldest entries beyond the limits on count and
// bytes. The broker assigned the position of m: it has the epoch of the head and is beyond
// it.
func (l *Log) Append(m pubsub.Message) {
	e := l.tail
	e.message = m
	l.extend(e.segment, m.Position.Offset)
	l.newest.Store(e)
	l.enforce()
}

// AppendMarker adds a marker at the tail: messages between the head and to are missing, or
// the epoch of to is a new one. The log continues after to. If to has the epoch of the head
// and is not beyond it, AppendMarker does nothing and returns false.
func (l *Log) AppendMarker(to pubsub.Position, now time.Time) bool {
	head := l.Head()
	if to.Epoch == head.Epoch && to.Offset <= head.Offset {
		return false
	}
	e := l.tail
	e.message = pubsub.Message{Position: to, Time: now}
	l.extend(&segment{epoch: to.Epoch, markers: e.segment.markers + 1}, to.Offset)
	l.afterMarker.Store(l.tail.seq)
	marker := weak.Make(e)
	l.marker.Store(&marker)
	l.enforce()
	return true
}

// extend adds a tail after the entry that was the tail, which has just been filled.
func (l *Log) extend(s *segment, previous uint64) {
	e := l.tail
	l.tail = &Entry{seq: e.seq + 1, bytesBefore: e.bytesBefore + e.size(), previous: previous, segment: s}
	l.tail.frames.Store(&l.logs.end)
	e.next.Store(l.tail)
	l.index(e)
}

// enforce drops the oldest entries beyond the limits on count and bytes.
func (l *Log) enforce() {
	for l.beyond(&l.logs.limits) {
		l.DropOldest()
	}
}

// beyond reports whether the log holds more than its limits on count and bytes allow.
func (l *Log) beyond(limits *Limits) bool {
	first := l.first.Load()
	entries := int(l.tail.seq - first.seq)
	return limits.Count > 0 && entries > limits.Count && max(l.Len(), l.markers()) > limits.Count ||
		limits.Bytes > 0 && l.tail.bytesBefore-first.bytesBefore > limits.Bytes && entries > 1
}

// dropAtOnce bounds how many entries one call of Expire or Shed drops, so that the owner
// can release its lock between two calls.
const dropAtOnce = 256

// Expire drops entries that have reached the limit on age at the time now, at most 256.
// It reports whether there may be more.
func (l *Log) Expire(now time.Time) (more bool) {
	age := l.logs.limits.Age
	if age <= 0 {
		return false
	}
	for range dropAtOnce {
		if oldest, ok := l.Oldest(); !ok || now.Sub(oldest) < age {
			return false
		}
		l.DropOldest()
	}
	return true
}

// Shed drops the oldest entries, at most 256. It reports whether there are more.
func (l *Log) Shed() (more bool) {
	for range dropAtOnce {
		l.DropOldest()
	}
	return !l.empty()
}

// DropOldest drops the oldest entry and its frames, if there is one. Cursors at the
// entry can still read it.
func (l *Log) DropOldest() {
	e := l.first.Load()
	if e == l.tail {
		return
	}
	l.unindex(e)
	next := e.next.Load()
	if next.segment == e.segment { // Else it is a marker.
		l.dropped++
	}
	if e == l.newest.Load() {
		dropped := weak.Make(e) // For Newest.
		l.lastDropped.Store(&dropped)
		l.newest.Store(nil) // A dropped message must not stay in memory for the log.
	}
	l.first.Store(next)
	e.dropFrames()
}

// Tail returns the cursor after the newest entry.
func (l *Log) Tail() Cursor { return Cursor{l.tail} }

// Since returns the cursor after a position and whether the log covers it: no message
// after it is missing, so there is no marker either. If the log does not cover it, the
// cursor is the tail.
func (l *Log) Since(since pubsub.Position) (Cursor, bool) {
	head := l.Head()
	if since.Epoch != head.Epoch || since.Offset > head.Offset || since.Offset < l.First().at.previous {
		return l.Tail(), false
	}
	return l.after(since.Offset), true
}

// Last returns the cursor from which the newest messages after the last marker are read,
// at most n.
func (l *Log) Last(n int) Cursor {
	first := l.First()
	if n >= l.Count(first) {
		return first
	}
	return l.at(l.tail.seq - uint64(max(n, 0)))
}

// First returns the cursor at the oldest message after the last marker, or the tail if
// there is none.
func (l *Log) First() Cursor {
	if first := l.first.Load(); first.segment == l.tail.segment {
		return Cursor{first}
	}
	return l.at(l.afterMarker.Load())
}

// Newest returns the cursor at the newest message that a reader at c, a cursor of this
// log, can read. If there is none after the last marker, it may be the cursor at that. At
// the tail it returns c. It needs no lock.
func (l *Log) Newest(c Cursor) Cursor {
	if c.AtTail() {
		return c
	}
	newest := l.newest.Load()
	if dropped := l.lastDropped.Load(); newest == nil && dropped != nil {
		newest = dropped.Value() // The log holds no message, but slow readers do.
	}
	// What was prepended after a marker is not on the way of readers before it.
	if newest != nil && newest.seq > c.at.seq && (newest.segment == c.at.segment || newest.seq >= l.afterMarker.Load()) {
		return Cursor{newest}
	}
	if p := l.marker.Load(); p != nil {
		if marker := p.Value(); marker != nil && marker.segment.markers >= c.at.segment.markers {
			return Cursor{marker}
		}
	}
	return c
}

// Head returns the position of the last message appended, or where the log or its last
// gap begins if there was none since.
func (l *Log) Head() pubsub.Position { return Cursor{l.tail}.Position() }

// Len returns the number of messages in the log.
func (l *Log) Len() int { return l.Count(Cursor{l.first.Load()}) }

// Count returns the number of messages to read from c, a cursor of this log. Markers do
// not count.
func (l *Log) Count(c Cursor) int {
	return int(l.tail.seq - c.at.seq - (l.tail.segment.markers - c.at.segment.markers))
}

// markers returns the number of markers in the log.
func (l *Log) markers() int { return int(l.tail.segment.markers - l.first.Load().segment.markers) }

// empty reports whether the log holds no entry.
func (l *Log) empty() bool { return l.first.Load() == l.tail }

// Bytes returns the size of the entries in the log, Overhead included.
func (l *Log) Bytes() uint64 { return l.tail.bytesBefore - l.first.Load().bytesBefore }

// Dropped returns the number of messages dropped since New.
func (l *Log) Dropped() uint64 { return l.dropped }

// Oldest returns the time of the oldest entry. It returns false if there is none.
func (l *Log) Oldest() (time.Time, bool) {
	first := l.first.Load()
	return first.message.Time, first != l.tail
}

// Lag returns the size of the entries that a reader at c has not read and the log has
// dropped: c alone keeps them in memory. It needs no lock. Once messages were prepended to
// the log, it may be less by their size.
func (l *Log) Lag(c Cursor) uint64 {
	if dropped := l.first.Load().bytesBefore; dropped > c.at.bytesBefore {
		return dropped - c.at.bytesBefore
	}
	return 0
}
