package memnet_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ikornaselur/notiflux/internal/internaltest/memnet"
)

const (
	address = "10.0.0.1:80"
	latency = 30 * time.Millisecond
)

// open returns both ends of a connection over a new link.
func open(t *testing.T, c memnet.LinkConfig) (link *memnet.Link, client, server *memnet.Conn) {
	t.Helper()
	n := memnet.New()
	l, err := n.Listen(address)
	if err != nil {
		t.Fatal(err)
	}
	link = n.Link(c)
	dialed, err := link.DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return link, dialed.(*memnet.Conn), accepted.(*memnet.Conn)
}

// after fails the test unless so much time has passed since a time.
func after(t *testing.T, since time.Time, want time.Duration) {
	t.Helper()
	if got := time.Since(since); got != want {
		t.Errorf("it took %v, want %v", got, want)
	}
}

func write(t *testing.T, c net.Conn, s string) {
	t.Helper()
	if n, err := c.Write([]byte(s)); n != len(s) || err != nil {
		t.Errorf("Write(%q) = %d, %v", s, n, err)
	}
}

// read fails the test unless one Read returns these bytes.
func read(t *testing.T, c net.Conn, want string) {
	t.Helper()
	buf := make([]byte, len(want)+100)
	if n, err := c.Read(buf); string(buf[:n]) != want || err != nil {
		t.Errorf("Read = %q, %v; want %q", buf[:n], err, want)
	}
}

// fails fails the test unless a read and a write end with errors that are these. A
// nil one is not asked for.
func fails(t *testing.T, c net.Conn, reading, writing error) {
	t.Helper()
	if reading != nil {
		if n, err := c.Read(make([]byte, 100)); n != 0 || !errors.Is(err, reading) {
			t.Errorf("Read = %d, %v; want %v", n, err, reading)
		}
	}
	if writing != nil {
		if n, err := c.Write([]byte("x")); n != 0 || !errors.Is(err, writing) {
			t.Errorf("Write = %d, %v; want %v", n, err, writing)
		}
	}
}

func TestBytesArriveAfterTheLatency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		_, client, server := open(t, memnet.LinkConfig{Latency: latency})
		after(t, began, 2*latency) // the handshake

		began = time.Now()
		write(t, client, "one ")
		time.Sleep(latency / 2)
		write(t, client, "two ")
		write(t, client, "three")
		read(t, server, "one ")
		after(t, began, latency)
		read(t, server, "two three")
		after(t, began, latency*3/2)
		write(t, server, "answer")
		read(t, client, "answer")
		after(t, began, latency*5/2)
	})
}

func TestWriteWaitsForTheWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, client, server := open(t, memnet.LinkConfig{Latency: latency, Window: 10})
		began := time.Now()
		var writing sync.WaitGroup
		writing.Go(func() {
			write(t, client, "0123456789abcde")
			after(t, began, time.Minute+latency) // when it knows that bytes were taken
		})
		time.Sleep(time.Minute)
		buf := make([]byte, 5)
		if n, err := server.Read(buf); n != 5 || err != nil {
			t.Errorf("Read = %d, %v", n, err)
		}
		writing.Wait()
		read(t, server, "56789")
		read(t, server, "abcde")
		after(t, began, time.Minute+2*latency)
	})
}

func TestAStallHoldsEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		link, client, server := open(t, memnet.LinkConfig{Latency: latency, Window: 10})
		began := time.Now()
		write(t, client, "1")
		write(t, server, "2")
		link.Stall()
		time.Sleep(time.Hour)
		write(t, client, "3") // The window has room.
		if err := client.CloseWrite(); err != nil {
			t.Error(err)
		}
		var waiting sync.WaitGroup
		waiting.Go(func() {
			read(t, server, "13")
			after(t, began, 2*time.Hour)
			fails(t, server, io.EOF, nil)
		})
		waiting.Go(func() {
			read(t, client, "2")
			after(t, began, 2*time.Hour)
		})
		waiting.Go(func() {
			c, err := link.DialContext(t.Context(), "tcp", address)
			if err != nil {
				t.Error(err)
				return
			}
			c.Close()
			after(t, began, 2*time.Hour+latency) // The second half of the handshake began after the stall.
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := link.DialContext(ctx, "tcp", address); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a dial during the stall ended with %v", err)
		}
		time.Sleep(time.Until(began.Add(2*time.Hour - time.Nanosecond)))
		synctest.Wait()
		time.Sleep(time.Nanosecond)
		link.Release()
		waiting.Wait()
	})
}

