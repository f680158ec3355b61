// Package answer makes answers that hold messages of topics' logs: a part of one
// history, or what a poll has of several topics. Lists of members are made likewise.
//
// [Messages] chooses them: places in logs where the answer begins and ends, within
// limits on their number and on their encoded bytes. [Messages.Answer] puts a head and
// a tail around them. The [Answer] is a cursor: it encodes its next bytes when it is
// asked for them ([Answer.Append]), into the buffer of the caller. So an answer that
// nobody reads costs no buffer, and one that is given up costs no work.
//
// Invariants: what an answer holds is fixed when it is made, so are its bytes and
// their number. It encodes every message for itself and caches nothing.
//
// What an answer keeps in memory are the entries from its cursor on. [Answer.Lag]
// says how much of that the logs have dropped; whoever owns the answer bounds it.
package answer

import (
	"context"

	"github.com/ikornaselur/notiflux"
	"github.com/ikornaselur/notiflux/internal/topic"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// MaxBytes is after how many encoded bytes no further message joins an answer:
// docs/protocol.md, section 6. The first message always does.
const MaxBytes = 1 << 20

// MinRoom is the least room, in bytes, in which [Answer.Append] always gets on: for a
// comma and what comes behind it at once.
const MinRoom = len(",") + max(wire.MinRoom, wire.MaxMemberBytes)

// Messages are those of an answer. The zero value has room for none.
type Messages struct {
	spans []span
	limit int // messages that there is room for
	bytes int // encoded, with commas
}

// A span is messages that follow each other in a log.
type span struct {
	topic  *topic.Topic
	cursor topic.Cursor // of the first one
	count  int
}

// UpTo returns Messages with room for up to limit of them.
func UpTo(limit int) *Messages { return &Messages{limit: limit} }

// Full reports whether no further message fits.
func (m *Messages) Full() bool { return m.limit == 0 || m.bytes >= MaxBytes }

// checkEvery is after how many bytes of data [Messages.Take] looks whether its
// context has ended.
const checkEvery = 64 << 10

// Take adds messages of t from c on, not more than most, nor than there is room for,
// and returns the cursor behind them. It stops when ctx ends. Afterwards the count of
// messages taken is in n.
func (m *Messages) Take(ctx context.Context, t *topic.Topic, c topic.Cursor, most int) (next topic.Cursor, n int) {
	s := span{topic: t, cursor: c}
	unchecked := 0
	for s.count < most && !m.Full() {
		entry, next, ok := c.Next()
		if !ok || unchecked >= checkEvery && ctx.Err() != nil {
			break
		}
		size := wire.MessageSize(entry.Message())
		if m.bytes > 0 {
			size++ // The comma before it.
		}
		m.bytes += size
		m.limit--
		s.count++
		c = next
		unchecked = unchecked%checkEvery + len(entry.Message().Body.Data)
	}
	if s.count > 0 {
		m.spans = append(m.spans, s)
	}
	return c, s.count
}

// History takes what a history of h fits of the messages, and returns how the answer
// ends.
func (m *Messages) History(ctx context.Context, h topic.History) wire.HistoryEnd {
	end := wire.HistoryEnd{Position: h.Position, Recovered: h.Recovered, More: h.More}
	if h.Count == 0 {
		return end
	}
	if next, n := m.Take(ctx, h.Topic, h.Cursor, h.Count); n < h.Count {
		end.Position.Offset, end.More = next.Offset(), true
	}
	return end
}

// Answer returns the answer with the messages between a head and a tail, which it
// owns from then on.
func (m *Messages) Answer(prefix, suffix []byte) *Answer {
	return &Answer{prefix: prefix, spans: m.spans, suffix: suffix, remaining: len(prefix) + m.bytes + len(suffix)}
}

// ForMembers returns the answer with members between a head and a tail. It owns all of
// them from then on.
func ForMembers(prefix []byte, members []notiflux.Member, suffix []byte) *Answer {
	a := &Answer{prefix: prefix, members: members, suffix: suffix, remaining: len(prefix) + len(suffix)}
	for i, m := range members {
		a.remaining += wire.MemberSize(m) + min(i, 1) // The comma before it.
	}
	return a
}

// An Answer is a JSON object with messages or members in it, and how far it was given.
// It is for one goroutine.
type Answer struct {
	prefix    []byte
	spans     []span       // the first one's cursor is where the next message is
	partial   wire.Partial // the rest of the message under way
	members   []notiflux.Member
	comma     bool // a message or member was begun before
	suffix    []byte
	remaining int
}

// Len returns how many bytes are left.
func (a *Answer) Len() int { return a.remaining }

// memberBytes is the size of a [notiflux.Member]. What it points to is the registry's.
const memberBytes = 40

// Owned returns how many bytes of memory nobody but the answer has, while nothing of it
// was given.
func (a *Answer) Owned() int {
	return cap(a.prefix) + cap(a.members)*memberBytes + cap(a.suffix)
}

// Append appends the next bytes, room of them at most, and fewer only at the end or if
// less than [MinRoom] of it would be left.
func (a *Answer) Append(dst []byte, room int) []byte {
	begin, end := len(dst), len(dst)+room
	dst = move(dst, &a.prefix, end)
	for len(a.prefix) == 0 && len(dst) < end {
		before := len(dst)
		if dst = a.appendItem(dst, end); len(dst) == before {
			break
		}
	}
	if len(a.spans) == 0 && len(a.members) == 0 && a.partial.Done() {
		dst = move(dst, &a.suffix, end)
	}
	a.remaining -= len(dst) - begin
	return dst
}

// appendItem appends the next bytes of the message under way, or begins the next one,
// or appends the next member.
func (a *Answer) appendItem(dst []byte, end int) []byte {
	switch {
	case !a.partial.Done():
		return a.partial.Append(dst, end-len(dst))
	case end-len(dst) < MinRoom:
	case len(a.spans) > 0:
		return a.beginMessage(a.appendComma(dst))
	case len(a.members) > 0:
		dst = wire.AppendMember(a.appendComma(dst), a.members[0])
		a.members = a.members[1:]
	}
	return dst
}

// appendComma appends what stands before a message or member.
func (a *Answer) appendComma(dst []byte) []byte {
	if a.comma {
		return append(dst, ',')
	}
	a.comma = true
	return dst
}

func (a *Answer) beginMessage(dst []byte) []byte {
	s := &a.spans[0]
	entry, next, _ := s.cursor.Next()
	s.cursor, s.count = next, s.count-1
	if s.count == 0 {
		s.topic, s.cursor = nil, topic.Cursor{} // It would keep what comes after.
		a.spans = a.spans[1:]
	}
	dst, a.partial = wire.BeginMessage(dst, entry.Message())
	return dst
}

// move moves bytes from the front of src to dst, which stays within end.
func move(dst []byte, src *[]byte, end int) []byte {
	n := min(len(*src), end-len(dst))
	dst = append(dst, (*src)[:n]...)
	*src = (*src)[n:]
	return dst
}

// Lag returns how many bytes that the logs have dropped the answer keeps in memory.
func (a *Answer) Lag() (bytes uint64) {
	for i := range a.spans {
		bytes += a.spans[i].topic.Lag(a.spans[i].cursor)
	}
	return bytes
}

// Message returns the message at c, nil at the tail.
func Message(c topic.Cursor) *notiflux.Message {
	if entry, _, ok := c.Next(); ok {
		return entry.Message()
	}
	return nil
}
