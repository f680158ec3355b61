package loop_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/internal/loop"
)

// onBoth runs a test on each kind of loop, over real sockets.
func onBoth(t *testing.T, test func(t *testing.T, s *sockets)) {
	for name, portable := range map[string]bool{"auto": false, "portable": true} {
		t.Run(name, func(t *testing.T) { test(t, listen(t, loop.Config{Portable: portable})) })
	}
}

// sockets is a running loop behind a listener.
type sockets struct {
	*loop.Loop
	t        *testing.T
	listener net.Listener
	served   chan *echo
	closed   atomic.Int64
}

func listen(t *testing.T, c loop.Config) *sockets {
	t.Helper()
	s := &sockets{t: t, served: make(chan *echo, 1)}
	c.Closed = func() { s.closed.Add(1) }
	s.Loop = loop.New(c)
	var err error
	if s.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { s.Run(ctx) })
	running.Go(func() {
		for {
			nc, err := s.listener.Accept()
			if err != nil {
				return
			}
			s.Serve(nc, nil, func(c *loop.Conn, _ time.Duration) loop.Client {
				e := &echo{conn: c, every: time.Hour}
				s.served <- e
				return e
			})
		}
	})
	t.Cleanup(func() { stop(); s.listener.Close(); running.Wait() })
	return s
}

// dial returns the peer's end, and the client that the loop created for it.
func (s *sockets) dial() (*net.TCPConn, *echo) {
	s.t.Helper()
	c, err := net.Dial("tcp", s.listener.Addr().String())
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(30 * time.Second))
	return c.(*net.TCPConn), <-s.served
}

// on runs f on the loop and waits for it.
func (s *sockets) on(f func()) {
	done := make(chan struct{})
	s.Post(func() { f(); close(done) })
	<-done
}

func TestTCPMuchBothWays(t *testing.T) {
	onBoth(t, func(t *testing.T, s *sockets) {
		c, _ := s.dial()
		sent := make([]byte, 8<<20)
		rand.Read(sent)
		for i := range sent {
			sent[i] = sent[i]%64 + 'a' // not a letter that echo obeys
		}
		var wg sync.WaitGroup
		wg.Go(func() { c.Write(sent) })
		got := make([]byte, len(sent))
		if _, err := io.ReadFull(c, got); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
		for i := range got {
			if got[i] != sent[i]+1 {
				t.Fatalf("byte %d is %q, want %q", i, got[i], sent[i]+1)
			}
		}
	})
}

func TestTCPHeldThenResumed(t *testing.T) {
	onBoth(t, func(t *testing.T, s *sockets) {
		c, e := s.dial()
		send(t, c, "aHb")
		expect(t, c, "b")
		send(t, c, "cd")
		for i := range 100 { // The loop turns, and the client takes nothing.
			s.on(func() {
				if !e.held {
					t.Errorf("not held in turn %d", i)
				}
			})
		}
		s.on(func() { e.held = false; e.conn.Resume() })
		expect(t, c, "cde")
	})
}

func TestTCPPeerThatStopsReading(t *testing.T) {
	onBoth(t, func(t *testing.T, s *sockets) {
		stuck, e := s.dial()
		big := bytes.Repeat([]byte("x"), 32<<20)
		s.on(func() { e.out = big; e.conn.Dirty() })
		other, _ := s.dial()
		send(t, other, "a")
		expect(t, other, "b")
		got, err := io.ReadAll(io.LimitReader(stuck, int64(len(big))))
		if err != nil || !bytes.Equal(got, big) {
			t.Errorf("read %d bytes, %v; want %d", len(got), err, len(big))
		}
	})
}

func TestTCPEnds(t *testing.T) {
	onBoth(t, func(t *testing.T, s *sockets) {
		for name, end := range map[string]func(*net.TCPConn){
			"closed":          func(c *net.TCPConn) { c.Close() },
			"half closed":     func(c *net.TCPConn) { c.CloseWrite() },
			"reset":           func(c *net.TCPConn) { c.SetLinger(0); c.Close() },
			"after bytes":     func(c *net.TCPConn) { c.Write([]byte("abc")); c.Close() },
			"told to drop":    func(c *net.TCPConn) { c.Write([]byte("D")) },
			"told to panic":   func(c *net.TCPConn) { c.Write([]byte("P")) },
			"dropped by loop": func(*net.TCPConn) {},
		} {
			before := s.closed.Load()
			c, e := s.dial()
			end(c)
			if name == "dropped by loop" {
				s.on(e.conn.Drop)
			}
			for deadline := time.Now().Add(20 * time.Second); s.closed.Load() == before; {
				if time.Now().After(deadline) {
					t.Fatalf("%s: the connection does not end", name)
				}
			}
			s.on(func() {
				if e.gone != 1 {
					t.Errorf("%s: gone %d times", name, e.gone)
				}
			})
			if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%s: the peer does not see the end", name)
			}
		}
	})
}

// Slots and descriptors are reused at once. No connection gets the bytes of another.
func TestTCPComingAndGoing(t *testing.T) {
	onBoth(t, func(t *testing.T, s *sockets) {
		const each = 300
		for i := range each {
			c, _ := s.dial()
			send(t, c, "ab")
			if i%3 > 0 {
				expect(t, c, "bc")
			}
			c.SetLinger(i%2*10 - 1)
			c.Close()
		}
		for deadline := time.Now().Add(20 * time.Second); s.closed.Load() != each; {
			if time.Now().After(deadline) {
				t.Fatalf("%d of %d connections ended", s.closed.Load(), each)
			}
		}
	})
}

