package session

import (
	"github.com/ikornaselur/notiflux"
	"github.com/ikornaselur/notiflux/internal/topic"
	"github.com/ikornaselur/notiflux/internal/wire"
)

const (
	// maxBatch is after how many bytes no further frame joins a write: about
	// what TCP_NOTSENT_LOWAT lets a socket take. Nor does one after messages of so
	// many bytes: they may have to be compressed again, if the log has dropped them.
	maxBatch = 64 << 10
	// maxTopicsPerWrite is how many topics of a session share a write.
	maxTopicsPerWrite = 64
	// roundBytes is what the topics that share a write are given of it in a round, all
	// together, before the first of them has its turn again. So even where a connection
	// is cut after some 20 KB each time, no topic waits for the others to be read.
	roundBytes = 8 << 10
	// batchSlots is how many places in the logs sessions of a loop share at
	// once. Most sessions of a topic stand at the same place.
	batchSlots = 4
)

// A batch is the frames from one cursor on, joined, for every session that
// stands there.
type batch struct {
	from, end    topic.Cursor
	limit        int // of data: no frame was added past it
	encoding     notiflux.Encoding
	exclude      notiflux.Connection // does not get any of it; 0: everybody does
	messages     int
	messageBytes int    // bytes of the messages
	data         []byte // nil: the slot is free
	buffer       []byte // of data, when it holds more than one frame
}

// batches are the latest ones made in a turn.
type batches struct {
	encoder wire.Encoder
	slots   [batchSlots]batch
	next    int   // slot that is replaced next
	none    batch // see empty
}

// reset lets go of all batches, so that the next ones reach to the tails.
func (b *batches) reset() {
	for i := range b.slots {
		b.slots[i] = batch{buffer: b.slots[i].buffer}
	}
	b.none = batch{}
}

// empty returns a batch without messages that uses up a write.
func (b *batches) empty(c topic.Cursor) *batch {
	b.none = batch{from: c, end: c, messageBytes: maxBatch}
	return &b.none
}

// from returns the batch of a subscription from a cursor on; it is empty at the
// tail. No frame is added once it has limit bytes. It is valid until the next call.
func (b *batches) from(sub *subscription, c topic.Cursor, limit int) *batch {
	e := sub.session.encoding
	for i := range b.slots {
		if s := &b.slots[i]; s.from == c && s.encoding == e && s.data != nil && (s.limit == limit || len(s.data) < min(s.limit, limit)) {
			return s
		}
	}
	s := &b.slots[b.next]
	b.next = (b.next + 1) % batchSlots
	*s = batch{from: c, end: c, limit: limit, encoding: e, buffer: s.buffer[:0]}
	for len(s.data) < limit && s.messageBytes < maxBatch {
		entry, next, ok := s.end.Next()
		exclude := notiflux.Connection(0)
		if ok {
			exclude = entry.Message().Exclude
		}
		if !ok || s.messages > 0 && exclude != s.exclude {
			break
		}
		s.exclude = exclude
		frame := b.frame(entry, sub)
		switch s.messages {
		case 0:
			s.data = frame
		case 1:
			s.buffer = append(append(s.buffer, s.data...), frame...)
			s.data = s.buffer
		default:
			s.buffer = append(s.buffer, frame...)
			s.data = s.buffer
		}
		s.messages++
		s.messageBytes += len(entry.Message().Body.Data)
		s.end = next
	}
	return s
}

// frame returns what a subscription is sent of an entry, as others of its encoding
// are, but for those whose sessions write a cursor of their own.
func (b *batches) frame(entry *topic.Entry, sub *subscription) []byte {
	e := sub.session.encoding
	b.encoder.Hash = sub.subscribers.hash
	return wire.FrameFor(entry.Frame(wire.CachedEncoding(e), b.encoder.Encode), e)
}

