package transport

import (
	"cmp"
	"math"
	"sync/atomic"
)

// DefaultBudgetBytes is the limit of a [Budget] that is created with 0.
const DefaultBudgetBytes = 64 << 20

// A Budget limits one kind of memory over all connections: incomplete messages, or bytes
// that clients have not read. Safe for concurrent use.
type Budget struct {
	maxBytes int64 // immutable
	used     atomic.Int64
}

// NewBudget returns a Budget of maxBytes; 0 means [DefaultBudgetBytes].
func NewBudget(maxBytes int64) *Budget {
	return &Budget{maxBytes: cmp.Or(maxBytes, DefaultBudgetBytes)}
}

// Used returns the number of bytes in use.
func (b *Budget) Used() int64 {
	return b.used.Load()
}

// take reserves n bytes, or returns false if there is no room for them.
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

// Charge adds n bytes in any case, and reports whether there was room for them. If not, the
// caller may end the connection that it charged for. In either case the caller releases the
// bytes later. A nil Budget always has room.
func (b *Budget) Charge(n int) (within bool) {
	return b == nil || b.used.Add(int64(n)) <= b.maxBytes
}

// shares is the number of parts into which [Budget.Share] divides the remaining room.
const shares = 8

// Share returns how many bytes one client may hold now: an eighth of the remaining room. So
// only clients that hold much run out of room. They cannot use up the room of those that
// hold little. A nil Budget has no limit.
func (b *Budget) Share() int {
	if b == nil {
		return math.MaxInt
	}
	return int(max(0, b.maxBytes-b.used.Load()) / shares)
}

// Release returns n bytes. On a nil Budget it does nothing.
func (b *Budget) Release(n int) {
	if b != nil {
		b.used.Add(int64(-n))
	}
}

// Unread limits the bytes that clients have not read, by kind of client. No kind can use up
// the room of another.
type Unread struct {
	// Unauthenticated limits the unread answers of WebSocket clients without a valid token,
	// and the pongs of all clients. It is an eighth.
	Unauthenticated *Budget
	// Sessions limits the unread bytes of other WebSocket clients and of streams. It is
	// three eighths. A caller charges all memory that a session owns, but ends a session
	// only if the answers that it requested exceed [Budget.Share].
	Sessions *Budget
	// Answers limits the answers to HTTP requests that clients are reading. It is a half. A
	// caller charges an answer before it begins, and refuses the request if there is no
	// room.
	Answers *Budget
}

// NewUnread returns an Unread of maxBytes in total; 0 means [DefaultBudgetBytes].
func NewUnread(maxBytes int64) *Unread {
	part := cmp.Or(maxBytes, DefaultBudgetBytes) / 8
	return &Unread{Unauthenticated: NewBudget(part), Sessions: NewBudget(3 * part), Answers: NewBudget(4 * part)}
}

// Used returns the total number of bytes in use.
func (u *Unread) Used() int64 {
	return u.Unauthenticated.Used() + u.Sessions.Used() + u.Answers.Used()
}
