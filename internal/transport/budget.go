package transport

import (
	"cmp"
	"sync/atomic"
)

// DefaultBudgetBytes bounds a [Budget] that is not told otherwise.
const DefaultBudgetBytes = 64 << 20

// A Budget bounds a kind of memory of all connections together: incomplete
// messages, or what clients have not read. Safe for concurrent use.
type Budget struct {
	maxBytes int64 // immutable
	used     atomic.Int64
}

// NewBudget returns a Budget of maxBytes; 0 means [DefaultBudgetBytes].
func NewBudget(maxBytes int64) *Budget {
	return &Budget{maxBytes: cmp.Or(maxBytes, DefaultBudgetBytes)}
}

// Used returns how many bytes are taken now.
func (b *Budget) Used() int64 {
	return b.used.Load()
}

// take reserves n bytes and reports whether there was room for them.
func (b *Budget) take(n int) bool {
	if b == nil {
		return true
	}
	if b.used.Add(int64(n)) > b.maxBytes {
		b.used.Add(int64(-n))
		return false
	}
	return true
}

// Charge takes n bytes in any case, and reports whether there was room for them.
// If not, the caller may end what it charged for, and releases it in any case. A nil
// Budget always has room.
func (b *Budget) Charge(n int) (within bool) {
	return b == nil || b.used.Add(int64(n)) <= b.maxBytes
}

// shares is into how many parts the room that is left is divided for [Budget.Share].
const shares = 8

// Share returns how many bytes one client may hold now: an eighth of the room that is
// left. So it is always the clients with much that do not fit. They cannot use up the
// room for those with little.
func (b *Budget) Share() int {
	return int(max(0, b.maxBytes-b.used.Load()) / shares)
}

// Release gives n bytes back. A nil Budget has none.
func (b *Budget) Release(n int) {
	if b != nil {
		b.used.Add(int64(-n))
	}
}

// Unread bounds what clients have not read, by kind of client: no kind can use up the
// room of another.
type Unread struct {
	// Unauthenticated bounds what WebSocket clients that have shown no valid token have not
	// read of their answers, and the pongs of all clients. It is an eighth.
	Unauthenticated *Budget
	// Sessions bounds what other WebSocket clients and event streams have not read. It
	// is three eighths. A caller charges what a session owns, and ends a session only
	// if what its own commands asked for is more than [Budget.Share].
	Sessions *Budget
	// Answers bounds the answers to HTTP requests that are being read. It is a half.
	// A caller charges an answer before it begins, and refuses it if there is no room.
	Answers *Budget
}

// NewUnread returns an Unread of maxBytes in all; 0 means [DefaultBudgetBytes].
func NewUnread(maxBytes int64) *Unread {
	part := cmp.Or(maxBytes, DefaultBudgetBytes) / 8
	return &Unread{Unauthenticated: NewBudget(part), Sessions: NewBudget(3 * part), Answers: NewBudget(4 * part)}
}

// Used returns how many bytes are taken now in all.
func (u *Unread) Used() int64 {
	return u.Unauthenticated.Used() + u.Sessions.Used() + u.Answers.Used()
}
