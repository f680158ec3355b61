package connect_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ikornaselur/notiflux/client/internal/connect"
	"github.com/ikornaselur/notiflux/client/internal/wire"
)

// The rules of docs/protocol.md, sections 5 and 8.
func TestPause(t *testing.T) {
	const never = -1
	backoff := func(attempt int) time.Duration { return time.Duration(attempt) * time.Second }
	for _, c := range []struct {
		err  error
		want time.Duration // before attempt 3
	}{
		{errors.New("network"), 3 * time.Second},
		{wire.ErrHalfFrame, 3 * time.Second},
		{&wire.Interrupted{Err: errors.New("cut")}, 3 * time.Second},
		{wire.ErrProtocol, never},
		{fmt.Errorf("read: %w", wire.ErrTooLarge), never},

		{&wire.Status{Status: 302}, never},
		{&wire.Status{Status: 400, Code: wire.Malformed}, never},
		{&wire.Status{Status: 401}, never},
		{&wire.Status{Status: 403}, never},
		{&wire.Status{Status: 429, After: 2 * time.Second}, 5 * time.Second},
		{&wire.Status{Status: 503, After: 7 * time.Second}, 10 * time.Second},
		{&wire.Status{Status: 503, After: time.Hour}, 5*time.Minute + 3*time.Second},
		{&wire.Status{Status: 500}, 3 * time.Second},

		{&wire.Close{Code: 1000}, 3 * time.Second},
		{&wire.Close{Code: 1001}, 3 * time.Second},
		{&wire.Close{Code: 1002}, never},
		{&wire.Close{Code: 1003}, never},
		{&wire.Close{Code: 1007}, never},
		{&wire.Close{Code: 1008}, 3 * time.Second},
		{&wire.Close{Code: 1009}, never},
		{&wire.Close{Code: 1011}, 3 * time.Second},
		{&wire.Close{Code: 1012, Bye: "draining", After: 5 * time.Second}, 5 * time.Second},
		{&wire.Close{Code: 1012, Bye: "draining", After: 1 * time.Second}, 3 * time.Second},
		{&wire.Close{Code: 1012, Bye: "draining", After: -time.Second}, 3 * time.Second},
		{&wire.Close{Code: 1013, Bye: "over_capacity", After: time.Hour}, 5 * time.Minute},
		{&wire.Close{Code: 4003}, never},
		{&wire.Close{Code: 4009, Bye: "idle"}, never},
		{&wire.Close{Code: 4050}, never},
		{&wire.Close{Code: 4099}, never},
		{&wire.Close{Code: 4100}, 3 * time.Second},
		{&wire.Close{Code: 4108, Bye: wire.TooMany, After: 4 * time.Second}, 4 * time.Second},
		{&wire.Close{Code: 4199}, 3 * time.Second},
		{&wire.Close{Code: 4201}, 0},
		{&wire.Close{Code: 4202, Bye: wire.TooSlow}, 0},
		{&wire.Close{Code: 4299}, 0},
		{&wire.Close{Code: 4300}, 3 * time.Second},

		{&wire.Close{Bye: "draining", After: 5 * time.Second}, 5 * time.Second},
		{&wire.Close{Bye: wire.TooSlow}, 0},
		{&wire.Close{Bye: "later"}, 3 * time.Second},
	} {
		got, again := connect.Pause(c.err, 3, backoff)
		if !again {
			got = never
		}
		if got != c.want {
			t.Errorf("Pause(%#v) = %v, %v; want %v", c.err, got, again, c.want)
		}
	}
}

func TestIsIdle(t *testing.T) {
	if !connect.IsIdle(&wire.Close{Code: 4009}) || connect.IsIdle(&wire.Close{Code: 4008}) || connect.IsIdle(nil) {
		t.Error("IsIdle is wrong")
	}
}

func TestBackoff(t *testing.T) {
	for attempt, most := range map[int]time.Duration{0: time.Second / 2, 1: time.Second, 5: 16 * time.Second, 6: 30 * time.Second, 1000: 30 * time.Second} {
		var longest time.Duration
		for range 1000 {
			longest = max(longest, connect.Backoff(attempt))
		}
		if longest >= most || longest < most/2 {
			t.Errorf("the longest of 1,000 back-offs before attempt %d is %v, want almost %v", attempt, longest, most)
		}
	}
}

func TestSleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		if !connect.Sleep(t.Context(), time.Minute) || time.Since(began) != time.Minute {
			t.Errorf("Sleep ended after %v", time.Since(began))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began = time.Now()
		if connect.Sleep(ctx, time.Minute) || time.Since(began) != time.Second {
			t.Errorf("Sleep ended %v after its context was to", time.Since(began))
		}
	})
}
