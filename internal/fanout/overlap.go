package fanout

import (
	"cmp"
	"iter"
	"slices"
	"time"

	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/topic"
)

// An Overlap decides which subscription of a client delivers a message that several of them
// match: a subscription to its topic, and subscriptions to patterns.
//
// Each subscription is a cursor in a log of its own; see [pubsub.Pattern.Topic]. The message is
// in all of these logs. The most specific subscription delivers it: the one to its topic, else
// the one to the longest pattern. The others wait at the message until that one has passed it,
// and then pass it too. So a client gets every message once and the messages of a topic in
// order, and if one of the subscriptions ends, those that remain go on where it stopped.
//
// A subscription is responsible only for messages after the position where it began. While a
// less specific one has messages up to there, the new one waits for it. There is no deadlock:
// a subscription waits only for one whose next message has a lower offset, or for a more
// specific one whose next message is the same.
//
// A client may resume its subscriptions in any order, because a position that it is told means the
// same everywhere: it has every message up to there of what it has subscribed to. What other
// subscriptions have yet to deliver is after the position; see Has. So a client that
// resumes a subscription from a position needs nothing before it, whichever other subscriptions
// it resumes, and when. See Join for subscriptions that it begins meanwhile.
//
// The offsets of all topics must be one order. S stands for a subscription. The zero value has
// none, and a nil Overlap never has any. It is for one goroutine.
type Overlap[S any] struct {
	topics   map[pubsub.Topic]*member[S]
	patterns []*member[S] // the longest first
	ended    []*member[S] // whose messages others have not passed yet
	ends     int          // how many have ended
	joins    int          // how many have begun

	due time.Duration // when positions may be reported again
}

type member[S any] struct {
	sub     S
	name    pubsub.Topic
	pattern pubsub.Pattern  // empty: a topic
	cursor  *topic.Cursor   // nil once it has ended
	from    uint64          // offset after which it is responsible
	asked   bool            // the client asked for what follows from, so it needs nothing before
	to      uint64          // the last offset that it has delivered, once it has ended
	began   int             // Overlap.ends when it began
	end     int             // Overlap.ends from its end on; those that began later deliver what it has delivered, too
	joined  int             // Overlap.joins when it began
	waits   bool            // other subscriptions may have messages up to from
	told    pubsub.Position // the client knows that it has everything up to here
}

// Join adds a subscription to a topic or a pattern topic, which reads at cursor from now on. It
// begins as r says; asked means that the client gave the position. Join returns what the client
// must be told.
//
// Join moves the cursor past messages that less specific subscriptions have delivered.
//
// A client that asks for messages from before the beginning of another subscription, to which
// it did not give a position, may already have newer messages of the same topic. It would
// take the older ones for repeated ones. If there are any, the new subscription is not recovered.
func (x *Overlap[S]) Join(sub S, name pubsub.Topic, cursor *topic.Cursor, r topic.Resumed, asked bool) topic.Resumed {
	if x == nil {
		return r
	}
	x.joins++
	m := &member[S]{sub: sub, name: name, cursor: cursor, asked: asked, began: x.ends, joined: x.joins, waits: true}
	if p, ok := name.Pattern(); ok {
		m.pattern = p
	}
	if asked && r.Recovered && x.misses(m) {
		for !cursor.AtTail() {
			_, *cursor, _ = cursor.Next()
		}
		r = topic.Resumed{Position: cursor.Position()}
	}
	m.from = r.Position.Offset
	switch {
	case !asked:
		r.Position = x.has(m, r.Position)
	case r.Recovered:
		x.passDelivered(m)
	}
	for p := range x.overlapping(m) {
		p.waits = true
	}
	r.Cursor, m.told = *cursor, r.Position
	if m.pattern == "" {
		if x.topics == nil {
			x.topics = make(map[pubsub.Topic]*member[S])
		}
		x.topics[name] = m
		return r
	}
	i, _ := slices.BinarySearchFunc(x.patterns, m, func(a, b *member[S]) int { return cmp.Compare(len(b.pattern), len(a.pattern)) })
	x.patterns = slices.Insert(x.patterns, i, m)
	return r
}

// misses reports whether some message that m would deliver may come too late: it is from before the
// beginning of subscriptions to which the client did not give a position, and no other has it.
func (x *Overlap[S]) misses(m *member[S]) bool {
	var last uint64 // offset of the last message that may come too late
	for p := range x.overlapping(m) {
		if !p.asked {
			last = max(last, p.from)
		}
	}
	for e, at, more := m.cursor.Next(); more && e.Message().Position.Offset <= last; e, at, more = at.Next() {
		matched, has := false, false
		for p := range x.overlapping(m) {
			if p.matches(e.Message().Topic) {
				matched, has = true, has || p.asked || e.Message().Position.Offset > p.from
			}
		}
		if matched && !has {
			return true
		}
	}
	return false
}

