package posts_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// blocking makes the handler wait for the body "wait" until the function that it returns is
// called.
func (s *server) blocking() (release func()) {
	released := make(chan struct{})
	s.hold = func(body string, _ *http.Request) {
		if body == "wait" {
			<-released
		}
	}
	return func() { close(released) }
}

func TestShutdown(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(s *server, c net.Conn) // before the shutdown
		then func(s *server, c net.Conn) // after it has begun
	}{
		{"idle", func(s *server, c net.Conn) { send(s.t, c, post("hello")) }, func(*server, net.Conn) {}},
		{"idle for long", func(s *server, c net.Conn) {
			send(s.t, c, post("hello"))
			pass(idleTimeout / 2)
		}, func(*server, net.Conn) {}},
		{"new", func(*server, net.Conn) {}, func(s *server, c net.Conn) {}},
		{"new, then a post", func(*server, net.Conn) {}, func(s *server, c net.Conn) { send(s.t, c, post("hello")) }},
		{"after part of a post", func(s *server, c net.Conn) { send(s.t, c, post("hello")[:60]) },
			func(s *server, c net.Conn) { send(s.t, c, post("hello")[60:]+post("hello")) }},
		{"old and busy", func(s *server, c net.Conn) {
			send(s.t, c, post("hello"))
			pass(10 * time.Second)
			send(s.t, c, post("wait")+post("hello"))
		}, func(*server, net.Conn) {}},
		{"busy", func(s *server, c net.Conn) { send(s.t, c, post("wait")+post("hello")) }, func(*server, net.Conn) {}},
	} {
		t.Run(c.name, func(t *testing.T) {
			onBoth(t, func(s *server) string {
				release := s.blocking()
				conn := s.dial()
				defer conn.Close()
				synctest.Wait()
				c.do(s, conn)
				synctest.Wait()
				ended := make(chan string, 1)
				go func() {
					began := time.Now()
					err := s.shutdown(context.Background())
					ended <- errorText(err) + " after " + time.Since(began).Round(time.Second).String()
				}()
				synctest.Wait()
				c.then(s, conn)
				pass(time.Second / 2)
				select {
				case early := <-ended:
					ended <- early
				default:
				}
				release()
				read, err := io.ReadAll(conn)
				return string(read) + errorText(err) + <-ended
			})
		})
	}
}

// A connection in the middle of a post is not closed before the answer, however old it is.
func TestShutdownWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, true)
		release := s.blocking()
		c := s.dial()
		defer c.Close()
		pass(headerTimeout / 2)
		send(t, c, post("wait"))
		pass(writeTimeout / 3)
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		if err := s.posts.Shutdown(ctx); err != context.DeadlineExceeded {
			t.Errorf("shutdown of a busy server: %v, want %v", err, context.DeadlineExceeded)
		}
		release()
		answer, _ := io.ReadAll(c)
		const want = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nVary: Origin\r\nDate: Sat, 01 Jan 2000 00:00:25 GMT\r\nContent-Length: 2\r\nConnection: close\r\n\r\n4\n"
		if string(answer) != want {
			t.Errorf("answer = %q, want %q", answer, want)
		}
		s.stop()
	})
}

// While a shutdown waits for a client that does not read its answers, it closes other
// connections as net/http does, also those that net/http has taken over.
func TestShutdownWithAClientThatDoesNotRead(t *testing.T) {
	onBoth(t, func(s *server) string {
		stuck, other := s.dial(), s.dial()
		defer stuck.Close()
		defer other.Close()
		go func() {
			for {
				if _, err := io.WriteString(stuck, post("hello")); err != nil {
					return
				}
			}
		}()
		send(s.t, other, health)
		pass(10 * time.Second)
		ended := make(chan string, 1)
		go func() { ended <- untilEnd(other) }()
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		err := s.shutdown(ctx)
		s.close()
		return <-ended + errorText(err)
	})
}

// Close does not wait for an answer.
func TestClose(t *testing.T) {
	onBoth(t, func(s *server) string {
		release := s.blocking()
		c := s.dial()
		defer c.Close()
		send(s.t, c, small)
		pass(10 * time.Second)
		send(s.t, c, post("wait"))
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		err := s.shutdown(ctx)
		s.close()
		ended := untilEnd(c)
		release()
		return ended + errorText(err)
	})
}

// The handler of a connection that is closed during its answer may panic.
func TestPanicDuringShutdown(t *testing.T) {
	onBoth(t, func(s *server) string {
		begun, released := make(chan struct{}), make(chan struct{})
		s.hold = func(body string, _ *http.Request) {
			if body == "abort" {
				close(begun)
				<-released
			}
		}
		c := s.dial()
		defer c.Close()
		send(s.t, c, small)
		pass(10 * time.Second)
		send(s.t, c, post("abort"))
		<-begun
		ended := make(chan error, 1)
		go func() { ended <- s.shutdown(context.Background()) }()
		pass(time.Second)
		close(released)
		return untilEnd(c) + errorText(<-ended)
	})
}
