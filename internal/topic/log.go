package topic

import (
	"sync/atomic"
	"time"
	"weak"

	"github.com/ikornaselur/notiflux"
)

// Overhead is what an entry counts besides its data, in bytes, so that the bounds also
// hold for many small messages.
const Overhead = 256

// Limits bound what a log holds. A zero field means no bound.
type Limits struct {
	Count int           // messages
	Bytes uint64        // data and Overhead of all messages; the log holds the newest one even if it is larger
	Age   time.Duration // by the monotonic clock
}

// An Entry is one element of a log. It holds a message once it is filled.
type Entry struct {
	// Immutable from the moment the entry before it is visible.
	seq    uint64 // sequence number: one more than that of the entry before it
	before uint64 // bytes of all messages before this one, dropped ones included
	after  uint64 // offset of the message before this one; the floor of the log if there was none

	// Immutable once next is set.
	message notiflux.Message

	next   atomic.Pointer[Entry] // nil: this is the empty entry at the tail
	frames atomic.Pointer[frame] // ends with Logs.end; nil once the log has dropped the entry
}

// Message returns the message of an entry that [Cursor.Next] returned. Callers must not
// change it.
func (e *Entry) Message() *notiflux.Message { return &e.message }

func (e *Entry) size() uint64 { return uint64(len(e.message.Body.Data)) + Overhead }

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

// AtTail reports whether there is no message to read at c.
func (c Cursor) AtTail() bool { return c.at.next.Load() == nil }

// Offset returns the offset of the last message before c, or the floor of the log if
// there was none. A reader at c has taken every message up to it.
func (c Cursor) Offset() uint64 { return c.at.after }

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
	tail     *Entry                           // the empty entry
	marks    []*Entry                         // some of the entries held; see index.go
	excluded map[notiflux.Connection][]uint64 // sequence numbers of the entries held that a connection does not get; nil if none

	// Changed under the owner's lock; read without it.
	first  atomic.Pointer[Entry]               // the oldest; the tail if the log is empty
	newest atomic.Pointer[Entry]               // nil if the log is empty
	left   atomic.Pointer[weak.Pointer[Entry]] // the newest when the log last became empty; nil if it never did
}

// New returns an empty log with the head floor: there was no message after floor, and
// nothing is known about those before.
func (s *Logs) New(floor uint64) *Log {
	l := &Log{logs: s, tail: &Entry{after: floor}}
	l.tail.frames.Store(&s.end)
	l.first.Store(l.tail)
	return l
}

// Append adds m at the tail and drops the oldest messages beyond the limits on count and
// bytes. The offset of m must be higher than any before.
func (l *Log) Append(m notiflux.Message) {
	e := l.tail
	e.message = m
	l.tail = &Entry{seq: e.seq + 1, before: e.before + e.size(), after: m.Position.Offset}
	l.tail.frames.Store(&l.logs.end)
	e.next.Store(l.tail)
	l.newest.Store(e)
	l.index(e)
	limits := &l.logs.limits
	for limits.Count > 0 && l.Len() > limits.Count || limits.Bytes > 0 && l.Bytes() > limits.Bytes && l.Len() > 1 {
		l.DropOldest()
	}
}

// dropAtOnce bounds how many messages one call of Expire or Shed drops, so that the owner
// can release its lock between two calls.
const dropAtOnce = 256

// Expire drops messages that have reached the limit on age at the time now, at most 256.
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

// Shed drops the oldest messages, at most 256. It reports whether there are more.
func (l *Log) Shed() (more bool) {
	for range dropAtOnce {
		l.DropOldest()
	}
	return l.Len() > 0
}

// DropOldest drops the oldest message and its frames, if there is one. Cursors at the
// message can still read it.
func (l *Log) DropOldest() {
	e := l.first.Load()
	if e == l.tail {
		return
	}
	l.unindex(e)
	next := e.next.Load()
	if next == l.tail {
		left := weak.Make(e) // For Newest.
		l.left.Store(&left)
		l.newest.Store(nil) // A dropped message must not stay in memory for the log.
	}
	l.first.Store(next)
	e.dropFrames()
}

// Tail returns the cursor after the newest message.
func (l *Log) Tail() Cursor { return Cursor{l.tail} }

// Since returns the cursor after offset and whether the log covers offset: no message
// after it is missing. If the log does not cover it, the cursor is the tail.
func (l *Log) Since(offset uint64) (Cursor, bool) {
	if offset < l.First().Offset() || offset > l.Head() {
		return l.Tail(), false
	}
	return l.behind(offset), true
}

// Last returns the cursor from which the newest messages are read, at most n.
func (l *Log) Last(n int) Cursor {
	if n >= l.Len() {
		return l.First()
	}
	return l.at(l.tail.seq - uint64(max(n, 0)))
}

// First returns the cursor at the oldest message, or the tail if there is none.
func (l *Log) First() Cursor { return Cursor{l.first.Load()} }

// Newest returns the cursor at the newest message that a reader at c, a cursor of this
// log, can read. At the tail it returns c. It needs no lock.
func (l *Log) Newest(c Cursor) Cursor {
	if c.AtTail() {
		return c
	}
	newest := l.newest.Load()
	if left := l.left.Load(); newest == nil && left != nil {
		newest = left.Value() // The log is empty, but slow readers hold messages.
	}
	if newest != nil && newest.seq > c.at.seq {
		return Cursor{newest}
	}
	return c
}

// Head returns the offset of the last message appended, or the floor if there was none.
func (l *Log) Head() uint64 { return l.tail.after }

// Len returns the number of messages in the log.
func (l *Log) Len() int { return l.Count(l.First()) }

// Count returns the number of messages to read from c, a cursor of this log.
func (l *Log) Count(c Cursor) int { return int(l.tail.seq - c.at.seq) }

// Bytes returns the size of the messages in the log, Overhead included.
func (l *Log) Bytes() uint64 { return l.tail.before - l.first.Load().before }

// Dropped returns the number of messages dropped since New.
func (l *Log) Dropped() uint64 { return l.first.Load().seq }

// Oldest returns the time of the oldest message. It returns false if there is none.
func (l *Log) Oldest() (time.Time, bool) {
	first := l.first.Load()
	return first.message.Time, first != l.tail
}

// Lag returns the size of the messages that a reader at c has not read and the log has
// dropped: c alone keeps them in memory. It needs no lock.
func (l *Log) Lag(c Cursor) uint64 {
	if dropped := l.first.Load().before; dropped > c.at.before {
		return dropped - c.at.before
	}
	return 0
}
