package server_test

import (
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ikornaselur/notiflux/internal/internaltest/memnet"
	"github.com/ikornaselur/notiflux/internal/server"
)

// gated returns a gate, and a function that connects and returns both ends.
func gated(t *testing.T, most, spare int) (g server.Gate, connect func() (client, accepted net.Conn)) {
	t.Helper()
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	g = server.NewGate(l, most, spare)
	t.Cleanup(func() { g.Close() })
	return g, func() (client, accepted net.Conn) {
		t.Helper()
		client, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { client.Close() })
		if accepted, err = g.Accept(); err != nil {
			t.Fatal(err)
		}
		return client, accepted
	}
}

func wantCount(t *testing.T, g server.Gate, when string, want int) {
	t.Helper()
	if n := g.Count(); n != want {
		t.Errorf("%s: %d connections are counted, want %d", when, n, want)
	}
}

// A connection counts until it has ended: once, whoever ends it.
func TestConnectionsAreCountedOnce(t *testing.T) {
	g, connect := gated(t, 10, 1)
	_, c := connect()
	c.Close()
	if _, err := g.Hand(c); err == nil {
		t.Error("a connection that was closed is handed over")
	}
	c.Close()
	wantCount(t, g, "closed before it is handed over", 0)

	_, c = connect()
	handed, err := g.Hand(c)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.Hand(c); err == nil {
		t.Error("a connection is handed over twice")
	}
	wantCount(t, g, "handed over", 1)
	handed.Close()
	c.Close()
	wantCount(t, g, "closed by its loop", 1)
	g.Leave()
	wantCount(t, g, "left", 0)
}

// A connection past the limit is for one request, not for a client that stays.
func TestSpareConnectionsAreNotHandedOver(t *testing.T) {
	g, connect := gated(t, 1, 1)
	_, c := connect()
	_, spare := connect()
	wantCount(t, g, "one within the limit and one past it", 2)
	if _, err := g.Hand(spare); err == nil {
		t.Error("a spare connection is handed over")
	}
	spare.Close()
	wantCount(t, g, "the spare one closed", 1)
	_, spare = connect() // There is room for another.
	spare.Close()
	c.Close()
	wantCount(t, g, "all closed", 0)
}

// The sweep closes what is idle, and nothing on which a request came before it closes.
func TestTheSweepSparesRequests(t *testing.T) {
	for _, busy := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			g, connect := gated(t, 100, 1)
			_, c := connect()
			time.Sleep(time.Second)
			g.State(c, http.StateIdle)
			_, other := connect()
			defer other.Close()
			time.Sleep(time.Minute)
			g.Sweep(func() {
				if busy {
					g.State(c, http.StateActive)
				}
			})
			if _, err := g.Hand(c); err == nil != busy {
				t.Errorf("busy %t: Hand = %v", busy, err)
			}
			want := 1
			if busy {
				want = 2
			}
			wantCount(t, g, "after the sweep", want)
			c.Close()
		})
	}
}

// Clients that connect and say nothing hold the spare places for a moment only; one
// that has sent a request has time for the answer.
func TestSilentConnectionsLeaveSparePlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := memnet.New()
		l, err := network.Listen("127.0.0.1:80")
		if err != nil {
			t.Fatal(err)
		}
		g := server.NewGate(l, 1, 1)
		defer g.Close()
		link := network.Link(memnet.LinkConfig{})
		accept := func() (client, accepted net.Conn) {
			if client, err = link.DialContext(t.Context(), "tcp", "127.0.0.1:80"); err != nil {
				t.Fatal(err)
			}
			if accepted, err = g.Accept(); err != nil {
				t.Fatal(err)
			}
			return client, accepted
		}
		client, accepted := accept()
		defer client.Close()
		defer accepted.Close()
		began := time.Now()
		for range 20 { // Each waits for the spare place of the one before.
			silent, _ := accept()
			defer silent.Close()
		}
		if held := time.Since(began); held > 3*time.Second {
			t.Errorf("20 silent connections hold a spare place for %v", held)
		}
		asking, spare := accept()
		defer asking.Close()
		g.State(spare, http.StateActive)
		time.Sleep(900 * time.Millisecond)
		if _, err := spare.Write([]byte("answer")); err != nil {
			t.Errorf("a request past the limit has no time for its answer: %v", err)
		}
	})
}