// batch returns what is next for a subscription from a cursor on, behind messages that
// its session does not get. If those are too many for one call of Next, it is empty, and
// not at the tail.
func (s *Session) batch(sub *subscription, at topic.Cursor, limit int) *batch {
	b := s.group.batches.from(sub, at, limit)
	if b.exclude == 0 || b.exclude != s.connection() {
		return b
	}
	at, more := s.skipExcluded(b.end)
	if more {
		return s.group.batches.empty(at)
	}
	return s.group.batches.from(sub, at, limit)
}

// maxExcluded is how many messages that a session does not get a call of Next passes,
// about. The others of the loop have their turn before it passes more.
const maxExcluded = 1024

// skipExcluded returns the place of the first message from c on that the session
// gets, and encodes none of those before it. There are more if it did not come so far.
func (s *Session) skipExcluded(c topic.Cursor) (_ topic.Cursor, more bool) {
	for passed := &s.group.write.excluded; ; *passed++ {
		entry, next, ok := c.Next()
		if !ok || !s.excluded(entry.Message()) {
			return c, false
		}
		if *passed >= maxExcluded {
			return c, true
		}
		c = next
	}
}

// excluded reports whether the session does not get a message.
func (s *Session) excluded(m *notiflux.Message) bool {
	return m.Exclude != 0 && m.Exclude == s.connection()
}

// write is what Next gave and Wrote has to account for, in the order of the
// bytes: answers, then the parts.
type write struct {
	segments     []segment // of a subscription there may be several
	shares       []share   // while the parts are gathered
	buffer       []byte
	messageBytes int    // bytes of the messages of batches that are in the buffer
	sizes        []int  // of the frames of the parts, if they are a set's
	excluded     int    // messages that the session does not get; see maxExcluded
	largeAnswer  []byte // a frame of a reply; then there is nothing else
}

// reset lets go of the parts: a cursor that is left in one would keep all that its
// topic gets from then on.
func (w *write) reset() {
	clear(w.segments)
	w.segments, w.sizes, w.messageBytes, w.excluded, w.largeAnswer = w.segments[:0], w.sizes[:0], 0, 0, nil
}

// A segment is some messages of one subscription in a pull.
type segment struct {
	sub       *subscription
	from, end topic.Cursor
	bytes     int
	messages  int
	at        int // in the buffer, if it is a set's
	sizes     int // in sizes, if it is a set's
}

// A share is how far a subscription is with what is gathered.
type share struct {
	sub *subscription
	at  topic.Cursor
}

// markDirty lists sub among what its session has to read.
func (s *Session) markDirty(sub *subscription) {
	if sub.dirty {
		return
	}
	sub.dirty = true
	if s.lastDirty == nil {
		s.firstDirty = sub
	} else {
		s.lastDirty.nextDirty = sub
	}
	s.lastDirty = sub
	s.conn.Dirty()
}

// unlist takes sub off what its session has to read.
func (s *Session) unlist(sub *subscription) {
	if !sub.dirty {
		return
	}
	var before *subscription
	for other := s.firstDirty; other != sub; other = other.nextDirty {
		before = other
	}
	if before == nil {
		s.firstDirty = sub.nextDirty
	} else {
		before.nextDirty = sub.nextDirty
	}
	if s.lastDirty == sub {
		s.lastDirty = before
	}
	sub.nextDirty, sub.dirty = nil, false
}

// deliveredOffset returns how far the client is, with what it was told of.
func (sub *subscription) deliveredOffset() uint64 {
	if sub.skipping {
		return sub.skipped
	}
	return sub.cursor.Offset()
}

// skip jumps to the newest message that is to be read, if that is another one.
func (sub *subscription) skip() {
	newest := sub.subscribers.topic.Newest(sub.cursor)
	if newest == sub.cursor {
		return
	}
	if !sub.skipping {
		sub.skipping, sub.skipped = true, sub.cursor.Offset()
	}
	sub.cursor = newest
}

// catchUp has subscriptions in mode latest jump if the client is behind, and queues
// what it is told of that.
func (s *Session) catchUp() {
	for sub := s.firstDirty; sub != nil; sub = sub.nextDirty {
		if sub.latest && s.behind {
			sub.skip()
		}
		if sub.skipping {
			sub.skipping = false
			s.answerSkipped(sub)
		}
	}
	s.behind = false
}

