package loop_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ikornaselur/notiflux/internal/loop"
)

// echo is a client that sends back the bytes that it reads, each increased by one. Certain
// letters make it do something else.
type echo struct {
	conn  *loop.Conn
	out   []byte
	held  bool // takes nothing until resumed
	ticks []time.Duration
	every time.Duration
	ended bool
	gone  int

	writes  *int // of all clients together; nil: not counted
	endless bool // it always has a byte to write, and writes slowly; its ticks are slow too
	readAt  int  // value of writes when it read a byte
	waited  int  // writes between that and its own

	slow  bool // takes one byte at a time, slowly, and lets others have their turn
	reads int  // of a slow one
}

// slow is how long a write of an endless client, or a read of a slow one, occupies the
// loop.
const slow = 100 * time.Microsecond

func (e *echo) Read(p []byte, _ time.Duration) int {
	if e.writes != nil {
		e.readAt = *e.writes
	}
	for i, b := range p {
		if e.slow && i > 0 {
			e.reads++
			spin()
			e.conn.Resume()
			return i
		}
		switch {
		case e.held:
			return i
		case b == 'H':
			e.held = true
		case b == 'D':
			e.conn.Drop()
			return len(p)
		case b == 'P':
			panic("told to")
		default:
			e.out = append(e.out, b+1)
			e.conn.Dirty()
		}
	}
	return len(p)
}

func (e *echo) ReadEnd() { e.ended = true; e.conn.CloseWrite(); e.conn.Drop() }
func (e *echo) Gone()    { e.gone++ }

func (e *echo) Next() []byte {
	if e.endless {
		return []byte("x")
	}
	return e.out
}

func (e *echo) Wrote(n int) {
	if e.writes != nil {
		e.waited = *e.writes - e.readAt
		*e.writes++
	}
	if !e.endless {
		e.out = e.out[n:]
		return
	}
	spin()
}

func spin() {
	for began := time.Now(); time.Since(began) < slow; {
	}
}

func (e *echo) Tick(now time.Duration) time.Duration {
	e.ticks = append(e.ticks, now)
	if e.endless {
		spin()
	}
	return now + e.every
}

// world is a running loop in a bubble, and what it reported.
type world struct {
	*loop.Loop
	closed int
	stop   context.CancelFunc
	ended  chan struct{}
}

func start(t *testing.T, c loop.Config) *world {
	w := &world{ended: make(chan struct{})}
	c.Portable = true // A bubble's time waits for goroutines, but not for descriptors.
	c.Closed = func() { w.closed++ }
	w.Loop = loop.New(c)
	ctx, stop := context.WithCancel(t.Context())
	w.stop = stop
	go func() {
		defer close(w.ended)
		w.Run(ctx)
	}()
	t.Cleanup(func() { stop(); <-w.ended })
	return w
}

// dial returns the peer's end of a connection of the loop, and its client.
func (w *world) dial(early string) (net.Conn, *echo) {
	ours, theirs := net.Pipe()
	e := &echo{every: time.Hour}
	w.Serve(ours, []byte(early), func(c *loop.Conn, _ time.Duration) loop.Client {
		e.conn = c
		return e
	})
	synctest.Wait()
	return theirs, e
}

func send(t testing.TB, c net.Conn, s string) {
	t.Helper()
	if _, err := io.WriteString(c, s); err != nil {
		t.Fatalf("Write(%q) = %v", s, err)
	}
}

func expect(t testing.TB, c net.Conn, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != want {
		t.Fatalf("read %q, %v; want %q", got, err, want)
	}
}

func TestBytesGoBothWays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, loop.Config{})
		peer, e := w.dial("ab")
		expect(t, peer, "bc")
		send(t, peer, "xy")
		expect(t, peer, "yz")
		peer.Close()
		synctest.Wait()
		if !e.ended || e.gone != 1 || w.closed != 1 {
			t.Errorf("ended %v, gone %d times, closed %d times; want true, 1, 1", e.ended, e.gone, w.closed)
		}
	})
}

func TestAHeldClientIsNotReadFrom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, loop.Config{})
		peer, e := w.dial("")
		send(t, peer, "aHbc")
		expect(t, peer, "b")
		written := make(chan struct{})
		go func() {
			send(t, peer, "de")
			close(written)
		}()
		synctest.Wait()
		select {
		case <-written:
			t.Error("the loop reads from a client that holds")
		default:
		}
		w.Post(func() { e.held = false; e.conn.Resume() })
		expect(t, peer, "cdef")
	})
}