// passDelivered moves m past the messages that less specific members have delivered.
func (x *Overlap[S]) passDelivered(m *member[S]) {
	for _, p := range x.patterns {
		if p.contains(m) && p.hasDelivered() {
			m.from = max(m.from, p.cursor.Position().Offset)
		}
	}
	for e, at, more := m.cursor.Next(); more && !e.IsMarker() && e.Message().Position.Offset <= m.from; e, at, more = m.cursor.Next() {
		*m.cursor = at
	}
}

// hasDelivered reports whether m has passed a message after its beginning.
func (m *member[S]) hasDelivered() bool { return m.cursor.Position().Offset > m.from }

// Has returns the position up to which the client has every message of the subscription to name, if
// the subscription has delivered everything up to to.
func (x *Overlap[S]) Has(name pubsub.Topic, to pubsub.Position) pubsub.Position {
	if x.Patterns() == 0 {
		return to
	}
	m := x.find(name)
	if m == nil {
		return to
	}
	if to = x.has(m, to); to.Offset < m.told.Offset {
		return m.told
	}
	return to
}

func (x *Overlap[S]) has(m *member[S], to pubsub.Position) pubsub.Position {
	if !m.waits {
		return to
	}
	m.waits = false
	for p := range x.overlapping(m) {
		e, _, more := p.cursor.Next()
		if !more || e.Message().Position.Offset > m.from {
			continue
		}
		m.waits = true
		if at := p.cursor.Position(); at.Offset < to.Offset {
			to = at
		}
	}
	return to
}

// overlapping returns the members that match some of what m matches, other than m.
func (x *Overlap[S]) overlapping(m *member[S]) iter.Seq[*member[S]] {
	return func(yield func(*member[S]) bool) {
		for _, p := range x.patterns {
			if (p.contains(m) || m.contains(p)) && !yield(p) {
				return
			}
		}
		if m.pattern == "" {
			return
		}
		for _, t := range x.topics {
			if m.contains(t) && !yield(t) {
				return
			}
		}
	}
}

// Remove removes the subscription to a topic or a pattern topic, if there is one. The client
// has what it delivers up to a position, and nothing after that.
func (x *Overlap[S]) Remove(name pubsub.Topic, to pubsub.Position) {
	if x == nil {
		return
	}
	if m := x.find(name); m != nil { // also without patterns: the subscription must not come back with the next one
		delete(x.topics, name)
		x.patterns = slices.DeleteFunc(x.patterns, func(other *member[S]) bool { return other == m })
		var none S
		m.sub, m.cursor = none, nil // A cursor would keep all later messages of its topic in memory.
		x.ends++
		m.end = x.ends
		if m.to = to.Offset; m.to > m.from || m.asked {
			x.ended = append(x.ended, m)
		}
	}
	x.ended = slices.DeleteFunc(x.ended, func(m *member[S]) bool { return x.unread(m, m.to) == nil })
}

// Patterns returns the number of subscriptions to patterns. Without any, an Overlap has no effect.
func (x *Overlap[S]) Patterns() int {
	if x == nil {
		return 0
	}
	return len(x.patterns)
}

func (x *Overlap[S]) find(name pubsub.Topic) *member[S] {
	if m := x.topics[name]; m != nil {
		return m
	}
	for _, m := range x.patterns {
		if m.name == name {
			return m
		}
	}
	return nil
}

// maxPassed is about the number of messages that one call of Batch passes. After that the
// caller serves others.
const maxPassed = 1024

// Batch does what [topic.Batches.From] does, for the subscription to name, but leaves out the
// messages that other subscriptions deliver, and those that exclude the connection. It returns
// nil if From does.
//
// If the subscription must wait, the batch ends where it waits, and waits is true: first must
// be written first. It has unread messages.
func (x *Overlap[S]) Batch(batches *topic.Batches, f *topic.Format, name pubsub.Topic, at topic.Cursor, limit int, connection pubsub.Connection) (b *topic.Batch, first S, waits bool) {
	if x.Patterns() == 0 {
		return nil, first, false
	}
	m := x.find(name)
	if m == nil {
		return nil, first, false
	}
	if behind := x.behind(m); behind != nil {
		return batches.Empty(at, false), behind.sub, true
	}
	if m.pattern == "" || !x.overlaps(m) {
		return nil, first, false
	}
	excluded := func(e *topic.Entry) bool {
		return e.Message().Exclude != 0 && e.Message().Exclude == connection
	}
	for range maxPassed {
		e, next, more := at.Next()
		if !more {
			break
		}
		by := x.responsible(m, e)
		if by != m && by.cursor != nil && by.from < e.Message().Position.Offset && by.cursor.Position().Offset < e.Message().Position.Offset {
			return batches.Empty(at, false), by.sub, true
		}
		if by == m && !excluded(e) {
			return batches.Before(f, at, limit, func(e *topic.Entry) bool { return x.responsible(m, e) != m || excluded(e) }), first, false
		}
		at = next
	}
	return batches.Empty(at, !at.AtTail()), first, false
}

