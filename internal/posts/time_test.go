package posts_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ikornaselur/notiflux/internal/internaltest/memnet"
)

// onBoth runs a test in a bubble, on net/http alone and with this package. What it returns
// must be the same.
func onBoth(t *testing.T, do func(*server) string) {
	t.Helper()
	var got [2]string
	for i := range got {
		synctest.Test(t, func(t *testing.T) {
			s := start(t, i == 1)
			defer s.stop()
			got[i] = do(s)
		})
	}
	if got[0] != got[1] {
		t.Errorf("with this package:\n%s\nwith net/http:\n%s", got[1], got[0])
	}
}

// untilEnd reads up to the end of a connection, and says how long that took.
func untilEnd(c net.Conn) string {
	began := time.Now()
	read, err := io.ReadAll(c)
	return strings.Join([]string{string(read), errorText(err), time.Since(began).String()}, "\n")
}

func errorText(err error) string {
	if err == nil {
		return "EOF"
	}
	return err.Error()
}

func TestTimeouts(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(s *server, c net.Conn) string
	}{
		{"no request", func(s *server, c net.Conn) string { return untilEnd(c) }},
		{"idle after a post", func(s *server, c net.Conn) string {
			send(s.t, c, small)
			return untilEnd(c)
		}},
		{"idle after several posts", func(s *server, c net.Conn) string {
			for range 5 {
				send(s.t, c, small)
				pass(idleTimeout - time.Second)
			}
			send(s.t, c, small)
			return untilEnd(c)
		}},
		{"idle after empty lines", func(s *server, c net.Conn) string {
			send(s.t, c, small, "\r\n")
			return untilEnd(c)
		}},
		{"idle after a little", func(s *server, c net.Conn) string {
			send(s.t, c, small, "POS")
			return untilEnd(c)
		}},
		{"idle after a slow post", func(s *server, c net.Conn) string {
			send(s.t, c, small, small[:50])
			pass(time.Second / 2)
			send(s.t, c, small[50:])
			return untilEnd(c)
		}},
		{"a slow head", func(s *server, c net.Conn) string {
			send(s.t, c, small[:50])
			pass(2 * time.Second)
			send(s.t, c, small[50:]+small)
			return untilEnd(c)
		}},
		{"a slow body", func(s *server, c net.Conn) string {
			send(s.t, c, small[:len(small)-1])
			pass(10 * time.Second)
			send(s.t, c, small[len(small)-1:]+small)
			return untilEnd(c)
		}},
		{"a body later than the idle timeout", func(s *server, c net.Conn) string {
			send(s.t, c, small, small[:len(small)-1])
			pass(2 * idleTimeout)
			send(s.t, c, small[len(small)-1:]+small)
			return untilEnd(c)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			onBoth(t, func(s *server) string {
				conn := s.dial()
				defer conn.Close()
				return c.do(s, conn)
			})
		})
	}
}

// The deadlines of this package do not apply to the requests that follow.
func TestDeadlinesEnd(t *testing.T) {
	onBoth(t, func(s *server) string {
		var ended error
		s.hold = func(body string, r *http.Request) {
			if body == "wait" {
				pass(2 * headerTimeout)
				ended = r.Context().Err()
			}
		}
		c := s.dial()
		defer c.Close()
		send(s.t, c, small, small[:50])
		pass(time.Second / 2)
		other := strings.Replace(post("wait"), "/broadcast", "/other", 1)
		send(s.t, c, small[50:]+other[:40])
		pass(2 * time.Second)
		send(s.t, c, other[40:]+small)
		return untilEnd(c) + fmt.Sprint(ended)
	})
}

// A head that never ends takes restTimeout longer than with net/http.
func TestHeadThatNeverEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, true)
		defer s.stop()
		for _, sent := range []string{small[:50], small + small[:50], small + "\r\n\r\n"} {
			c := s.dial()
			defer c.Close()
			send(t, c, sent)
			began := time.Now()
			_, _ = io.ReadAll(c)
			if took := time.Since(began); took != headerTimeout+time.Second {
				t.Errorf("after %q, the server waited for %v, want %v", sent, took, headerTimeout+time.Second)
			}
		}
	})
}

// A client that does not read its answers has between half of the timeout and all of it.
func TestClientThatDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, true)
		defer s.stop()
		c, err := s.link.DialContext(context.Background(), "tcp", s.address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		began := time.Now()
		requests := strings.Repeat(post("hello"), 10)
		for err == nil {
			pass(time.Second / 8)
			_, err = io.WriteString(c, requests)
		}
		full := time.Duration(memnet.DefaultWindow/1000) * time.Second / 8
		if took := time.Since(began); took < writeTimeout/2 || took > writeTimeout+2*full {
			t.Errorf("the server waited for %v, want about %v", took, writeTimeout)
		}
	})
}

// A handler that sets a write deadline of its own, and removes it, does not change that of the
// next request.
func TestDeadlinesOfHandler(t *testing.T) {
	onBoth(t, func(s *server) string {
		c := s.dial()
		defer c.Close()
		for range 3 {
			send(s.t, c, post("large"))
			pass(2 * time.Second)
		}
		send(s.t, c, post("hello"))
		return untilEnd(c)
	})
}
