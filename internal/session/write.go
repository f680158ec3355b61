package session

import "github.com/ikornaselur/notiflux/internal/topic"

const (
	// maxTopicsPerWrite is the number of topics of a session that share a write.
	maxTopicsPerWrite = 64
	// roundBytes is the number of bytes that all topics of a write get together before the
	// first of them gets more. So every topic makes progress even on a connection that
	// breaks after every 20 KB.
	roundBytes = 8 << 10
)

// A write holds what Next returned until Wrote accounts for it, in the order of the bytes:
// answers, then segments. A loop has one, because it makes one write at a time.
type write struct {
	segments     []segment    // a subscription may have several
	shared       *topic.Batch // the only segment; nil: the segments are in buffer
	progress     []progress   // while the segments are collected
	buffer       []byte
	messageBytes int    // size of the messages in buffer, unencoded
	sizes        []int  // of the frames in buffer, one for each entry; 0 if the entry has no frame
	excluded     int    // messages skipped because they exclude the session; see maxExcluded
	largeAnswer  []byte // a frame of a large answer; the write then contains nothing else
	cursor       []byte // the latest stream cursor; kept for its memory
}

// reset drops the segments. A cursor left in a segment would keep all later messages of its
// topic in memory.
func (w *write) reset() {
	if len(w.segments) > 0 {
		clear(w.segments)
		w.segments, w.shared = w.segments[:0], nil
	}
	w.sizes, w.messageBytes, w.excluded, w.largeAnswer = w.sizes[:0], 0, 0, nil
}

// A segment is consecutive messages of one subscription in a write.
type segment struct {
	sub       *subscription
	from, end topic.Cursor
	bytes     int // of its frames
	messages  int // entries with frames
	at        int // index in write.buffer of its first byte
	sizes     int // index in write.sizes of the size of its first frame
}

// segmentOf returns a batch as a segment of a subscription.
func segmentOf(b *topic.Batch, sub *subscription) segment {
	return segment{sub: sub, from: b.From, end: b.End, bytes: len(b.Data), messages: b.Messages}
}

// progress is how far a subscription has got in the write that is being filled.
type progress struct {
	sub *subscription
	at  topic.Cursor
}

// next returns the bytes to write next; see [Session.Next].
func (w *write) next(s *Session) []byte {
	if s.extra.hasLarge() {
		return w.nextOfLargeAnswer(s)
	}
	w.catchUp(s)
	if s.out.cursors {
		return w.nextOfStream(s, s.dialect.(CursorWriter))
	}
	if len(s.out.answers) == 0 && s.subs.dirty.First == s.subs.dirty.Last {
		return w.nextShared(s)
	}
	w.buffer = append(w.buffer[:0], s.out.answers...)
	w.appendMessages(s)
	if len(w.buffer) == 0 {
		w.passEmpty(s)
		return w.nextShared(s)
	}
	return w.buffer
}

// nextShared is next for a session without answers and with unread messages in at most one
// topic. It returns the shared batch without a copy.
func (w *write) nextShared(s *Session) []byte {
	for sub := s.subs.dirty.First; sub != nil; sub = s.subs.dirty.First {
		b := w.batch(s, sub, sub.cursor, topic.MaxBatch)
		if len(b.Data) > 0 {
			w.segments, w.shared = append(w.segments, segmentOf(b, sub)), b
			return b.Data
		}
		sub.cursor = b.End
		if w.passMarkers(s, sub) {
			return w.next(s) // The answers of the dialect come first.
		}
		s.subs.dirty.Remove(sub)
		if !b.End.AtTail() {
			s.subs.markDirty(sub)
			return nil
		}
	}
	return w.nothing(s)
}

// appendMessages appends unread messages of all topics to the write.
func (w *write) appendMessages(s *Session) {
	w.fillInTurns(s, func(sub *subscription, at topic.Cursor, limit int) topic.Cursor {
		b := w.batch(s, sub, at, limit)
		seg := segmentOf(b, sub)
		seg.at, seg.sizes = len(w.buffer), len(w.sizes)
		w.sizes = append(w.sizes, b.Sizes...) // The slot of the batch may be reused.
		w.buffer = append(w.buffer, b.Data...)
		w.messageBytes += b.MessageBytes
		w.segments = append(w.segments, seg)
		return b.End
	})
}

