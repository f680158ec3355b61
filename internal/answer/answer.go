// Package answer encodes large answers piece by piece: a page of a history, the messages of
// a poll, or a list of members.
//
// [Messages] selects the messages of an answer, within limits on their number and on their
// encoded bytes. It takes them from the logs, which hold the recent messages of each topic.
// [Messages.Answer] adds the JSON before and after them. An [Answer] works like a cursor:
// [Answer.Append] encodes the next bytes into the caller's buffer. So an answer that a
// client does not read takes no buffer, and an answer that is abandoned causes no more
// work.
//
// Invariants:
//   - The messages of an answer, and its size in bytes, are fixed when it is made.
//   - Every answer encodes its messages itself; nothing is cached.
//
// An answer keeps the log entries after its cursor in memory. [Answer.Lag] returns how many
// bytes of them the logs have already dropped. A broker may have read messages from its
// store only for this answer: no log holds them, and [Answer.Owned] returns their bytes. The
// package limits neither; the owner of the answer does.
package answer

import (
	"context"
	"math"

	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/topic"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// MaxBytes is the encoded size at which an answer is full (docs/protocol.md, section 6).
// The first message always fits.
const MaxBytes = 1 << 20

// MinRoom is the smallest room, in bytes, with which [Answer.Append] always makes progress.
const MinRoom = len(",") + max(wire.MinRoom, wire.MaxMemberBytes)

// Messages are the messages of an answer. The zero value is full.
type Messages struct {
	spans []span
	limit int // how many more messages fit
	bytes int // encoded size, with commas

	// Memory of the messages that no log holds, and its limit.
	owned, maxOwned int
}

// A span is a range of consecutive messages of a log.
type span struct {
	topic  *topic.Topic
	cursor topic.Cursor // before the first message
	count  int
}

// UpTo returns Messages with room for limit messages.
func UpTo(limit int) *Messages { return &Messages{limit: limit, maxOwned: math.MaxInt} }

// Owning limits the memory of messages that no log holds to n bytes, and returns m. The first
// message always fits.
func (m *Messages) Owning(n int) *Messages {
	m.maxOwned = n
	return m
}

// Full reports whether no more messages fit.
func (m *Messages) Full() bool { return m.limit == 0 || m.bytes >= MaxBytes }

// checkEvery is the number of bytes of data that [Messages.Take] handles between two checks
// of its context.
const checkEvery = 64 << 10

// Take adds up to most messages of t, beginning at c, until m is full or a marker follows.
// It returns the cursor after them and their number. It stops early if ctx ends. t may be
// nil if no log holds the messages.
func (m *Messages) Take(ctx context.Context, t *topic.Topic, c topic.Cursor, most int) (next topic.Cursor, n int) {
	s := span{topic: t, cursor: c}
	unchecked := 0
	for s.count < most && !m.Full() {
		entry, next, ok := c.Next()
		if !ok || entry.IsMarker() || unchecked >= checkEvery && ctx.Err() != nil {
			break
		}
		if t == nil {
			own := len(entry.Message().Body.Data) + topic.Overhead
			if m.owned > 0 && own > m.maxOwned-m.owned {
				break
			}
			m.owned += own
		}
		size := wire.MessageSize(entry.Message())
		if m.bytes > 0 {
			size++ // the comma before the message
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

// History adds the messages of h that fit, and returns the values that follow the messages
// in the answer.
func (m *Messages) History(ctx context.Context, h topic.History) wire.HistoryEnd {
	end := wire.HistoryEnd{Position: h.Position, Recovered: h.Recovered, More: h.More}
	if h.Count == 0 {
		return end
	}
	next, n := m.Take(ctx, h.Topic, h.Cursor, h.Count)
	if n == h.Count {
		return end
	}
	end.Position, end.More = next.Position(), true
	if h.Topic == nil && n > 0 {
		m.spans[len(m.spans)-1].cursor = h.First(n).Cursor // otherwise it would keep the other messages in memory
	}
	return end
}

// Answer returns the answer with the messages between prefix and suffix. The answer owns
// both slices.
func (m *Messages) Answer(prefix, suffix []byte) *Answer {
	return &Answer{prefix: prefix, spans: m.spans, ownMessages: m.owned, suffix: suffix, remaining: len(prefix) + m.bytes + len(suffix)}
}

// ForMembers returns the answer with members between prefix and suffix. The answer owns all
// three slices.
func ForMembers(prefix []byte, members []pubsub.Member, suffix []byte) *Answer {
	a := &Answer{prefix: prefix, members: members, suffix: suffix, remaining: len(prefix) + len(suffix)}
	for i, m := range members {
		a.remaining += wire.MemberSize(m) + min(i, 1) // the comma before the member
	}
	return a
}

// An Answer is the rest of a JSON object with messages or members. It is not safe for
// concurrent use.
type Answer struct {
	prefix      []byte
	spans       []span       // the cursor of the first span is before the next message
	partial     wire.Partial // the rest of the current message
	ownMessages int          // memory of the messages that no log holds, before the first Append
	members     []pubsub.Member
	comma       bool // a comma precedes the next message or member
	suffix      []byte
	remaining   int
}

// Len returns the number of bytes that remain.
func (a *Answer) Len() int { return a.remaining }

// memberBytes is the size of a [pubsub.Member]. The registry owns the data that it points
// to.
const memberBytes = 40

// Owned returns the number of bytes of memory that only the answer uses, before the first
// Append. They include the messages that a broker has read from its store: each answer has
// its own copy.
func (a *Answer) Owned() int {
	return cap(a.prefix) + a.ownMessages + cap(a.members)*memberBytes + cap(a.suffix)
}

// Append appends the next bytes, at most room of them. It appends fewer only at the end of
// the answer, or if less than [MinRoom] of the room remains.
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

// appendItem appends the next bytes of the current message, begins the next message, or
// appends the next member.
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

// appendComma appends the comma before a message or member.
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
		s.topic, s.cursor = nil, topic.Cursor{} // otherwise it would keep all later entries in memory
		a.spans = a.spans[1:]
	}
	dst, a.partial = wire.BeginMessage(dst, entry.Message())
	return dst
}

// move moves bytes from the front of src to dst, up to a length of end.
func move(dst []byte, src *[]byte, end int) []byte {
	n := min(len(*src), end-len(dst))
	dst = append(dst, (*src)[:n]...)
	*src = (*src)[n:]
	return dst
}

// Lag returns how many bytes the answer keeps in memory that the logs have already dropped.
func (a *Answer) Lag() (bytes uint64) {
	for i := range a.spans {
		if s := &a.spans[i]; s.topic != nil {
			bytes += s.topic.Lag(s.cursor)
		}
	}
	return bytes
}

// Message returns the message at c, or nil at the tail and at a marker.
func Message(c topic.Cursor) *pubsub.Message {
	entry, _, ok := c.Next()
	if !ok || entry.IsMarker() {
		return nil
	}
	return entry.Message()
}
