package listen_test

import (
	"log/slog"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ikornaselur/notiflux/internal/internaltest/memnet"
	"github.com/ikornaselur/notiflux/internal/listen"
)

// newLimiter returns a Limiter for l.
func newLimiter(l listen.Listener, limit, spare int) *listen.Limiter {
	return listen.New(l, listen.Config{Max: limit, Spare: spare, Log: slog.New(slog.DiscardHandler)})
}

// limited returns a Limiter, and a function that connects and returns both ends.
func limited(t *testing.T, limit, spare int) (l *listen.Limiter, connect func() (client, accepted net.Conn)) {
	t.Helper()
	listener, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	l = newLimiter(listener, limit, spare)
	t.Cleanup(func() { l.Close() })
	return l, func() (client, accepted net.Conn) {
		t.Helper()
		client, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { client.Close() })
		if accepted, err = l.Accept(); err != nil {
			t.Fatal(err)
		}
		return client, accepted
	}
}

func wantCount(t *testing.T, l *listen.Limiter, when string, want int) {
	t.Helper()
	if n := l.Count(); n != want {
		t.Errorf("%s: %d connections counted, want %d", when, n, want)
	}
}

// A connection counts once, until it has ended, whoever closes it.
func TestConnectionsAreCountedOnce(t *testing.T) {
	l, connect := limited(t, 10, 1)
	_, c := connect()
	c.Close()
	if _, err := l.Detach(c); err == nil {
		t.Error("a closed connection is detached")
	}
	c.Close()
	wantCount(t, l, "closed before it is detached", 0)

	_, c = connect()
	detached, err := l.Detach(c)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Detach(c); err == nil {
		t.Error("a connection is detached twice")
	}
	wantCount(t, l, "detached", 1)
	detached.Close()
	c.Close()
	wantCount(t, l, "closed by its loop", 1)
	l.Release()
	wantCount(t, l, "released", 0)
}

// A connection above the limit is for one request, not for a client that stays.
func TestSpareConnectionsAreNotDetached(t *testing.T) {
	l, connect := limited(t, 1, 1)
	_, c := connect()
	_, spare := connect()
	wantCount(t, l, "one within the limit and one past it", 2)
	if _, err := l.Detach(spare); err == nil {
		t.Error("a spare connection is detached")
	}
	spare.Close()
	wantCount(t, l, "the spare one closed", 1)
	_, spare = connect() // there is room for another one
	spare.Close()
	c.Close()
	wantCount(t, l, "all closed", 0)
}

// The sweep closes idle connections, but none on which a request has arrived before.
func TestTheSweepSparesRequests(t *testing.T) {
	for _, busy := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			l, connect := limited(t, 100, 1)
			_, c := connect()
			time.Sleep(time.Second)
			l.ConnState(c, http.StateIdle)
			_, other := connect()
			defer other.Close()
			time.Sleep(time.Minute)
			l.SweepForTest(func() {
				if busy {
					l.ConnState(c, http.StateActive)
				}
			})
			if _, err := l.Detach(c); err == nil != busy {
				t.Errorf("busy %t: Detach = %v", busy, err)
			}
			want := 1
			if busy {
				want = 2
			}
			wantCount(t, l, "after the sweep", want)
			c.Close()
		})
	}
}

// Clients that connect and send nothing are spare connections only briefly. A client that
// has sent a request has time for the answer.
func TestSilentConnectionsLeaveSparePlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := memnet.New()
		listener, err := network.Listen("127.0.0.1:80")
		if err != nil {
			t.Fatal(err)
		}
		l := newLimiter(listener, 1, 1)
		defer l.Close()
		link := network.Link(memnet.LinkConfig{})
		accept := func() (client, accepted net.Conn) {
			if client, err = link.DialContext(t.Context(), "tcp", "127.0.0.1:80"); err != nil {
				t.Fatal(err)
			}
			if accepted, err = l.Accept(); err != nil {
				t.Fatal(err)
			}
			return client, accepted
		}
		client, accepted := accept()
		defer client.Close()
		defer accepted.Close()
		began := time.Now()
		for range 20 { // each waits until the one before has ended
			silent, _ := accept()
			defer silent.Close()
		}
		if held := time.Since(began); held > 3*time.Second {
			t.Errorf("20 silent connections block others for %v", held)
		}
		asking, spare := accept()
		defer asking.Close()
		l.ConnState(spare, http.StateActive)
		time.Sleep(900 * time.Millisecond)
		if _, err := spare.Write([]byte("answer")); err != nil {
			t.Errorf("a request past the limit has no time for its answer: %v", err)
		}
	})
}