// fillInTurns fills the write from the topics with unread messages, which take turns. take
// appends about limit bytes of messages of one topic, from a cursor on, and returns the
// cursor after them.
func (w *write) fillInTurns(s *Session, take func(sub *subscription, at topic.Cursor, limit int) topic.Cursor) {
	sub := s.subs.dirty.First
	for ; sub != nil && len(w.progress) < maxTopicsPerWrite; sub = sub.nextDirty {
		w.progress = append(w.progress, progress{sub, sub.cursor})
	}
	limit := topic.MaxBatch
	if len(w.progress) > 1 {
		limit = roundBytes / len(w.progress)
	}
	full := func() bool { return len(w.buffer) >= topic.MaxBatch || w.messageBytes >= topic.MaxBatch }
	for waiting := w.progress; len(waiting) > 0 && !full(); {
		more := waiting[:0]
		for _, t := range waiting {
			if full() {
				break
			}
			before := t.at
			if t.at = take(t.sub, t.at, limit); t.at != before && !t.at.AtTail() {
				more = append(more, t) // Without progress it is at a gap.
			}
		}
		if waiting = more; sub != nil {
			break // The next write takes the others.
		}
	}
	clear(w.progress)
	w.progress = w.progress[:0]
}

// nextOfStream is next for a stream of several topics or of patterns. Each of its frames has its own
// stream cursor.
func (w *write) nextOfStream(s *Session, c CursorWriter) []byte {
	for {
		w.buffer = append(w.buffer[:0], s.out.answers...)
		w.appendStreamMessages(s, c)
		if len(w.buffer) > 0 {
			return w.buffer
		}
		others, gap := w.messageBytes >= topic.MaxBatch, false
		w.passEmpty(s)
		for sub, next := s.subs.dirty.First, (*subscription)(nil); sub != nil && sub.dirty; sub = next {
			next = sub.nextDirty // The dialect may end sub.
			gap = w.passMarkers(s, sub) || gap
		}
		switch {
		case gap: // The dialect has queued answers.
		case s.subs.dirty.First == nil:
			return w.nothing(s)
		case others:
			s.conn.Dirty()
			return nil
		}
	}
}

// appendStreamMessages appends unread messages of all topics to the write. Each frame is
// the shared one, except for the stream cursor.
func (w *write) appendStreamMessages(s *Session, c CursorWriter) {
	cursor := s.extra.cursor
	cursor.update(s)
	format := &s.group.formats[s.format]
	w.fillInTurns(s, func(sub *subscription, at topic.Cursor, limit int) topic.Cursor {
		seg := segment{sub: sub, from: at, end: at, at: len(w.buffer), sizes: len(w.sizes)}
		for len(w.buffer)-seg.at < limit && w.messageBytes < topic.MaxBatch {
			entry, next, ok := seg.end.Next()
			if !ok || entry.IsMarker() {
				break
			}
			excluded := s.extra.excluded(entry.Message())
			if excluded && w.excluded >= maxExcluded {
				w.messageBytes = topic.MaxBatch // The write is full.
				break
			}
			cursor.places[sub.cursorIndex].Position = next.Position()
			seg.end = next
			before := len(w.buffer)
			if excluded {
				w.excluded++
			} else if frame := format.Frame(entry); len(frame) > 0 {
				w.cursor = cursor.append(w.cursor[:0])
				w.buffer = c.AppendWithCursor(w.buffer, frame, w.cursor)
				seg.messages++
			} else {
				w.messageBytes += entry.Size()
			}
			w.sizes = append(w.sizes, len(w.buffer)-before)
		}
		seg.bytes = len(w.buffer) - seg.at
		w.segments = append(w.segments, seg)
		return seg.end
	})
}

// wrote accounts for the first n bytes of the write, which the socket took; see
// [Session.Wrote].
func (w *write) wrote(s *Session, n int) {
	if w.largeAnswer != nil {
		w.wroteLargeAnswer(s, n)
		return
	}
	n = s.out.wroteAnswers(s, s.out.wroteRest(s, n))
	for i := range w.segments {
		seg := &w.segments[i]
		cut := n < seg.bytes
		if cut {
			s.out.behind = true
			if n == 0 {
				break // It stays first in the list.
			}
			w.wrotePart(s, seg, n)
		} else {
			s.group.config.Stats.Delivered.Add(uint64(seg.messages))
			seg.sub.cursor = seg.end
			n -= seg.bytes
		}
		if s.subs.dirty.Remove(seg.sub); !seg.sub.cursor.AtTail() {
			s.subs.markDirty(seg.sub) // at the end of the list, because topics take turns
		}
		if cut {
			break
		}
	}
	w.reset()
	if s.extra.overlapping().Patterns() > 0 {
		s.conn.Arm(0) // for reportPositions
	}
}