// Next returns the bytes to write next, whole frames, nil for none. They are valid
// until Wrote. The caller sees that there is no Rest.
func (s *Session) Next() []byte {
	w := &s.group.write
	w.reset()
	if s.hasLargeAnswer() {
		return s.nextOfLargeAnswer(w)
	}
	s.catchUp()
	if s.stream != nil && len(s.stream.offsets) > 1 {
		return s.nextOfStream(w)
	}
	if len(s.answers) == 0 && s.firstDirty == s.lastDirty {
		return s.nextShared(w)
	}
	w.buffer = append(w.buffer[:0], s.answers...)
	s.appendMessages(w)
	if len(w.buffer) == 0 {
		s.Wrote(0) // Subscriptions that were read before they were asked.
		return s.nextShared(w)
	}
	return w.buffer
}

// appendMessages appends what there is to read to the buffer.
func (s *Session) appendMessages(w *write) {
	s.fillInTurns(w, func(sub *subscription, at topic.Cursor, limit int) topic.Cursor {
		b := s.batch(sub, at, limit)
		w.buffer = append(w.buffer, b.data...)
		w.messageBytes += b.messageBytes
		w.segments = append(w.segments, b.segment(sub))
		return b.end
	})
}

// segment returns b as what a subscription is given.
func (b *batch) segment(sub *subscription) segment {
	return segment{sub: sub, from: b.from, end: b.end, bytes: len(b.data), messages: b.messages}
}

// fillInTurns fills the buffer from the topics that have something to read, in turns. take
// appends messages of one of them from a cursor on, until they have some limit of
// bytes, and returns the cursor behind them.
func (s *Session) fillInTurns(w *write, take func(sub *subscription, at topic.Cursor, limit int) topic.Cursor) {
	sub := s.firstDirty
	for ; sub != nil && len(w.shares) < maxTopicsPerWrite; sub = sub.nextDirty {
		w.shares = append(w.shares, share{sub, sub.cursor})
	}
	limit := maxBatch
	if len(w.shares) > 1 {
		limit = roundBytes / len(w.shares)
	}
	full := func() bool { return len(w.buffer) >= maxBatch || w.messageBytes >= maxBatch }
	for waiting := w.shares; len(waiting) > 0 && !full(); {
		more := waiting[:0]
		for _, t := range waiting {
			if full() {
				break
			}
			if t.at = take(t.sub, t.at, limit); !t.at.AtTail() {
				more = append(more, t)
			}
		}
		if waiting = more; sub != nil {
			break // The others are next.
		}
	}
	clear(w.shares)
	w.shares = w.shares[:0]
}

// rotate has any one of the topics that have something to read be the first. A client
// whose connections are cut before all topics had a turn does not get the same ones
// each time.
func (s *Session) rotate() {
	n := 0
	for sub := s.firstDirty; sub != nil; sub = sub.nextDirty {
		n++
	}
	if n < 2 {
		return
	}
	for range s.choose(n) {
		first := s.firstDirty
		s.firstDirty, s.lastDirty.nextDirty, s.lastDirty = first.nextDirty, first, first
		first.nextDirty = nil
	}
}

// choose returns a number below n. It differs from one connection to the next and as
// the session goes on. It does not draw on the group's random numbers: what a client
// gets must not depend on who else is served at the same time.
func (s *Session) choose(n int) int {
	x := uint64(s.connection()) + s.firstDirty.cursor.Offset()*0x9e3779b97f4a7c15
	// The mixing of splitmix64.
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return int((x ^ x>>31) % uint64(n))
}

// nextShared is Next of a session with no answers, and at most one subscription that
// has something to read: the batch goes out as it is.
func (s *Session) nextShared(w *write) []byte {
	for sub := s.firstDirty; sub != nil; sub = s.firstDirty {
		b := s.batch(sub, sub.cursor, maxBatch)
		if len(b.data) > 0 {
			w.segments = append(w.segments, b.segment(sub))
			return b.data
		}
		sub.cursor = b.end
		s.unlist(sub)
		if !b.end.AtTail() {
			s.markDirty(sub)
			return nil
		}
	}
	return s.nothing()
}