// Bytes from a socket are answered before clients continue that already had their turn.
func TestTCPReadsGoBeforeUnfinishedWork(t *testing.T) {
	onBoth(t, func(t *testing.T, s *sockets) {
		writes := 0
		var others []*echo
		for range 50 {
			c, e := s.dial()
			go io.Copy(io.Discard, c)
			others = append(others, e)
		}
		c, e := s.dial()
		s.on(func() {
			e.writes = &writes
			for _, other := range others {
				other.writes, other.endless = &writes, true
				other.conn.Dirty()
			}
		})
		for i := range 5 {
			send(t, c, "a")
			expect(t, c, "b")
			s.on(func() {
				if i > 0 && e.waited > 64 { // The first came before the others had their turn.
					t.Errorf("%d writes of others came between a byte and its answer", e.waited)
				}
			})
		}
	})
}

// mostInATurn waits until a count reaches to, and returns its largest increase in one turn
// of the loop.
func (s *sockets) mostInATurn(count func() int, to int) (most int) {
	done := make(chan struct{})
	last := -1
	var look func() // in each turn
	look = func() {
		now := count()
		if last >= 0 {
			most = max(most, now-last)
		}
		if last = now; now >= to {
			close(done)
			return
		}
		s.Post(look)
	}
	s.Post(look)
	<-done
	return most
}

// Clients that are due at the same moment do not keep the loop from others.
func TestTCPTicksLeaveTurnsToOthers(t *testing.T) {
	onBoth(t, func(t *testing.T, s *sockets) {
		var all []*echo
		for range 300 {
			_, e := s.dial()
			all = append(all, e)
		}
		ticks := func() (n int) {
			for _, e := range all {
				n += len(e.ticks)
			}
			return n
		}
		s.mostInATurn(ticks, len(all)) // The first tick comes at once.
		s.on(func() {
			for _, e := range all {
				e.endless = true
				e.conn.Arm(0)
			}
		})
		if most := s.mostInATurn(ticks, 2*len(all)); most > 150 {
			t.Errorf("%d slow ticks in one turn", most)
		}
	})
}

// A client with much to read does not keep the loop from others. It gets all of it.
func TestTCPMuchToReadLeavesTurnsToOthers(t *testing.T) {
	onBoth(t, func(t *testing.T, s *sockets) {
		const sent = 2000
		flooder, f := s.dial()
		other, _ := s.dial()
		s.on(func() { f.slow = true })
		send(t, flooder, strings.Repeat("a", sent))
		if most := s.mostInATurn(func() int { return f.reads }, 200); most > 100 {
			t.Errorf("%d slow reads in one turn", most)
		}
		send(t, other, "x")
		expect(t, other, "y")
		expect(t, flooder, strings.Repeat("b", sent))
	})
}

// Many clients that each have a little to read do not keep the loop from others either.
func TestTCPManyToReadLeaveTurnsToOthers(t *testing.T) {
	onBoth(t, func(t *testing.T, s *sockets) {
		const flooders = 300
		var all []*echo
		reads := func() (n int) {
			for _, f := range all {
				n += f.reads
			}
			return n
		}
		var peers []net.Conn
		for range flooders {
			c, f := s.dial()
			s.on(func() { f.slow, all = true, append(all, f) })
			peers = append(peers, c)
		}
		release, counted := make(chan struct{}), make(chan int, 1)
		s.Post(func() { // Everything that arrives meanwhile is there at once.
			<-release
			s.Post(func() { counted <- reads() })
		})
		for _, c := range peers {
			send(t, c, "aa")
		}
		<-time.After(100 * time.Millisecond)
		close(release)
		if n := <-counted; n > flooders/2 {
			t.Errorf("%d slow reads before the next call", n)
		}
		for _, c := range peers {
			expect(t, c, "bb")
		}
	})
}

// Connections that fill every turn with unfinished work do not delay one that Collect
// marked.
func TestTCPUnfinishedLeavesTurnsToCollected(t *testing.T) {
	for name, portable := range map[string]bool{"auto": false, "portable": true} {
		t.Run(name, func(t *testing.T) {
			var marked *echo // owned by the loop
			s := listen(t, loop.Config{Portable: portable, Collect: func() bool {
				if marked != nil {
					marked.out = []byte("x")
					marked.conn.Dirty()
					marked = nil
				}
				return false
			}})
			const flooders, sent = 100, 500
			var slow []*echo
			reads := func() (n int) {
				for _, f := range slow {
					n += f.reads
				}
				return n
			}
			peer, e := s.dial()
			for range flooders {
				c, f := s.dial()
				s.on(func() { f.slow, slow = true, append(slow, f) })
				send(t, c, strings.Repeat("a", sent))
			}
			var before, after int
			s.on(func() { before, marked = reads(), e })
			expect(t, peer, "x")
			s.on(func() { after = reads() })
			if after-before > flooders*sent/20 {
				t.Errorf("it waited for %d of %d slow reads", after-before, flooders*sent)
			}
		})
	}
}

func BenchmarkEcho(b *testing.B) {
	for name, portable := range map[string]bool{"auto": false, "portable": true} {
		b.Run("loops="+name, func(b *testing.B) {
			l := loop.New(loop.Config{Portable: portable})
			ctx, stop := context.WithCancel(b.Context())
			defer stop()
			go l.Run(ctx)
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			defer listener.Close()
			c, err := net.Dial("tcp", listener.Addr().String())
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			nc, err := listener.Accept()
			if err != nil {
				b.Fatal(err)
			}
			l.Serve(nc, nil, func(c *loop.Conn, _ time.Duration) loop.Client { return &echo{conn: c, every: time.Hour} })
			b.ReportAllocs()
			for b.Loop() {
				send(b, c, "a")
				expect(b, c, "b")
			}
		})
	}
}
