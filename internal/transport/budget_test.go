package transport_test

import (
	"testing"

	"github.com/ikornaselur/notiflux/internal/transport"
)

// No kind of client uses up the room of another, and together they use the given total.
func TestUnreadHasRoomForEachKind(t *testing.T) {
	u := transport.NewUnread(64 << 10)
	for name, b := range map[string]*transport.Budget{"strangers": u.Unauthenticated, "sessions": u.Sessions, "answers": u.Answers} {
		n := 0
		for ; b.Charge(1 << 10); n++ {
		}
		b.Release(1 << 10)
		if n == 0 || b.Share() != 0 {
			t.Errorf("%s: room for %d KiB, then a share of %d bytes", name, n, b.Share())
		}
	}
	if got := u.Used(); got != 64<<10 {
		t.Errorf("%d bytes were taken in all, want %d", got, 64<<10)
	}
}

// Clients that take their full share leave room for others with less, for a long time.
func TestShareLeavesRoom(t *testing.T) {
	b := transport.NewBudget(8 << 20)
	const much, little = 70 << 10, 8 << 10
	fill := func(size int) (n int) {
		for b.Share() >= size {
			b.Charge(size)
			n++
		}
		return n
	}
	if n := fill(much); n < 50 {
		t.Errorf("room for %d large clients", n)
	}
	if n := fill(little); n < 50 {
		t.Errorf("room for %d small clients beside the large ones", n)
	}
}