// A connection that is cut at byte k has let k bytes through, and not one more.
func TestCut(t *testing.T) {
	const text = "0123456789"
	for _, d := range []memnet.Direction{memnet.Up, memnet.Down} {
		for _, how := range []memnet.End{memnet.ByReset, memnet.ByClose} {
			for k := range len(text) + 1 {
				synctest.Test(t, func(t *testing.T) {
					link := memnet.LinkConfig{Latency: latency, Opened: func(c *memnet.Conn) { c.CutAfter(d, k, how) }}
					_, writer, reader := open(t, link)
					if d == memnet.Down {
						writer, reader = reader, writer
					}
					if k > 0 {
						write(t, reader, "before")
						time.Sleep(time.Second)
						read(t, writer, "before")
						write(t, writer, text)
					}
					cut := time.Now()
					got, err := io.ReadAll(reader)
					if string(got) != text[:k] {
						t.Errorf("cut %d, after %d: %q was read", d, k, got)
					}
					if how == memnet.ByClose {
						if err != nil {
							t.Errorf("cut %d, after %d: the reader saw %v", d, k, err)
						}
						fails(t, writer, io.EOF, nil)
						if k > 0 {
							after(t, cut, 2*latency)
						}
						write(t, reader, "lost")
						write(t, writer, "lost")
						time.Sleep(3 * latency)
					} else if !errors.Is(err, syscall.ECONNRESET) {
						t.Errorf("cut %d, after %d: the reader saw %v", d, k, err)
					}
					fails(t, writer, syscall.ECONNRESET, syscall.ECONNRESET)
					fails(t, reader, syscall.ECONNRESET, syscall.ECONNRESET)
				})
			}
		}
	}
}

func TestCutAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		link, client, server := open(t, memnet.LinkConfig{Latency: latency})
		write(t, server, "on its way")
		link.Cut(memnet.ByClose)
		began := time.Now()
		fails(t, client, io.EOF, nil)
		after(t, began, 0)
		fails(t, server, io.EOF, nil)
		after(t, began, latency)
		if link.Open() != 1 {
			t.Errorf("%d connections are open", link.Open())
		}
		client.Close()
		server.Close()
		if link.Open() != 0 {
			t.Errorf("%d connections are open", link.Open())
		}
	})
}

func TestCloseWriteEndsOneDirection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, client, server := open(t, memnet.LinkConfig{Latency: latency})
		write(t, client, "request")
		client.CloseWrite()
		got, err := io.ReadAll(server)
		if string(got) != "request" || err != nil {
			t.Errorf("read %q, %v", got, err)
		}
		fails(t, client, nil, syscall.EPIPE)
		write(t, server, "answer")
		read(t, client, "answer")
		server.Close()
		fails(t, client, io.EOF, nil)
	})
}

func TestCloseIsAnEndOrAReset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, client, server := open(t, memnet.LinkConfig{Latency: latency})
		write(t, client, "all")
		client.Close()
		read(t, server, "all")
		fails(t, server, io.EOF, nil)
		fails(t, client, net.ErrClosed, net.ErrClosed)
		if err := client.Close(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("the second Close = %v", err)
		}
		write(t, server, "to nobody")
		time.Sleep(3 * latency)
		fails(t, server, syscall.ECONNRESET, syscall.ECONNRESET)

		_, client, server = open(t, memnet.LinkConfig{Latency: latency})
		write(t, server, "unread")
		time.Sleep(latency)
		write(t, client, "last")
		client.Close()
		read(t, server, "last") // What arrived before the reset can be read.
		fails(t, server, syscall.ECONNRESET, syscall.ECONNRESET)

		_, client, server = open(t, memnet.LinkConfig{Latency: latency, Window: 4})
		client.Reset()
		fails(t, server, syscall.ECONNRESET, syscall.ECONNRESET)
	})
}

// What waits ends when its own end closes, and when the other does.
func TestCloseWakesWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, ours := range []bool{true, false} {
			_, client, server := open(t, memnet.LinkConfig{Window: 4})
			var waiting sync.WaitGroup
			reading, writing := error(io.EOF), error(syscall.ECONNRESET)
			if ours {
				reading, writing = net.ErrClosed, net.ErrClosed
			}
			waiting.Go(func() { fails(t, client, reading, nil) })
			waiting.Go(func() {
				if n, err := client.Write([]byte("0123456789")); n != 4 || !errors.Is(err, writing) {
					t.Errorf("ours %t: Write = %d, %v", ours, n, err)
				}
			})
			synctest.Wait()
			if ours {
				client.Close()
			} else {
				server.CloseWrite()
				synctest.Wait()
				server.Close()
			}
			waiting.Wait()
		}
	})
}

func TestDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, client, server := open(t, memnet.LinkConfig{Latency: latency, Window: 4})
		began := time.Now()
		client.SetReadDeadline(began.Add(time.Second))
		fails(t, client, os.ErrDeadlineExceeded, nil)
		after(t, began, time.Second)
		var timeout net.Error
		if _, err := client.Read(make([]byte, 1)); !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("%v is not a timeout", err)
		}

		client.SetDeadline(time.Time{})
		client.SetWriteDeadline(began.Add(time.Minute))
		if n, err := client.Write([]byte("012345")); n != 4 || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("Write = %d, %v", n, err)
		}
		after(t, began, time.Minute)
		read(t, server, "0123")
		write(t, server, "x")
		read(t, client, "x")
		client.SetWriteDeadline(time.Time{})
		write(t, client, "4")
		read(t, server, "4")

		// One that has passed already interrupts what waits.
		var waiting sync.WaitGroup
		waiting.Go(func() { fails(t, server, os.ErrDeadlineExceeded, nil) })
		synctest.Wait()
		server.SetReadDeadline(time.Unix(1, 0))
		waiting.Wait()
		server.SetReadDeadline(time.Now().Add(time.Hour))
		write(t, client, "5")
		read(t, server, "5")

		server.Close()
		if err := server.SetDeadline(time.Now()); !errors.Is(err, net.ErrClosed) {
			t.Errorf("SetDeadline of a closed connection = %v", err)
		}
	})
}

func TestConcurrentWritesAreNotMixed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, client, server := open(t, memnet.LinkConfig{Latency: latency, Window: 7})
		const size = 50
		var writing sync.WaitGroup
		for _, b := range "abc" {
			writing.Go(func() { write(t, client, strings.Repeat(string(b), size)) })
		}
		go func() {
			writing.Wait()
			client.Close()
		}()
		got, err := io.ReadAll(server)
		if len(got) != 3*size || err != nil {
			t.Fatalf("read %d bytes, %v", len(got), err)
		}
		for ; len(got) > 0; got = got[size:] {
			if part := got[:size]; bytes.Count(part, part[:1]) != size {
				t.Errorf("%q is not one write", part)
			}
		}
	})
}

func TestListener(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New()
		link := n.Link(memnet.LinkConfig{Latency: latency})
		began := time.Now()
		if _, err := link.DialContext(t.Context(), "tcp", address); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("a dial to nobody ended with %v", err)
		}
		after(t, began, 2*latency)
		for _, wrong := range []string{"", "10.0.0.1", "host:80", "10.0.0.1:http", "10.0.0.1:70000"} {
			if _, err := n.Listen(wrong); err == nil {
				t.Errorf("Listen(%q) is fine", wrong)
			}
		}
		l, err := n.Listen(address)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := n.Listen(address); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("a second listener: %v", err)
		}
		free, err := n.Listen("10.0.0.1:0")
		if err != nil || free.Addr().(*net.TCPAddr).Port == 0 {
			t.Errorf("Listen on port 0 = %v, %v", free, err)
		}

		queued, err := link.DialContext(t.Context(), "tcp", address) // Nobody has to accept.
		if err != nil || !l.Queued() {
			t.Fatalf("dial: %v; queued: %t", err, l.Queued())
		}
		if got, want := queued.LocalAddr().String(), "10.1.0.1:49153"; got != want {
			t.Errorf("the address of the client is %s, want %s", got, want)
		}
		l.SetDeadline(time.Unix(1, 0))
		if _, err := l.Accept(); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("Accept after the deadline = %v", err)
		}
		l.SetDeadline(time.Time{})
		accepted, err := l.Accept()
		if err != nil || accepted.RemoteAddr().String() != queued.LocalAddr().String() || l.Queued() {
			t.Fatalf("Accept = %v, %v", accepted, err)
		}

		left, err := link.DialContext(t.Context(), "tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
		fails(t, left, syscall.ECONNRESET, syscall.ECONNRESET)
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Accept after Close = %v", err)
		}
		write(t, accepted, "still open")
		read(t, queued, "still open")
		if _, err := n.Listen(address); err != nil {
			t.Errorf("the address is not free: %v", err)
		}
	})
}

func TestAcceptWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, err := memnet.New().Listen(address)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		l.SetDeadline(began.Add(time.Second))
		if _, err := l.Accept(); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("Accept = %v", err)
		}
		after(t, began, time.Second)
		l.SetDeadline(time.Time{})
		var waiting sync.WaitGroup
		waiting.Go(func() {
			if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
				t.Errorf("Accept = %v", err)
			}
		})
		synctest.Wait()
		l.Close()
		waiting.Wait()
	})
}
