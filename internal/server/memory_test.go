package server

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A storm is over when nobody comes any more, and all who came were judged.
func TestTidyAfterAStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var waiting, freed atomic.Int64
		m := tidier{waiting: func() int { return int(waiting.Load()) }, free: func() { freed.Add(1) }}
		defer m.stop()
		come := func(clients int) {
			for range clients {
				m.handshake()
			}
		}
		expect := func(after time.Duration, times int64, why string) {
			t.Helper()
			time.Sleep(after)
			synctest.Wait()
			if got := freed.Load(); got != times {
				t.Fatalf("%s: memory was given back %d times, want %d", why, got, times)
			}
		}
		come(stormSize - 1)
		expect(time.Hour, 0, "a few came")
		waiting.Store(1)
		come(1)
		expect(time.Minute, 0, "many came, and one waits for its token")
		waiting.Store(0)
		expect(2*stormOver, 1, "all were judged")
		come(stormSize)
		expect(stormOver/2, 1, "they still come")
		come(1)
		expect(stormOver-1, 1, "they still come")
		expect(1, 2, "the second storm is over")
		expect(time.Hour, 2, "nobody comes")
	})
}
