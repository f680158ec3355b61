package topic

import (
	"sync/atomic"
	"time"
	"weak"

	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// Limits limit what a log holds. A zero field means no limit.
type Limits struct {
	Off   bool          // the log holds nothing: an entry is only for the readers that have joined
	Count int           // messages
	Bytes uint64        // data plus Overhead of each entry; the newest entry stays even if it is larger
	Age   time.Duration // measured with the monotonic clock if this process ordered the message
}

// Logs holds what the logs of a process share: their usual limits and the total size of the
// frames of their messages. Safe for concurrent use.
type Logs struct {
	// Immutable after NewLogs.
	limits Limits
	grown  func()
	end    frame // ends the list of frames of every entry that a log holds

	frameBytes atomic.Int64
	copyBytes  atomic.Int64 // see copies.go
}

// NewLogs returns a Logs without logs. If grown is not nil, it is called each time an entry
// keeps a frame. It must not block.
func NewLogs(limits Limits, grown func()) *Logs {
	s := &Logs{limits: limits, grown: grown}
	s.end = frame{logs: s, encoding: noEncoding}
	return s
}

// FrameBytes returns the size of the frames of all messages in the logs, in bytes. It may
// exceed the true size for a moment, but is never below it.
func (s *Logs) FrameBytes() int64 { return s.frameBytes.Load() }

// A Log holds the recent messages of one topic. Create it with [Logs.New]. The caller holds
// a lock around every call, except where a method says that it needs none.
type Log struct {
	// Immutable.
	logs   *Logs
	limits *Limits

	// Guarded by the owner's lock.
	tail     *Entry                         // the empty entry
	dropped  uint64                         // messages dropped since New
	copied   uint64                         // size of the data of the held entries that are copies
	marks    []*Entry                       // some of the entries held; see index.go
	excluded map[pubsub.Connection][]uint64 // sequence numbers of the held entries that exclude a connection; may be nil

	// Changed under the owner's lock; read without it.
	first       atomic.Pointer[Entry]               // oldest entry; the tail if the log is empty
	newest      atomic.Pointer[Entry]               // newest message; nil if the log holds no message
	afterMarker atomic.Uint64                       // sequence number of the entry after the last marker; 0: there was none
	marker      atomic.Pointer[weak.Pointer[Entry]] // last marker; nil if there was none
	lastDropped atomic.Pointer[weak.Pointer[Entry]] // newest message at the time when the log dropped its last one; nil if that never happened
}

// New returns an empty log that begins after head. Nothing is known about the messages up
// to head; there are no messages after it.
func (s *Logs) New(head pubsub.Position) *Log { return s.NewLimited(head, &s.limits) }

// NewLimited is New with other limits, which the log shares and nobody may change.
func (s *Logs) NewLimited(head pubsub.Position, limits *Limits) *Log {
	l := &Log{logs: s, limits: limits, tail: &Entry{seq: origin, bytesBefore: origin, previous: head.Offset, segment: &segment{epoch: head.Epoch}}}
	l.tail.frames.Store(&s.end)
	l.first.Store(l.tail)
	return l
}

// Append adds m at the tail and drops the oldest entries beyond the limits on count and
// bytes. The broker has assigned the position of m: its epoch is that of the head, and its
// offset is higher.
func (l *Log) Append(m pubsub.Message) {
	e := l.tail
	e.message = m
	if e.original != nil {
		l.copied += uint64(e.Size())
	}
	l.extend(e.segment, m.Position.Offset)
	l.newest.Store(e)
	l.enforce()
}

// AppendMarker adds a marker at the tail: either messages between the head and to are
// missing, or to begins a new epoch. The log continues after to. If to has the epoch of the
// head and is not beyond it, AppendMarker does nothing and returns false.
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
	for l.beyond(l.limits) {
		l.DropOldest()
	}
}

// beyond reports whether the log holds more than its limits on count and bytes allow.
func (l *Log) beyond(limits *Limits) bool {
	if limits.Off {
		return !l.empty()
	}
	first := l.first.Load()
	entries := int(l.tail.seq - first.seq)
	return limits.Count > 0 && entries > limits.Count && max(l.Len(), l.markers()) > limits.Count ||
		limits.Bytes > 0 && l.tail.bytesBefore-first.bytesBefore > limits.Bytes && entries > 1
}

// dropAtOnce limits how many entries one call of Expire or Shed drops, so that the owner
// can release its lock between two calls.
const dropAtOnce = 256

