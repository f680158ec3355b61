package topic

import (
	"sort"

	"github.com/ikornaselur/notiflux"
)

// step is how far one mark of a log is from the next: every step-th entry is a mark.
// So a place is found by a search among the marks and a few steps more, and a topic
// that gets only a handful of messages has no mark to pay for.
const step = 16

func (e *Entry) isMark() bool { return e.seq%step == step-1 }

// index takes an entry that was just filled into the index.
func (l *Log) index(e *Entry) {
	if e.isMark() {
		l.marks = append(l.marks, e)
	}
	if x := e.message.Exclude; x != 0 {
		if l.excluded == nil {
			l.excluded = make(map[notiflux.Connection][]uint64)
		}
		l.excluded[x] = append(l.excluded[x], e.seq)
	}
}

// unindex takes the oldest entry out of the index.
func (l *Log) unindex(e *Entry) {
	if e.isMark() {
		l.marks[0] = nil
		l.marks = l.marks[1:] // When the room behind is used up, append moves what is left.
	}
	if x := e.message.Exclude; x != 0 {
		l.excluded[x] = l.excluded[x][1:]
		if len(l.excluded[x]) == 0 {
			delete(l.excluded, x)
		}
		if len(l.excluded) == 0 {
			l.excluded = nil // A map keeps the room that it once needed.
		}
	}
}

// at returns the cursor at the entry with a number, which is held or the tail.
func (l *Log) at(seq uint64) Cursor {
	e := l.markBefore(func(mark *Entry) bool { return mark.seq <= seq })
	for e.seq < seq {
		e = e.next.Load()
	}
	return Cursor{e}
}

// behind returns the cursor at the first entry with a higher offset, the tail if
// there is none.
func (l *Log) behind(offset uint64) Cursor {
	e := l.markBefore(func(mark *Entry) bool { return mark.message.Position.Offset <= offset })
	for e != l.tail && e.message.Position.Offset <= offset {
		e = e.next.Load()
	}
	return Cursor{e}
}

// markBefore returns the last mark for which before is true, the oldest entry if
// there is none.
func (l *Log) markBefore(before func(mark *Entry) bool) *Entry {
	n := sort.Search(len(l.marks), func(i int) bool { return !before(l.marks[i]) })
	if n == 0 {
		return l.first.Load()
	}
	return l.marks[n-1]
}

// Excluded returns how many of the messages to read from c, a place in this log, a
// connection does not get.
func (l *Log) Excluded(c Cursor, x notiflux.Connection) int {
	seqs := l.excluded[x]
	return len(seqs) - sort.Search(len(seqs), func(i int) bool { return seqs[i] >= c.at.seq })
}
