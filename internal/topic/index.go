package topic

import (
	"sort"

	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// step is the distance between two marks of a log: every step-th entry is a mark. A place
// is found by a binary search among the marks and a few steps from there. A topic with a
// handful of messages has no marks to pay for.
const step = 16

func (e *Entry) isMark() bool { return e.seq%step == step-1 }

// index adds an entry that was just filled to the index.
func (l *Log) index(e *Entry) {
	if e.isMark() {
		l.marks = append(l.marks, e)
	}
	if x := e.message.Exclude; x != 0 {
		if l.excluded == nil {
			l.excluded = make(map[pubsub.Connection][]uint64)
		}
		l.excluded[x] = append(l.excluded[x], e.seq)
	}
}

// indexFront adds the entries from first up to the oldest one that the log holds.
func (l *Log) indexFront(first, oldest *Entry) {
	var marks []*Entry
	excluded := make(map[pubsub.Connection][]uint64)
	for e := first; e != oldest; e = e.next.Load() {
		if e.isMark() {
			marks = append(marks, e)
		}
		if x := e.message.Exclude; x != 0 {
			excluded[x] = append(excluded[x], e.seq)
		}
	}
	l.marks = append(marks, l.marks...)
	for x, seqs := range excluded {
		if l.excluded == nil {
			l.excluded = make(map[pubsub.Connection][]uint64)
		}
		l.excluded[x] = append(seqs, l.excluded[x]...)
	}
}

// unindex removes e, the oldest entry, from the index.
func (l *Log) unindex(e *Entry) {
	if e.isMark() {
		l.marks[0] = nil
		l.marks = l.marks[1:] // append copies the rest once the capacity is used up.
	}
	if x := e.message.Exclude; x != 0 {
		l.excluded[x] = l.excluded[x][1:]
		if len(l.excluded[x]) == 0 {
			delete(l.excluded, x)
		}
		if len(l.excluded) == 0 {
			l.excluded = nil // A map never shrinks.
		}
	}
}

// at returns the cursor at the entry with a sequence number. The entry is in the log, or is
// the tail.
func (l *Log) at(seq uint64) Cursor {
	e := l.markBefore(func(mark *Entry) bool { return mark.seq <= seq })
	for e.seq < seq {
		e = e.next.Load()
	}
	return Cursor{e}
}

// after returns the cursor at the first entry after the last marker with an offset higher
// than offset, or the tail if no entry has one.
func (l *Log) after(offset uint64) Cursor {
	passes := func(e *Entry) bool {
		return e.segment != l.tail.segment || e.message.Position.Offset <= offset
	}
	e := l.markBefore(passes)
	for e != l.tail && passes(e) {
		e = e.next.Load()
	}
	return Cursor{e}
}

// markBefore returns the last mark for which before is true, or the oldest entry if there
// is no such mark.
func (l *Log) markBefore(before func(mark *Entry) bool) *Entry {
	n := sort.Search(len(l.marks), func(i int) bool { return !before(l.marks[i]) })
	if n == 0 {
		return l.first.Load()
	}
	return l.marks[n-1]
}

// Excluded returns how many of the messages that can be read from c, a cursor of this log,
// exclude the connection x. It walks only entries that the log no longer holds.
func (l *Log) Excluded(c Cursor, x pubsub.Connection) int {
	seqs := l.excluded[x]
	n := 0
	for ; !c.at.held(); c.at = c.at.next.Load() {
		if c.at.message.Exclude == x {
			n++
		}
	}
	return n + len(seqs) - sort.Search(len(seqs), func(i int) bool { return seqs[i] >= c.at.seq })
}