// Expire drops entries that have reached the age limit at the time now, up to 256 of them.
// It reports whether there may be more.
func (l *Log) Expire(now time.Time) (more bool) {
	age := l.limits.Age
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

// Shed drops the oldest entries, up to 256 of them. It reports whether there are more.
func (l *Log) Shed() (more bool) {
	for range dropAtOnce {
		l.DropOldest()
	}
	return !l.empty()
}

// DropOldest drops the oldest entry, if any, and its frames. Cursors at the entry can still
// read it.
func (l *Log) DropOldest() {
	e := l.first.Load()
	if e == l.tail {
		return
	}
	l.unindex(e)
	next := e.next.Load()
	if next.segment == e.segment { // Otherwise it is a marker.
		l.dropped++
	}
	if e == l.newest.Load() {
		dropped := weak.Make(e) // For Newest.
		l.lastDropped.Store(&dropped)
		l.newest.Store(nil) // Otherwise the log would keep a dropped message in memory.
	}
	l.first.Store(next)
	if e.dropFrames(); e.original != nil {
		l.copied -= uint64(e.Size())
	}
	l.logs.release(e)
}

// Tail returns the cursor after the newest entry.
func (l *Log) Tail() Cursor { return Cursor{l.tail} }

// Since returns the cursor after a position, and whether the log covers the position: it
// holds every message after it, and no marker follows it. If the log does not cover the
// position, the cursor is the tail.
func (l *Log) Since(since pubsub.Position) (Cursor, bool) {
	head := l.Head()
	if since.Epoch != head.Epoch || since.Offset > head.Offset || since.Offset < l.First().at.previous {
		return l.Tail(), false
	}
	return l.after(since.Offset), true
}

// Last returns the cursor from which the newest messages after the last marker are read, up
// to n of them.
func (l *Log) Last(n int) Cursor {
	first := l.First()
	if n >= l.Count(first) {
		return first
	}
	return l.at(l.tail.seq - uint64(max(n, 0)))
}

// First returns the cursor at the oldest message after the last marker, or the tail if no
// message follows it.
func (l *Log) First() Cursor {
	if first := l.first.Load(); first.segment == l.tail.segment {
		return Cursor{first}
	}
	return l.at(l.afterMarker.Load())
}

// Newest returns the cursor at the newest message that a reader at c, a cursor of this log,
// can read. If there is no message after the last marker, it may return the cursor at the
// marker. At the tail it returns c. It needs no lock.
func (l *Log) Newest(c Cursor) Cursor {
	if c.AtTail() {
		return c
	}
	newest := l.newest.Load()
	if dropped := l.lastDropped.Load(); newest == nil && dropped != nil {
		newest = dropped.Value() // The log holds no message, but slow readers do.
	}
	// Messages that were prepended after a marker are not ahead of a reader before that
	// marker.
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

// Head returns the position of the last message appended. If no message was appended since
// the log or its last gap began, it returns the position where that began.
func (l *Log) Head() pubsub.Position { return Cursor{l.tail}.Position() }

// Len returns the number of messages in the log.
func (l *Log) Len() int { return l.Count(Cursor{l.first.Load()}) }

// Count returns the number of messages that can be read from c, a cursor of this log.
// Markers do not count.
func (l *Log) Count(c Cursor) int {
	return int(l.tail.seq - c.at.seq - (l.tail.segment.markers - c.at.segment.markers))
}

// markers returns the number of markers in the log.
func (l *Log) markers() int { return int(l.tail.segment.markers - l.first.Load().segment.markers) }

// empty reports whether the log holds no entry.
func (l *Log) empty() bool { return l.first.Load() == l.tail }

// Bytes returns the size of the entries in the log, Overhead included.
func (l *Log) Bytes() uint64 { return l.tail.bytesBefore - l.first.Load().bytesBefore }

// charge returns what the log counts in the total of all logs: Bytes without the data of copies.
func (l *Log) charge() int64 { return int64(l.Bytes() - l.copied) }

// Dropped returns the number of messages dropped since New.
func (l *Log) Dropped() uint64 { return l.dropped }

// Oldest returns the time of the oldest entry. It returns false if the log is empty.
func (l *Log) Oldest() (time.Time, bool) {
	first := l.first.Load()
	return first.message.Time, first != l.tail
}

// Expires returns when the oldest entry reaches the age limit; without a limit, that is a
// century later. It returns false if the log is empty.
func (l *Log) Expires() (time.Time, bool) {
	age := l.limits.Age
	if age <= 0 {
		age = century
	}
	oldest, ok := l.Oldest()
	return oldest.Add(age), ok
}

const century = 100 * 365 * 24 * time.Hour

// Lag returns the size of the entries that a reader at c has not read and that the log has
// dropped, so that only c keeps them in memory. It needs no lock. After messages were
// prepended to the log, the result may be too low by their size.
func (l *Log) Lag(c Cursor) uint64 {
	if dropped := l.first.Load().bytesBefore; dropped > c.at.bytesBefore {
		return dropped - c.at.bytesBefore
	}
	return 0
}
