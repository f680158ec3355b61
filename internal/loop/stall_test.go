package loop_test

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ikornaselur/notiflux/internal/loop"
)

// much is a client that has much to write, and records the state of its socket in each
// tick.
type much struct {
	conn    *loop.Conn
	out     []byte
	refused []bool
	stalled []time.Duration
}

func (m *much) Read(p []byte, _ time.Duration) int { return len(p) }
func (m *much) ReadEnd()                           {}
func (m *much) Next() []byte                       { return m.out }
func (m *much) Wrote(n int)                        { m.out = m.out[n:] }
func (m *much) Gone()                              {}

func (m *much) Tick(now time.Duration) time.Duration {
	m.refused, m.stalled = append(m.refused, m.conn.Blocked()), append(m.stalled, m.conn.Stalled())
	return now + time.Hour
}

// last returns what the last tick recorded.
func (m *much) last() (refused bool, stalled time.Duration) {
	if len(m.refused) == 0 {
		return false, 0
	}
	return m.refused[len(m.refused)-1], m.stalled[len(m.stalled)-1]
}

func TestAStallIsMeasured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, loop.Config{})
		ours, theirs := net.Pipe()
		m := &much{out: []byte(strings.Repeat("x", 100_000))}
		w.Serve(ours, nil, func(c *loop.Conn, _ time.Duration) loop.Client {
			m.conn = c
			c.Dirty()
			return m
		})
		want := func(what string, refused bool, from, to time.Duration) {
			t.Helper()
			synctest.Wait()
			if r, s := m.last(); r != refused || s < from || s > to {
				t.Errorf("%s: refused %t, stalled for %v; want %t, and %v to %v", what, r, s, refused, from, to)
			}
		}
		time.Sleep(10*time.Second + 300*time.Millisecond)
		want("after 10 s", true, 9*time.Second, 11*time.Second)

		w.Post(func() { time.Sleep(time.Minute) })
		time.Sleep(61 * time.Second)
		want("after the loop stood still", true, 10*time.Second, 14*time.Second)

		// One byte is enough.
		if _, err := theirs.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		want("after a byte was read", true, time.Second, 4*time.Second)

		// The writer has finished, but the loop does not know yet.
		w.Post(func() {
			io.ReadFull(theirs, make([]byte, 16<<10-1))
			time.Sleep(3 * time.Second)
		})
		time.Sleep(10 * time.Second)
		want("after a batch was read", true, 4*time.Second, 10*time.Second)

		if _, err := io.ReadFull(theirs, make([]byte, 100_000-16<<10)); err != nil {
			t.Fatal(err)
		}
		w.Post(func() { m.conn.Arm(0) })
		time.Sleep(time.Second)
		want("after all was read", false, 0, 0)
	})
}

// wrapped is a connection that is not a *net.TCPConn, but contains one.
type wrapped struct{ *net.TCPConn }

// A peer that reads too little for the kernel to report room still counts as reading.
func TestAPeerThatReadsLittleDoesNotStall(t *testing.T) {
	certificate := httptest.NewUnstartedServer(nil)
	certificate.StartTLS()
	t.Cleanup(certificate.Close)
	for name, c := range map[string]struct {
		serve func(*net.TCPConn) net.Conn
		dial  func(*net.TCPConn) net.Conn
	}{
		"TCP":         {func(nc *net.TCPConn) net.Conn { return nc }, nil},
		"wrapped TCP": {func(nc *net.TCPConn) net.Conn { return wrapped{nc} }, nil},
		"TLS over wrapped TCP": {
			func(nc *net.TCPConn) net.Conn { return tls.Server(wrapped{nc}, certificate.TLS) },
			func(nc *net.TCPConn) net.Conn { return tls.Client(nc, &tls.Config{InsecureSkipVerify: true}) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // Each waits for the kernel.
			if c.dial != nil && runtime.GOOS != "linux" {
				t.Skip("this system does not say what a peer of TLS has taken")
			}
			s := listen(t, loop.Config{})
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			// From the start, so that the data comes in small segments.
			d := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
				return c.Control(func(fd uintptr) { syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 8<<10) })
			}}
			dialed, err := d.Dial("tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer dialed.Close()
			peer := dialed
			if c.dial != nil {
				peer = c.dial(dialed.(*net.TCPConn))
			}
			nc, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			m := &much{out: make([]byte, 64<<20)}
			s.Serve(c.serve(nc.(*net.TCPConn)), nil, func(c *loop.Conn, _ time.Duration) loop.Client {
				m.conn = c
				c.Dirty()
				return m
			})
			if c.dial != nil { // The handshake is in the first read.
				peer.Read(make([]byte, 1))
			}
			await := func(what string, ok func(stalled time.Duration) bool) {
				t.Helper()
				for deadline := time.Now().Add(20 * time.Second); ; <-time.After(50 * time.Millisecond) {
					var stalled time.Duration
					s.on(func() { _, stalled = m.last() })
					if ok(stalled) {
						return
					}
					if time.Now().After(deadline) {
						t.Fatalf("%s: stalled for %v", what, stalled)
					}
				}
			}
			await("nothing is read", func(stalled time.Duration) bool { return stalled >= 2*time.Second })
			peer.SetReadDeadline(time.Now().Add(20 * time.Second))
			if _, err := io.ReadFull(peer, make([]byte, 12<<10)); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatal(err)
			}
			await("some is read", func(stalled time.Duration) bool { return stalled < 2*time.Second })
		})
	}
}
