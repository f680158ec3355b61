// Package answer encodes answers of any size piece by piece: a page of a history, the
// messages of a poll, or a list of members.
//
// [Messages] chooses messages: ranges of the logs of topics, within limits on the number
// of messages and on their encoded bytes. [Messages.Answer] adds the JSON before and after
// them. An [Answer] is a cursor: [Answer.Append] encodes its next bytes into the buffer of
// the caller. So an answer that nobody reads has no buffer, and an answer that is
// abandoned costs no more work.
//
// Invariants: the messages of an answer, its bytes and their number are fixed when it is
// made. It encodes every message by itself and caches nothing.
//
// An answer keeps the entries from its cursor on in memory. [Answer.Lag] returns how many
// bytes of them the logs have dropped. The owner of the answer bounds that.
package answer

import (
	"context"

	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/topic"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// MaxBytes is the encoded size from which an answer gets no further message
// (docs/protocol.md, section 6). The first message always fits.
const MaxBytes = 1 << 20

// MinRoom is the smallest room, in bytes, in which [Answer.Append] always makes progress.
const MinRoom = len(",") + max(wire.MinRoom, wire.MaxMemberBytes)

// Messages are the messages of an answer. The zero value has room for none.
type Messages struct {
	spans []span
	limit int // how many more messages fit
	bytes int // their encoded size, with commas
}

// A span is consecutive messages of a log.
type span struct {
	topic  *topic.Topic
	cursor topic.Cursor // of the first one
	count  int
}

// UpTo returns Messages with room for up to limit of them.
func UpTo(limit int) *Messages { return &Messages{limit: limit} }

// Full reports whether no further message fits.
func (m *Messages) Full() bool { return m.limit == 0 || m.bytes >= MaxBytes }

// checkEvery is how many bytes of data [Messages.Take] handles between two checks of its
// context.
const checkEvery = 64 << 10

// Take adds up to most messages of t from c on, as far as they fit, but none behind a
// marker. It returns the cursor after them and their number. It stops early when ctx ends.
// A nil t means that the messages are in no log.
func (m *Messages) Take(ctx context.Context, t *topic.Topic, c topic.Cursor, most int) (next topic.Cursor, n int) {
	s := span{topic: t, cursor: c}
	unchecked := 0
	for s.count < most && !m.Full() {
		entry, next, ok := c.Next()
		if !ok || entry.IsMarker() || unchecked >= checkEvery && ctx.Err() != nil {
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

// History adds the messages of h, as far as they fit, and returns what the answer says
// after them.
func (m *Messages) History(ctx context.Context, h topic.History) wire.HistoryEnd {
	end := wire.HistoryEnd{Position: h.Position, Recovered: h.Recovered, More: h.More}
	if h.Count == 0 {
		return end
	}
	if next, n := m.Take(ctx, h.Topic, h.Cursor, h.Count); n < h.Count {
		end.Position, end.More = next.Position(), true
	}
	return end
}

// Answer returns the answer with the messages between prefix and suffix. It owns both
// slices afterwards.
func (m *Messages) Answer(prefix, suffix []byte) *Answer {
	return &Answer{prefix: prefix, spans: m.spans, suffix: suffix, remaining: len(prefix) + m.bytes + len(suffix)}
}

// ForMembers returns the answer with members between prefix and suffix. It owns all three
// slices afterwards.
func ForMembers(prefix []byte, members []pubsub.Member, suffix []byte) *Answer {
	a := &Answer{prefix: prefix, members: members, suffix: suffix, remaining: len(prefix) + len(suffix)}
	for i, m := range members {
		a.remaining += wire.MemberSize(m) + min(i, 1) // The comma before it.
	}
	return a
}

// An Answer is a JSON object with messages or members, of which some bytes may have been
// appended already. Only one goroutine may use it.
type Answer struct {
	prefix    []byte
	spans     []span       // the first one's cursor is where the next message is
	partial   wire.Partial // the rest of the message under way
	members   []pubsub.Member
	comma     bool // a message or member was begun before
	suffix    []byte
	remaining int
}

// Len returns how many bytes remain.
func (a *Answer) Len() int { return a.remaining }

// memberBytes is the size of a [pubsub.Member]. What it points to is the registry's.
const memberBytes = 40

// Owned returns how many bytes of memory only the answer uses before the first Append.
func (a *Answer) Owned() int {
	return cap(a.prefix) + cap(a.members)*memberBytes + cap(a.suffix)
}

// Append appends up to room of the next bytes. It appends fewer only at the end, or if less
// than [MinRoom] of the room would be left.
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

// Lag returns how many bytes the answer keeps in memory that the logs have dropped.
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
