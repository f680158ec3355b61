package transport

import (
	"cmp"
	"sync/atomic"
)

// DefaultBudgetBytes bounds a [Budget] that is not told otherwise.
const DefaultBudgetBytes = 64 << 20

// A Budget bounds a kind of memory of all connections together: incomplete
// messages, or what clients have not read. A client for which there is no room is
// closed with 1013. Safe for concurrent use.
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
// If not, the caller ends what it charged for, and releases it.
func (b *Budget) Charge(n int) (within bool) {
	return b.used.Add(int64(n)) <= b.maxBytes
}

// Release gives n bytes back. A nil Budget has none.
func (b *Budget) Release(n int) {
	if b != nil {
		b.used.Add(int64(-n))
	}
}
