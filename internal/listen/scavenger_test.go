package listen

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A burst of new clients is over when no more connect and all their tokens have been
// checked.
func TestMemoryIsReturnedAfterABurst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var waiting, freed atomic.Int64
		m := Scavenger{waiting: func() int { return int(waiting.Load()) }, free: func() { freed.Add(1) }}
		defer m.Stop()
		come := func(clients int) {
			for range clients {
				m.Connected()
			}
		}
		expect := func(after time.Duration, times int64, why string) {
			t.Helper()
			time.Sleep(after)
			synctest.Wait()
			if got := freed.Load(); got != times {
				t.Fatalf("%s: memory was returned %d times, want %d", why, got, times)
			}
		}
		come(burstSize - 1)
		expect(time.Hour, 0, "a few came")
		waiting.Store(1)
		come(1)
		expect(time.Minute, 0, "many came, and one waits for its token")
		waiting.Store(0)
		expect(2*burstOver, 1, "all tokens are checked")
		come(burstSize)
		expect(burstOver/2, 1, "they still come")
		come(1)
		expect(burstOver-1, 1, "they still come")
		expect(1, 2, "the second burst is over")
		expect(time.Hour, 2, "nobody comes")
	})
}
