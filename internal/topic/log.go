package topic

import (
	"sync/atomic"
	"time"
	"weak"

	"github.com/ikornaselur/notiflux"
)

// Overhead is what an entry counts for besides its data, in bytes: the bounds
// hold for many small messages as well.
const Overhead = 256

// Limits bound what a log holds. A zero field means no bound.
type Limits struct {
	Count int           // messages
	Bytes uint64        // data and Overhead of each message; the newest one is held also when it alone takes more
	Age   time.Duration // by the monotonic clock
}

// An Entry is the place of one message in a log.
type Entry struct {
	// Immutable from the moment the entry before it is visible.
	seq    uint64 // number of the entry: one more than that of the entry before it
	before uint64 // bytes of all messages of the log before this one, also of those long dropped
	after  uint64 // offset of the message before this one; the log's floor if there was none

	// Immutable once next is set.
	message notiflux.Message

	next   atomic.Pointer[Entry] // nil: this is the empty entry at the tail
	frames atomic.Pointer[frame] // ends with Logs.end; nil once the log has dropped the entry
}

// Message returns the message of an entry that a cursor gave.
func (e *Entry) Message() *notiflux.Message { return &e.message }

func (e *Entry) size() uint64 { return uint64(len(e.message.Body.Data)) + Overhead }

// A Cursor is a place in a log: the first message that its owner was not given
// yet. Cursors are values; == tells whether two stand at the same place.
// The zero Cursor stands nowhere and must not be read.
type Cursor struct{ at *Entry }

// Next returns the entry at c and the cursor behind it; false at the tail.
func (c Cursor) Next() (*Entry, Cursor, bool) {
	next := c.at.next.Load()
	if next == nil {
		return nil, c, false
	}
	return c.at, Cursor{next}, true
}

// AtTail reports whether there is nothing to read at c.
func (c Cursor) AtTail() bool { return c.at.next.Load() == nil }

// Offset returns the offset of the last message before c, or the log's floor if
// there was none: who stands at c has been given everything up to it.
func (c Cursor) Offset() uint64 { return c.at.after }

// Logs is what the logs of a process have in common: their bounds, and the sum of
// what the frames of their messages take. Safe for concurrent use.
type Logs struct {
	// Immutable after NewLogs.
	limits Limits
	grown  func()
	end    frame // of the list of frames of every entry that a log holds

	frameBytes atomic.Int64
}

// NewLogs returns a Logs without logs. It calls grown, unless that is nil, whenever
// the frames take more than before; grown must not block.
func NewLogs(limits Limits, grown func()) *Logs {
	s := &Logs{limits: limits, grown: grown}
	s.end = frame{logs: s, encoding: notiflux.Encodings}
	return s
}

// FrameBytes returns the memory that the frames of all messages in the logs take.
// It is never less than what they really hold.
func (s *Logs) FrameBytes() int64 { return s.frameBytes.Load() }

// A Log holds the recent messages of one topic. Make one with [Logs.New]. Whoever
// changes it holds the lock of its owner.
type Log struct {
	// Immutable.
	logs *Logs

	// Guarded by the owner's lock.
	tail     *Entry                           // the empty entry
	marks    []*Entry                         // some of those that are held; see index.go
	excluded map[notiflux.Connection][]uint64 // numbers of the entries held that a connection does not get; nil: there are none

	// Changed with the owner's lock held; read without.
	first  atomic.Pointer[Entry]               // oldest; the tail when the log is empty
	newest atomic.Pointer[Entry]               // nil when the log is empty
	left   atomic.Pointer[weak.Pointer[Entry]] // the newest when the log became empty last; nil: it never did
}

// New returns an empty log that covers every position from floor on: it knows
// of no message after floor.
func (s *Logs) New(floor uint64) *Log {
	l := &Log{logs: s, tail: &Entry{after: floor}}
	l.tail.frames.Store(&s.end)
	l.first.Store(l.tail)
	return l
}

// Append adds m at the tail and drops what the bounds no longer allow, by
// count and bytes. The offset of m must be higher than any before.
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

// dropAtOnce is how many messages Expire and Shed drop at most, so that the owner
// can release its lock in between.
const dropAtOnce = 256

// Expire drops what has reached the bound on age at the time now, but at most 256
// messages. It reports whether there may be more.
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

// DropOldest drops the oldest message and its frames; an empty log stays as it is.
// Cursors that stand on it can still read it.
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
		l.newest.Store(nil) // The log must not hold what it has dropped.
	}
	l.first.Store(next)
	e.dropFrames()
}

// Tail returns the cursor behind the newest message.
func (l *Log) Tail() Cursor { return Cursor{l.tail} }

// Since returns the cursor behind offset, and whether it is covered: nothing
// after offset is missing. Where it is not, the cursor is the tail.
func (l *Log) Since(offset uint64) (Cursor, bool) {
	if offset < l.First().Offset() || offset > l.Head() {
		return l.Tail(), false
	}
	return l.behind(offset), true
}

// Last returns the cursor with up to n messages to read.
func (l *Log) Last(n int) Cursor {
	if n >= l.Len() {
		return l.First()
	}
	return l.at(l.tail.seq - uint64(max(n, 0)))
}

// First returns the cursor at the oldest message, the tail if there is none.
func (l *Log) First() Cursor { return Cursor{l.first.Load()} }

// Newest returns the cursor at the newest message that is to be read from c, a
// cursor of this log; c itself at the tail. It needs no lock.
func (l *Log) Newest(c Cursor) Cursor {
	if c.AtTail() {
		return c
	}
	newest := l.newest.Load()
	if left := l.left.Load(); newest == nil && left != nil {
		newest = left.Value() // The log is empty: what there is to read, slow readers hold.
	}
	if newest != nil && newest.seq > c.at.seq {
		return Cursor{newest}
	}
	return c
}

// Head returns the highest offset given, or the floor if there was none.
func (l *Log) Head() uint64 { return l.tail.after }

// Len returns the number of messages.
func (l *Log) Len() int { return l.Count(l.First()) }

// Count returns how many messages there are to read from c, a cursor of this log.
func (l *Log) Count(c Cursor) int { return int(l.tail.seq - c.at.seq) }

// Bytes returns what the messages count for, Overhead included.
func (l *Log) Bytes() uint64 { return l.tail.before - l.first.Load().before }

// Dropped returns the number of messages that were dropped since New.
func (l *Log) Dropped() uint64 { return l.first.Load().seq }

// Oldest returns when the oldest message was ordered; false if there is none.
func (l *Log) Oldest() (time.Time, bool) {
	first := l.first.Load()
	return first.message.Time, first != l.tail
}

// Lag returns how many bytes a reader at c has not read that the log no longer
// holds, so that c alone keeps them in memory. It needs no lock.
func (l *Log) Lag(c Cursor) uint64 {
	if dropped := l.first.Load().before; dropped > c.at.before {
		return dropped - c.at.before
	}
	return 0
}