// Waits reports whether the subscription to name must wait for another one before its next
// message.
func (x *Overlap[S]) Waits(name pubsub.Topic) bool {
	if x.Patterns() == 0 {
		return false
	}
	m := x.find(name)
	return m != nil && x.behind(m) != nil
}

// responsible returns the member that delivers e, which m has not passed. If e is at or before the
// beginning of that member, the client needs no one to deliver it.
func (x *Overlap[S]) responsible(m *member[S], e *topic.Entry) *member[S] {
	message := e.Message()
	var had *member[S]
	if t := x.topics[message.Topic]; t != nil && t.relieves(m, message.Position.Offset) {
		if message.Position.Offset > t.from {
			return t
		}
		had = t
	}
	for _, p := range x.patterns {
		if p == m {
			break
		}
		if !p.pattern.Matches(message.Topic) || !p.relieves(m, message.Position.Offset) {
			continue
		}
		if message.Position.Offset > p.from {
			return p
		}
		had = p
	}
	if had != nil {
		return had
	}
	for _, p := range x.ended {
		if m.began < p.end && message.Position.Offset <= p.to && m.contains(p) && p.matches(message.Topic) && p.relieves(m, message.Position.Offset) {
			return p
		}
	}
	return m
}

// relieves reports whether other, which is less specific, need not deliver a message that both match:
// m delivers it, or the client had it when other began.
func (m *member[S]) relieves(other *member[S], offset uint64) bool {
	return offset > m.from || m.asked && m.joined < other.joined
}

func (m *member[S]) matches(name pubsub.Topic) bool {
	return m.pattern == "" && m.name == name || m.pattern != "" && m.pattern.Matches(name)
}

// behind returns a less specific member that has messages to deliver up to the position where
// m began, or nil.
func (x *Overlap[S]) behind(m *member[S]) *member[S] {
	if !m.waits {
		return nil
	}
	p := x.unread(m, m.from)
	if m.pattern == "" {
		m.waits = p != nil
	}
	return p
}

// unread returns a less specific member than m that has unread messages up to an offset, or nil.
func (x *Overlap[S]) unread(m *member[S], to uint64) *member[S] {
	for _, p := range x.patterns {
		if !p.contains(m) || m.end > 0 && p.began >= m.end {
			continue
		}
		if e, _, more := p.cursor.Next(); more && e.Message().Position.Offset <= to {
			return p
		}
	}
	return nil
}

// contains reports whether m is a pattern that matches more than other does.
func (m *member[S]) contains(other *member[S]) bool {
	if m.pattern == "" {
		return false
	}
	if other.pattern == "" {
		return m.pattern.Matches(other.name)
	}
	return m.pattern.Contains(other.pattern) && m.pattern != other.pattern
}

// overlaps reports whether a more specific member matches some of what the pattern m matches.
func (x *Overlap[S]) overlaps(m *member[S]) bool {
	if slices.ContainsFunc(x.ended, m.contains) {
		return true
	}
	for _, p := range x.patterns {
		if p == m {
			break
		}
		if m.pattern.Contains(p.pattern) {
			return true
		}
	}
	for _, t := range x.topics {
		if m.pattern.Matches(t.name) {
			return true
		}
	}
	return false
}

// Repeated returns by how much the sum of the lags of all subscriptions exceeds what the client
// lags, if each lags by what lag returns. The messages of a subscription are also in those that
// contain it: what a pattern lags is its own lag or the sum of those that it contains, whichever is
// more.
func (x *Overlap[S]) Repeated(lag func(S) uint64) uint64 {
	if x.Patterns() == 0 {
		return 0
	}
	var all, counted uint64
	inside := make([]uint64, len(x.patterns)) // what is contained in each of patterns
	count := func(m *member[S], n uint64) {
		for i, p := range x.patterns {
			if p.contains(m) {
				inside[i] += n
				return
			}
		}
		counted += n
	}
	for _, t := range x.topics {
		n := lag(t.sub)
		all += n
		count(t, n)
	}
	for i, p := range x.patterns { // The longest first: those inside have been counted.
		n := lag(p.sub)
		all += n
		count(p, max(n, inside[i]))
	}
	return all - counted
}

// reportEvery is the shortest time between two reports of positions.
const reportEvery = time.Second

// Report calls report with each pattern whose position has changed since the last report, if
// that is a second ago. The client has everything up to the position. again is when to call
// Report next; 0: after something was written.
func (x *Overlap[S]) Report(now time.Duration, report func(pubsub.Pattern, pubsub.Position)) (again time.Duration) {
	changed := false
	for _, m := range x.patterns {
		to := x.has(m, m.cursor.Position())
		if to.Offset <= m.told.Offset { // lower: it began between two messages
			continue
		}
		if now < x.due {
			return x.due
		}
		m.told, changed = to, true
		report(m.pattern, to)
	}
	if changed {
		x.due = now + reportEvery
	}
	return 0
}