func TestAPeerThatReadsNothingBlocksOnlyItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, loop.Config{})
		stuck, e := w.dial("")
		big := strings.Repeat("a", 100<<10)
		w.Post(func() { e.out = []byte(big); e.conn.Dirty() })
		synctest.Wait()
		other, _ := w.dial("a")
		expect(t, other, "b")
		w.Post(func() { e.ticks = nil })
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if got := len(e.ticks); got < 4 || got > 6 {
			t.Errorf("a blocked client was checked %d times in 5 s, want once a second", got)
		}
		expect(t, stuck, big)
	})
}

func TestTicksComeWhenAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, loop.Config{})
		_, e := w.dial("")
		time.Sleep(time.Second) // The first tick comes at once.
		w.Post(func() {
			e.ticks, e.every = nil, 10*time.Second
			e.conn.Arm(3 * time.Second)
			e.conn.Arm(20 * time.Second)
		})
		time.Sleep(34 * time.Second)
		synctest.Wait()
		if len(e.ticks) != 4 {
			t.Fatalf("ticks at %v, want 4", e.ticks)
		}
		for i, want := range []time.Duration{3 * time.Second, 13 * time.Second, 23 * time.Second, 33 * time.Second} {
			if d := e.ticks[i] - want; d < 0 || d > time.Second {
				t.Errorf("tick %d at %v, want %v", i, e.ticks[i], want)
			}
		}
	})
}

func TestAFarDeadlineTicksOnTheWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, loop.Config{})
		_, e := w.dial("")
		time.Sleep(10 * time.Minute)
		w.Post(func() { e.ticks = nil; e.conn.Arm(15 * time.Minute) })
		time.Sleep(4 * time.Minute)
		synctest.Wait()
		if len(e.ticks) == 0 {
			t.Error("a deadline beyond the wheel got no tick within it")
		}
	})
}

func TestAPanicEndsOneConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, loop.Config{})
		bad, e := w.dial("")
		good, _ := w.dial("")
		send(t, bad, "P")
		if _, err := bad.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("after a panic the peer reads %v, want %v", err, io.EOF)
		}
		synctest.Wait()
		if e.gone != 1 || w.Panics() != 1 || w.closed != 1 {
			t.Errorf("gone %d, panics %d, closed %d; want 1 each", e.gone, w.Panics(), w.closed)
		}
		send(t, good, "a")
		expect(t, good, "b")
	})
}

func TestAPanicInACallEndsItsConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, loop.Config{})
		bad, e := w.dial("")
		good, other := w.dial("")
		synctest.Wait() // The clients exist now.
		e.conn.Post(func() { panic("told to") })
		if _, err := bad.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("after a panic the peer reads %v, want %v", err, io.EOF)
		}
		w.Post(func() { panic("told to, in the name of no connection") })
		e.conn.Post(func() { t.Error("called for a closed connection") })
		other.conn.Post(func() { other.out = append(other.out, 'x'); other.conn.Dirty() })
		expect(t, good, "x")
		if e.gone != 1 || w.Panics() != 2 || w.closed != 1 {
			t.Errorf("gone %d, panics %d, closed %d; want 1, 2 and 1", e.gone, w.Panics(), w.closed)
		}
	})
}

func TestAPanicBeforeThereIsAClientClosesTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, loop.Config{})
		here, there := net.Pipe()
		w.Serve(there, nil, func(*loop.Conn, time.Duration) loop.Client { panic("told to") })
		if _, err := here.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("the peer reads %v, want %v", err, io.EOF)
		}
		synctest.Wait()
		if w.Panics() != 1 || w.closed != 1 {
			t.Errorf("panics %d, closed %d; want 1 each", w.Panics(), w.closed)
		}
	})
}

func TestDropInsideRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, loop.Config{})
		peer, e := w.dial("aD")
		got, _ := io.ReadAll(peer)
		synctest.Wait()
		if !bytes.Equal(got, nil) || e.gone != 1 {
			t.Errorf("read %q, gone %d times; want nothing and 1", got, e.gone)
		}
	})
}

func TestTheEndOfTheLoopEndsItsConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, loop.Config{})
		peer, e := w.dial("")
		w.stop()
		<-w.ended
		if _, err := peer.Read(make([]byte, 1)); !errors.Is(err, io.EOF) || e.gone != 1 {
			t.Errorf("the peer reads %v, gone %d times; want %v and 1", err, e.gone, io.EOF)
		}
		late, _ := w.dial("")
		if _, err := late.Read(make([]byte, 1)); !errors.Is(err, io.EOF) || w.closed != 2 {
			t.Errorf("a late connection reads %v, %d closed; want %v and 2", err, w.closed, io.EOF)
		}
		if w.Post(func() {}) {
			t.Error("Post to a loop that has ended = true")
		}
	})
}