// nothing is Next of a session that has nothing to write: if it is to end, it ends,
// but not without the answer that it waits for.
func (s *Session) nothing() []byte {
	if s.pendingClose != nil && !s.waiting {
		s.closeWith(*s.pendingClose)
	}
	return nil
}

// Answers returns the answers that are made, whole frames, nil for none: what Next gives
// once the end has begun. A reply is among them, also one whose first frame is made.
func (s *Session) Answers() []byte {
	w := &s.group.write
	w.reset()
	if s.hasLargeAnswer() {
		return s.nextOfLargeAnswer(w)
	}
	return s.answers
}

// Rest returns what is left of a frame that Wrote cut, nil at the boundary of
// two frames. After Rest, Wrote counts bytes of it.
func (s *Session) Rest() []byte {
	s.group.write.reset()
	if len(s.rest) > 0 {
		return s.rest
	}
	if s.answerBegun {
		return s.answers
	}
	return nil
}

// Wrote says that the socket took n bytes of what Next or Rest gave.
func (s *Session) Wrote(n int) {
	if s.group.write.largeAnswer != nil {
		s.wroteLargeAnswer(n)
		return
	}
	n = s.wroteAnswers(s.wroteRest(n))
	for _, seg := range s.group.write.segments {
		cut := n < seg.bytes
		if cut {
			s.behind = true
			if n == 0 {
				break // What nothing was taken of stays first.
			}
			s.wroteSegment(seg, n)
		} else {
			s.group.config.Stats.Delivered.Add(uint64(seg.messages))
			seg.sub.cursor = seg.end
			n -= seg.bytes
		}
		if s.unlist(seg.sub); !seg.sub.cursor.AtTail() {
			s.markDirty(seg.sub) // Behind the others: each topic has its turn.
		}
		if cut {
			break
		}
	}
	s.group.write.reset()
}

// wroteRest counts n bytes against the frame under way and returns those left.
func (s *Session) wroteRest(n int) int {
	if n < len(s.rest) {
		s.behind = true
		s.trimRest(n)
		return 0
	}
	n -= len(s.rest)
	if s.rest != nil {
		s.setRest(nil, false)
	}
	return n
}

// wroteAnswers counts n bytes against the answers and returns those left.
func (s *Session) wroteAnswers(n int) int {
	waiting := len(s.answers)
	if waiting == 0 || n == 0 {
		return n
	}
	if n < waiting {
		s.behind = true
		s.answerBegun = true
		s.trimAnswers(n)
		n = 0
	} else {
		s.answerBegun = false
		s.setAnswers(nil)
		n -= waiting
	}
	if waiting > maxAnswers && len(s.answers) <= maxAnswers && !s.waiting {
		s.conn.Resume()
	}
	return n
}

// wroteSegment moves the cursor over n bytes, fewer than there are in p.
func (s *Session) wroteSegment(seg segment, n int) {
	seg.sub.cursor = seg.from
	for i, at := 0, seg.at; n > 0; i++ {
		entry, next, _ := seg.sub.cursor.Next()
		seg.sub.cursor = next
		frame := s.frame(entry, seg, i, at)
		if len(frame) > 0 { // Else it is nothing for this session.
			s.group.config.Stats.Delivered.Add(1)
		}
		if n < len(frame) {
			s.setRest(frame[n:], len(s.group.write.sizes) > 0)
			return
		}
		n, at = n-len(frame), at+len(frame)
	}
}

// frame returns what was written of an entry, the one with number i in a part: the
// frame that all share, or in a set the session's own, at a place in the buffer.
func (s *Session) frame(entry *topic.Entry, seg segment, i, at int) []byte {
	w := &s.group.write
	if len(w.sizes) == 0 {
		return s.group.batches.frame(entry, seg.sub)
	}
	return w.buffer[at : at+w.sizes[seg.sizes+i]]
}