// passEmpty moves the cursors over a write without bytes: its messages exclude the session
// or have no frames. Subscriptions at their tail are no longer dirty.
func (w *write) passEmpty(s *Session) { w.wrote(s, 0) }

// wrotePart moves the cursor over the first n bytes of seg, which has more.
func (w *write) wrotePart(s *Session, seg *segment, n int) {
	frames, sizes := w.buffer[seg.at:], w.sizes[seg.sizes:]
	if w.shared != nil {
		frames, sizes = w.shared.Data, w.shared.Sizes
	}
	seg.sub.cursor = seg.from
	for _, size := range sizes {
		if n == 0 {
			return
		}
		entry, next, _ := seg.sub.cursor.Next()
		seg.sub.cursor = next
		if size > 0 {
			s.group.config.Stats.Delivered.Add(1)
		}
		if n < size {
			w.keepRest(s, entry, frames[:size], n)
			return
		}
		n, frames = n-size, frames[size:]
	}
}

// keepRest keeps the rest of a frame of which n bytes were written. If the entry keeps the
// frame, the rest is a part of that. Otherwise the rest is a copy, because the frame may be
// in the loop's buffer.
func (w *write) keepRest(s *Session, entry *topic.Entry, frame []byte, n int) {
	if !s.out.cursors {
		if kept := s.group.formats[s.format].Kept(entry); kept != nil {
			s.out.setRest(s, kept[n:], false)
			return
		}
	}
	s.out.setRest(s, frame[n:], true)
}

// nothing is next for a session that has nothing to write. It executes a pending end,
// unless a command still waits for its answer.
func (w *write) nothing(s *Session) []byte {
	if s.pendingEnd != nil && !s.waiting {
		s.End(*s.pendingEnd)
	}
	return nil
}

// catchUp moves subscriptions in mode latest to the newest message if the client is behind,
// and reports the skipped messages to the dialect. If several subscriptions have something
// to read, it also passes their gaps, so that none waits for the others.
func (w *write) catchUp(s *Session) {
	several := s.subs.dirty.First != s.subs.dirty.Last
	for sub, next := s.subs.dirty.First, (*subscription)(nil); sub != nil && sub.dirty; sub = next {
		next = sub.nextDirty // The dialect may end sub.
		if sub.flags&latest != 0 && s.out.behind && !s.extra.overlapping().Waits(sub.name()) {
			sub.skip()
		}
		if sub.skips {
			sub.reportSkipped(s)
		}
		if several {
			w.passMarkers(s, sub)
		}
	}
	s.out.behind = false
}

// passMarkers moves the cursor of a subscription over the markers that it is at, and
// reports them to the dialect, which may end the subscription. It returns whether there was
// one. The client already has everything before it.
func (w *write) passMarkers(s *Session, sub *subscription) (any bool) {
	for sub.dirty {
		entry, next, ok := sub.cursor.Next()
		if !ok || !entry.IsMarker() {
			break
		}
		sub.cursor, any = next, true
		s.dialect.Gap(s, sub.name(), next.Position())
	}
	return any
}

// batch returns the next batch of a subscription from a cursor on, past messages that
// exclude its session. If there are too many of these for one call of Next, the batch is
// empty and does not end at the tail.
func (w *write) batch(s *Session, sub *subscription, at topic.Cursor, limit int) *topic.Batch {
	batches, format := &s.group.batches, &s.group.formats[s.format].Format
	if b, first, waits := s.extra.overlapping().Batch(batches, format, sub.name(), at, limit, s.extra.name()); b != nil {
		if waits {
			s.subs.markDirty(first)
		}
		return b
	}
	b := batches.From(format, at, limit)
	if b.Exclude == 0 || b.Exclude != s.extra.name() {
		return b
	}
	at, n, more := b.End.PastExcluded(s.extra.name(), maxExcluded-w.excluded)
	w.excluded += n
	if more {
		return batches.Empty(at, true)
	}
	return batches.From(format, at, limit)
}

// maxExcluded is about how many messages that exclude the session one call of Next passes.
const maxExcluded = 1024
