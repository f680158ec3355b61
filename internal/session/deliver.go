package session

import (
	"github.com/ikornaselur/notiflux"
	"github.com/ikornaselur/notiflux/internal/topic"
	"github.com/ikornaselur/notiflux/internal/wire"
)

const (
	// maxBatch is the size in bytes from which a write gets no further frame. It is
	// about what TCP_NOTSENT_LOWAT lets a socket take. It also bounds the message bytes
	// of a write: messages that the log has dropped may have to be compressed again.
	maxBatch = 64 << 10
	// maxTopicsPerWrite is the number of topics of a session that share a write.
	maxTopicsPerWrite = 64
	// roundBytes is how many bytes all topics of a write get together before the first
	// of them gets more. So every topic makes progress even on a connection that breaks
	// after every 20 KB.
	roundBytes = 8 << 10
	// batchSlots is the number of batches that a loop keeps. Most sessions of a topic
	// have the same cursor.
	batchSlots = 4
)

// A batch is the joined frames from one cursor on, for every session with that cursor.
type batch struct {
	from, end    topic.Cursor
	limit        int // of len(data): no frame was added from there on
	encoding     notiflux.Encoding
	exclude      notiflux.Connection // the connection that must not get the batch; 0 means none
	messages     int
	messageBytes int    // size of the messages, unencoded
	data         []byte // nil if the slot is free
	buffer       []byte // the memory of data if that holds more than one frame
}

// batches holds the latest batches of a loop.
type batches struct {
	encoder wire.Encoder
	slots   [batchSlots]batch
	next    int   // the slot to replace next
	none    batch // see empty
}

// reset drops all batches, so that the next ones reach the tails.
func (b *batches) reset() {
	for i := range b.slots {
		b.slots[i] = batch{buffer: b.slots[i].buffer}
	}
	b.none = batch{}
}

// empty returns a batch without messages that fills a write.
func (b *batches) empty(c topic.Cursor) *batch {
	b.none = batch{from: c, end: c, messageBytes: maxBatch}
	return &b.none
}

// from returns the batch of a subscription from a cursor on. It is empty at the tail. A
// batch of limit bytes gets no further frame. It is valid until the next call.
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

// frame returns the frame of an entry for a subscription. All sessions of an encoding
// share it, except streams of several topics, which write their own stream cursors.
func (b *batches) frame(entry *topic.Entry, sub *subscription) []byte {
	e := sub.session.encoding
	b.encoder.Hash = sub.subscribers.hash
	return wire.FrameFor(entry.Frame(wire.CachedEncoding(e), b.encoder.Encode), e)
}

// batch returns the next batch of a subscription from a cursor on, past messages that
// exclude its session. If these are too many for one call of Next, the batch is empty and
// does not end at the tail.
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

// maxExcluded is about how many messages that exclude the session a call of Next passes.
// Then it is the turn of the loop's other sessions.
const maxExcluded = 1024

// skipExcluded returns the cursor of the first message from c on that does not exclude
// the session. It encodes none of the messages before it. more reports that it stopped
// early, at maxExcluded.
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

// excluded reports whether a message excludes the session.
func (s *Session) excluded(m *notiflux.Message) bool {
	return m.Exclude != 0 && m.Exclude == s.connection()
}

// A write is what Next returned and Wrote accounts for, in the order of the bytes:
// answers, then the segments.
type write struct {
	segments     []segment  // a subscription may have several
	progress     []progress // while the segments are collected
	buffer       []byte
	messageBytes int    // size of the messages in buffer, unencoded
	sizes        []int  // of the frames of the segments; only of a stream with several topics
	excluded     int    // messages passed because they exclude the session; see maxExcluded
	largeAnswer  []byte // a frame of a large answer; then the write has nothing else
}

// reset drops the segments. A cursor left in one would keep all later messages of its
// topic in memory.
func (w *write) reset() {
	clear(w.segments)
	w.segments, w.sizes, w.messageBytes, w.excluded, w.largeAnswer = w.segments[:0], w.sizes[:0], 0, 0, nil
}

// A segment is consecutive messages of one subscription in a write.
type segment struct {
	sub       *subscription
	from, end topic.Cursor
	bytes     int
	messages  int
	at        int // offset in write.buffer; only of a stream with several topics
	sizes     int // index in write.sizes; only of a stream with several topics
}

// progress is how far a subscription has got in the write that is being filled.
type progress struct {
	sub *subscription
	at  topic.Cursor
}

// markDirty adds sub to the subscriptions with unread messages of its session.
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

// unlist removes sub from the subscriptions with unread messages of its session.
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

// deliveredOffset returns the offset up to which the client has everything, apart from
// skips that it was told of.
func (sub *subscription) deliveredOffset() uint64 {
	if sub.skipping {
		return sub.skipped
	}
	return sub.cursor.Offset()
}

// skip moves the cursor to the newest message.
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

// catchUp moves subscriptions in mode latest to the newest message if the client is
// behind, and queues the skipped events.
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

