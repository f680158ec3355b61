package quota

import (
	"encoding/binary"
	"errors"
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
			l := New("requests", rate, time.Second)
			full := int64(time.Second)
			fill := full // of the bucket, in nanoseconds
			refused := uint64(0)
			for _, pause := range pauses {
				time.Sleep(time.Duration(pause))
				fill = min(full, fill+pause)
				for range bursts {
					want := fill >= int64(l.interval)
					if want {
						fill -= int64(l.interval)
					} else {
						refused++
					}
					if got := l.Take("192.0.2.1:1") == nil; got != want {
						rt.Fatalf("rate %d: passes: %v, want %v", rate, got, want)
					}
				}
			}
			if got := l.Refused(); got != refused {
				rt.Fatalf("Refused = %d, want %d", got, refused)
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
		l := New("requests", 1, time.Second)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		passed := 0
		for i := range uint32(addresses) {
			var v4 [4]byte
			binary.BigEndian.PutUint32(v4[:], i)
			if l.Take(netip.AddrFrom4(v4).String()) == nil {
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
		time.Sleep(time.Second)
		if err := l.Take("192.0.2.1:1"); err != nil {
			t.Errorf("after a second, a client is still refused: %v", err)
		}
	})
}

// Each refusal says what was exceeded, and when the next request may pass.
func TestWrap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		handle := New("requests", 2, time.Second).Wrap(func(http.ResponseWriter, *http.Request) error { calls++; return nil })
		send := func(remote string) error {
			r := httptest.NewRequest("GET", "/", nil)
			r.RemoteAddr = remote
			return handle(httptest.NewRecorder(), r)
		}
		for i := range 5 {
			err := send("192.0.2.1:1")
			refused, _ := errors.AsType[*pubsub.Error](err)
			want := pubsub.Quota{Policy: "requests", Limit: 2, Window: time.Second, After: time.Second / 2}
			if i < 2 && err != nil || i >= 2 && (refused == nil || refused.Code != pubsub.TooMany || *refused.Quota != want) {
				t.Errorf("request %d: %+v", i, err)
			}
		}
		if err := send("192.0.2.2:1"); err != nil {
			t.Errorf("another address: %v", err)
		}
		time.Sleep(time.Second / 2)
		if err := send("192.0.2.1:1"); err != nil || calls != 4 {
			t.Errorf("later: %v after %d calls", err, calls)
		}
	})
}

// However many are counted, an address may try again when it may after the rate.
func TestCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const address = "[2001:db8::1]:1"
		l := New("failed tokens", 3, time.Minute)
		for i := range 50 {
			err := l.Check(address)
			if passes := i < 3; passes != (err == nil) {
				t.Fatalf("after %d: %v", i, err)
			}
			if err != nil {
				want := pubsub.Quota{Policy: "failed-tokens", Limit: 3, Window: time.Minute, After: 20 * time.Second}
				if got := pubsub.Refusal(err).Quota; *got != want {
					t.Fatalf("after %d: %+v, want %+v", i, got, want)
				}
			}
			l.Count(address)
		}
		time.Sleep(20*time.Second - 1)
		if l.Check(address) == nil {
			t.Error("passes too early")
		}
		time.Sleep(time.Nanosecond)
		if err := l.Check(address); err != nil {
			t.Errorf("after 20 s: %v", err)
		}
		l.Count(address)
		if l.Check(address) == nil {
			t.Error("passes twice after 20 s")
		}
	})
}

// Users of two issuers differ even if they have the same sub.
func TestUsers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New("broadcasts", 3, time.Second)
		users := []user{{"", ""}, {"", "ann"}, {"", "bob"}, {"https://a", "ann"}, {"https://b", "ann"}, {"https://a", ""}, {"ann", ""}}
		passed := map[user]int{}
		for range 10 {
			for _, u := range users {
				if err := l.TakeUser(u.issuer, u.subject); err == nil {
					passed[u]++
				} else if pubsub.Refusal(err).Code != pubsub.TooMany {
					t.Errorf("TakeUser = %v", err)
				}
			}
		}
		for _, u := range users {
			if passed[u] != 3 {
				t.Errorf("%d of %q passed, want 3", passed[u], u)
			}
		}
	})
}

func TestNoLimit(t *testing.T) {
	called := false
	none := New("requests", 0, time.Second)
	if err := errors.Join(none.Take("192.0.2.1"), none.Check("192.0.2.1"), none.TakeUser("", "ann")); err != nil {
		t.Errorf("without a limit: %v", err)
	}
	none.Count("192.0.2.1")
	handle := none.Wrap(func(http.ResponseWriter, *http.Request) error { called = true; return nil })
	if err := handle(nil, nil); err != nil || !called {
		t.Errorf("without a limit: %v, called: %v", err, called)
	}
}
