package quota

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// A request passes if a plain bucket, which holds the rate and is filled at the rate, has a
// token for it. So in no period more passes than the rate and what the period adds to it.
func TestOneAddress(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		rate := rapid.SampledFrom([]int{1, 2, 5, 10, 1000, MaxRate}).Draw(rt, "rate")
		pauses := rapid.SliceOf(rapid.Int64Range(0, int64(1500*time.Millisecond))).Draw(rt, "pauses")
		bursts := rapid.IntRange(1, 40).Draw(rt, "burst")
		synctest.Test(t, func(*testing.T) {
			l := New("requests", rate)
			full := int64(window)
			fill := full // of the bucket, in nanoseconds
			for _, pause := range pauses {
				time.Sleep(time.Duration(pause))
				fill = min(full, fill+pause)
				for range bursts {
					want := fill >= int64(l.interval)
					if want {
						fill -= int64(l.interval)
					}
					if got := l.Take("192.0.2.1:1"); got != want {
						rt.Fatalf("rate %d: passes: %v, want %v", rate, got, want)
					}
				}
			}
		})
	})
}

func TestSources(t *testing.T) {
	for _, test := range []struct {
		a, b string
		same bool
	}{
		{"192.0.2.1:1", "192.0.2.1:2", true},
		{"192.0.2.1:1", "192.0.2.1", true},
		{"192.0.2.1:1", "[::ffff:192.0.2.1]:1", true},
		{"192.0.2.1:1", "192.0.2.2:1", false},
		{"[2001:db8::1]:1", "[2001:db8::ffff:1]:2", true},
		{"[2001:db8::1]:1", "2001:db8::2", true},
		{"[2001:db8::1]:1", "[2001:db8:0:1::1]:1", false},
		{"[fe80::1%eth0]:1", "[fe80::2%eth1]:1", true},
		{"[::]:1", "0.0.0.0:1", false},
		{"@", "", true},
		{"@", "0.0.0.0:1", false},
	} {
		if same := source(test.a) == source(test.b); same != test.same {
			t.Errorf("%s and %s count as one: %v, want %v", test.a, test.b, same, test.same)
		}
	}
}

// A million addresses take no more memory than one, and they do not get around the limit.
func TestMillionAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const addresses = 1_000_000
		l := New("requests", 1)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		passed := 0
		for i := range uint32(addresses) {
			var v4 [4]byte
			binary.BigEndian.PutUint32(v4[:], i)
			if l.Take(netip.AddrFrom4(v4).String()) {
				passed++
			}
		}
		runtime.ReadMemStats(&after)
		if passed > Counters || passed < Counters/2 {
			t.Errorf("%d of %d addresses passed, want nearly %d", passed, addresses, Counters)
		}
		if live := int64(after.Mallocs-after.Frees) - int64(before.Mallocs-before.Frees); live > addresses/2 {
			runtime.GC()
			runtime.ReadMemStats(&after)
			if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 1<<20 {
				t.Errorf("a million addresses take %d bytes", grown)
			}
		}
		time.Sleep(window)
		if !l.Take("192.0.2.1:1") {
			t.Error("after a second, a client is still refused")
		}
	})
}

func TestWrap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		handle := New("requests", 2).Wrap(func(http.ResponseWriter, *http.Request) error { calls++; return nil })
		send := func(remote string) (http.Header, error) {
			w, r := httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil)
			r.RemoteAddr = remote
			return w.Header(), handle(w, r)
		}
		for i := range 5 {
			header, err := send("192.0.2.1:1")
			refused, _ := errors.AsType[*pubsub.Error](err)
			got := fmt.Sprint(header["Ratelimit"], header["Ratelimit-Policy"])
			if i < 2 && (err != nil || got != "[] []") || i >= 2 && (refused == nil || refused.Code != pubsub.TooMany || got != `["requests";r=0;t=1] ["requests";q=2;w=1]`) {
				t.Errorf("request %d: %v with %s", i, err, got)
			}
		}
		if _, err := send("192.0.2.2:1"); err != nil {
			t.Errorf("another address: %v", err)
		}
		time.Sleep(window / 2)
		if _, err := send("192.0.2.1:1"); err != nil || calls != 4 {
			t.Errorf("later: %v after %d calls", err, calls)
		}
	})
}

func TestSubjects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New("broadcasts", 3)
		passed := map[string]int{}
		for range 10 {
			for _, subject := range []string{"", "ann", "bob"} {
				if err := l.TakeSubject(subject); err == nil {
					passed[subject]++
				} else if pubsub.Refusal(err).Code != pubsub.TooMany {
					t.Errorf("TakeSubject = %v", err)
				}
			}
		}
		if len(passed) != 3 || passed[""] != 3 || passed["ann"] != 3 || passed["bob"] != 3 {
			t.Errorf("passed: %v, want 3 of each subject", passed)
		}
	})
}

func TestNoLimit(t *testing.T) {
	called := false
	handle := New("requests", 0).Wrap(func(http.ResponseWriter, *http.Request) error { called = true; return nil })
	if err := handle(nil, nil); err != nil || !called {
		t.Errorf("without a limit: %v, called: %v", err, called)
	}
}