// Next returns the bytes to write next: whole frames, or nil for none. They are valid
// until Wrote. Call it only while Rest is nil.
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
		s.Wrote(0) // Unlists the subscriptions that are at their tail.
		return s.nextShared(w)
	}
	return w.buffer
}

// appendMessages appends unread messages of all topics to the write.
func (s *Session) appendMessages(w *write) {
	s.fillInTurns(w, func(sub *subscription, at topic.Cursor, limit int) topic.Cursor {
		b := s.batch(sub, at, limit)
		w.buffer = append(w.buffer, b.data...)
		w.messageBytes += b.messageBytes
		w.segments = append(w.segments, b.segment(sub))
		return b.end
	})
}

// segment returns b as a segment of a subscription.
func (b *batch) segment(sub *subscription) segment {
	return segment{sub: sub, from: b.from, end: b.end, bytes: len(b.data), messages: b.messages}
}

// fillInTurns fills the write from the topics with unread messages, which take turns.
// take appends about limit bytes of messages of one topic, from a cursor on, and returns
// the cursor after them.
func (s *Session) fillInTurns(w *write, take func(sub *subscription, at topic.Cursor, limit int) topic.Cursor) {
	sub := s.firstDirty
	for ; sub != nil && len(w.progress) < maxTopicsPerWrite; sub = sub.nextDirty {
		w.progress = append(w.progress, progress{sub, sub.cursor})
	}
	limit := maxBatch
	if len(w.progress) > 1 {
		limit = roundBytes / len(w.progress)
	}
	full := func() bool { return len(w.buffer) >= maxBatch || w.messageBytes >= maxBatch }
	for waiting := w.progress; len(waiting) > 0 && !full(); {
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
	clear(w.progress)
	w.progress = w.progress[:0]
}

// rotate chooses the topic that is written first. Otherwise a client whose connection
// always breaks before all topics had a turn would get the same topics each time.
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

// choose returns a number below n that differs between connections and over time. It
// does not use the random source of the group: the bytes that a client gets must not
// depend on which other clients the loop serves.
func (s *Session) choose(n int) int {
	x := uint64(s.connection()) + s.firstDirty.cursor.Offset()*0x9e3779b97f4a7c15
	// The mixing of splitmix64.
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return int((x ^ x>>31) % uint64(n))
}

// nextShared is Next for a session without answers and with unread messages in at most
// one topic. It returns the shared batch without a copy.
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

// nothing is Next for a session that has nothing to write. It carries out a pending
// close, unless a command still waits for its answer.
func (s *Session) nothing() []byte {
	if s.pendingClose != nil && !s.waiting {
		s.closeWith(*s.pendingClose)
	}
	return nil
}

// Answers returns the queued answers: whole frames, or nil for none. It replaces Next once
// the connection is closing. A large answer is included, even if some of its frames were
// written before.
func (s *Session) Answers() []byte {
	w := &s.group.write
	w.reset()
	if s.hasLargeAnswer() {
		return s.nextOfLargeAnswer(w)
	}
	return s.answers
}

// Rest returns the unwritten part of a frame that was written in part, or nil between two
// frames. The next Wrote counts bytes of it.
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

// Wrote reports that the socket took n bytes of the last Next, Answers or Rest.
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
				break // It stays the first one.
			}
			s.wroteSegment(seg, n)
		} else {
			s.group.config.Stats.Delivered.Add(uint64(seg.messages))
			seg.sub.cursor = seg.end
			n -= seg.bytes
		}
		if s.unlist(seg.sub); !seg.sub.cursor.AtTail() {
			s.markDirty(seg.sub) // At the end of the list: topics take turns.
		}
		if cut {
			break
		}
	}
	s.group.write.reset()
}

// wroteRest takes up to n written bytes off the rest of a frame and returns how many of n
// remain.
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

// wroteAnswers takes up to n written bytes off the answers and returns how many of n remain.
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

// wroteSegment moves the cursor over the first n bytes of seg, which has more.
func (s *Session) wroteSegment(seg segment, n int) {
	seg.sub.cursor = seg.from
	for i, at := 0, seg.at; n > 0; i++ {
		entry, next, _ := seg.sub.cursor.Next()
		seg.sub.cursor = next
		frame := s.frame(entry, seg, i, at)
		if len(frame) > 0 { // An excluded message has no frame.
			s.group.config.Stats.Delivered.Add(1)
		}
		if n < len(frame) {
			s.setRest(frame[n:], len(s.group.write.sizes) > 0)
			return
		}
		n, at = n-len(frame), at+len(frame)
	}
}

// frame returns the frame that was written for an entry, the i-th of seg. It is the shared
// frame, or for a stream of several topics the session's own at an offset in the buffer.
func (s *Session) frame(entry *topic.Entry, seg segment, i, at int) []byte {
	w := &s.group.write
	if len(w.sizes) == 0 {
		return s.group.batches.frame(entry, seg.sub)
	}
	return w.buffer[at : at+w.sizes[seg.sizes+i]]
}
