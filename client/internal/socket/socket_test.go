package socket_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/ikornaselur/notiflux/client/internal/socket"
	"github.com/ikornaselur/notiflux/client/internal/wire"
	"github.com/ikornaselur/notiflux/internal/internaltest/memnet"
)

const (
	address     = "10.0.0.1:80"
	subprotocol = "notiflux.v1.json"
	welcome     = `{"type":"welcome","connection":"00","version":"0","ping":25,"limits":{"message":65536,"command":81920,"topics":1000,"topicsPerCommand":100,"commandsPerSecond":100}}`
)

// A server runs a handler for each request, on a network in memory.
type server struct {
	client *http.Client
	base   *url.URL
	link   *memnet.Link
	conns  chan *memnet.Conn // the client's ends
}

func serve(t *testing.T, handler http.HandlerFunc) *server {
	network := memnet.New()
	listener, err := network.Listen(address)
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	s := &http.Server{ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		serving.Add(1)
		defer serving.Done()
		handler(w, r)
	})}
	serving.Go(func() { _ = s.Serve(listener) })
	t.Cleanup(func() {
		_ = s.Close()
		serving.Wait()
	})
	base, _ := url.Parse("http://notiflux.test/prefix")
	out := &server{base: base, conns: make(chan *memnet.Conn, 10)}
	out.link = network.Link(memnet.LinkConfig{Window: 4 << 10, Opened: func(c *memnet.Conn) { out.conns <- c }})
	out.client = &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return out.link.DialContext(ctx, network, address)
		},
	}}
	return out
}

// accepting returns a handler that accepts the handshake, runs peer and closes.
func accepting(peer func(*websocket.Conn)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{subprotocol}})
		if err != nil {
			return
		}
		defer conn.CloseNow()
		peer(conn)
	}
}

func say(conn *websocket.Conn, frames ...string) {
	for _, f := range frames {
		_ = conn.Write(context.Background(), websocket.MessageText, []byte(f))
	}
}

// listen reads until the connection ends.
func listen(conn *websocket.Conn) (received []string, err error) {
	for {
		_, data, err := conn.Read(context.Background())
		if err != nil {
			return received, err
		}
		received = append(received, string(data))
	}
}

// deaf does not read for an hour.
func deaf(*websocket.Conn) { <-time.After(time.Hour) }

// connected runs a test with a connection whose server, once it has sent its welcome, runs
// peer. The bubble fails a test that leaves a goroutine behind.
func connected(t *testing.T, peer func(*websocket.Conn), test func(*testing.T, *socket.Conn, *server)) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, accepting(func(conn *websocket.Conn) {
			say(conn, welcome)
			peer(conn)
		}))
		c, err := socket.Dial(t.Context(), s.client, s.base)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close(context.Background()) })
		test(t, c, s)
	})
}

func TestWelcome(t *testing.T) {
	for said, want := range map[string]wire.Welcome{
		welcome:                               {Connection: "00", Ping: 25 * time.Second, Limits: wire.Limits{Message: 65536, Command: 81920, Topics: 1000, TopicsPerCommand: 100, CommandsPerSecond: 100}},
		`{"type":"welcome"}`:                  {Ping: 25 * time.Second, Limits: wire.Limits{Message: 65536, Command: 81920, Topics: 1000, TopicsPerCommand: 100, CommandsPerSecond: 100}},
		`{"type":"welcome","ping":7,"new":1}`: {Ping: 7 * time.Second, Limits: wire.Limits{Message: 65536, Command: 81920, Topics: 1000, TopicsPerCommand: 100, CommandsPerSecond: 100}},
	} {
		synctest.Test(t, func(t *testing.T) {
			var path string
			s := serve(t, func(w http.ResponseWriter, r *http.Request) {
				path = r.URL.Path
				accepting(func(conn *websocket.Conn) {
					say(conn, said)
					_, _ = listen(conn)
				})(w, r)
			})
			c, err := socket.Dial(t.Context(), s.client, s.base)
			if err != nil {
				t.Fatal(err)
			}
			if got := c.Welcome(); got != want {
				t.Errorf("after %s, Welcome = %+v, want %+v", said, got, want)
			}
			if path != "/prefix/ws" {
				t.Errorf("the path is %s", path)
			}
			_ = c.Close(context.Background())
		})
	}
}

// kind says which of the errors of the package err is.
func kind(err error) string {
	if e, ok := errors.AsType[*wire.Interrupted](err); ok {
		return "interrupted: " + kind(e.Err)
	}
	if e, ok := errors.AsType[*wire.Status](err); ok {
		return fmt.Sprintf("status %d %s %v", e.Status, e.Code, e.After)
	}
	if e, ok := errors.AsType[*wire.Close](err); ok {
		return fmt.Sprintf("close %d %q %s %v", e.Code, e.Reason, e.Bye, e.After)
	}
	for name, of := range map[string]error{
		"protocol": wire.ErrProtocol, "half": wire.ErrHalfFrame, "too large": wire.ErrTooLarge,
		"deadline": context.DeadlineExceeded, "canceled": context.Canceled,
	} {
		if errors.Is(err, of) {
			return name
		}
	}
	if err == nil {
		return "none"
	}
	return "other"
}

func TestDialFails(t *testing.T) {
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		want    string
	}{
		"full": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(503)
			fmt.Fprint(w, `{"code":"over_capacity","detail":"no"}`)
		}, "status 503 over_capacity 7s"},
		"proxy":    {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(502) }, "status 502  0s"},
		"web page": {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") }, "status 200  0s"},
		"no upgrade in the answer": {func(w http.ResponseWriter, _ *http.Request) {
			conn, _, _ := http.NewResponseController(w).Hijack()
			fmt.Fprint(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
			conn.Close()
		}, "protocol"},
		"no answer":        {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "interrupted: deadline"},
		"hang-up":          {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "interrupted: other"},
		"no welcome":       {accepting(func(conn *websocket.Conn) { _, _ = listen(conn) }), "interrupted: deadline"},
		"cut":              {accepting(func(*websocket.Conn) {}), "interrupted: other"},
		"half a welcome":   {accepting(func(conn *websocket.Conn) { say(conn, welcome[:50]) }), "interrupted: half"},
		"another frame":    {accepting(func(conn *websocket.Conn) { say(conn, `{"type":"message"}`) }), "protocol"},
		"no JSON":          {accepting(func(conn *websocket.Conn) { say(conn, `hello`) }), "protocol"},
		"close":            {accepting(func(conn *websocket.Conn) { conn.Close(1013, "full") }), `close 1013 "full"  0s`},
		"large welcome":    {accepting(func(conn *websocket.Conn) { say(conn, strings.Repeat(" ", 5<<20)) }), "interrupted: too large"},
		"other dialect":    {dialect("notiflux.v1.text"), "protocol"},
		"no dialect":       {dialect(""), "protocol"},
		"redirect to a WS": {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) }, "status 302  0s"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := serve(t, c.handler)
				s.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
				began := time.Now()
				_, err := socket.Dial(t.Context(), s.client, s.base)
				if got := kind(err); got != c.want {
					t.Errorf("Dial = %s, %v; want %s", got, err, c.want)
				}
				if took := time.Since(began); took > 10*time.Second {
					t.Errorf("Dial took %v", took)
				}
			})
		})
	}
	t.Run("nobody listens", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := serve(t, nil)
			s.client.Transport = &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return nil, io.ErrClosedPipe }}
			if _, err := socket.Dial(t.Context(), s.client, s.base); kind(err) != "other" || strings.Contains(err.Error(), "notiflux.test") {
				t.Errorf("Dial = %v, want an error of the network without the address", err)
			}
		})
	})
	t.Run("the caller gives up", func(t *testing.T) {
		for _, handler := range []http.HandlerFunc{
			func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
			accepting(func(conn *websocket.Conn) { _, _ = listen(conn) }),
		} {
			synctest.Test(t, func(t *testing.T) {
				s := serve(t, handler)
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				if _, err := socket.Dial(ctx, s.client, s.base); kind(err) != "deadline" {
					t.Errorf("Dial = %v, want that ctx has ended", err)
				}
			})
		}
	})
}

// dialect returns a handler that agrees on a subprotocol, or on none.
func dialect(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if name != "" {
			r.Header.Set("Sec-WebSocket-Protocol", name)
		}
		conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{name}})
		if err == nil {
			say(conn, welcome)
			conn.CloseNow()
		}
	}
}

func TestReadEnds(t *testing.T) {
	large := `{"type":"message","topic":"a","data":"` + strings.Repeat("x", 5<<20) + `"}`
	for name, c := range map[string]struct {
		peer func(*websocket.Conn)
		want []string // the types of frames, then why it ended
	}{
		"close": {func(conn *websocket.Conn) {
			say(conn, `{"type":"message","topic":"a"}`, `{"type":"later"}`)
			conn.Close(4003, "gone")
		}, []string{"message", "later", `close 4003 "gone"  0s`}},
		"bye": {func(conn *websocket.Conn) {
			say(conn, `{"type":"bye","code":"draining","after":1500}`)
			conn.Close(1012, "")
		}, []string{"bye", `close 1012 "" draining 1.5s`}},
		"cut":        {func(conn *websocket.Conn) { say(conn, `{"type":"message"}`) }, []string{"message", "other"}},
		"half":       {func(conn *websocket.Conn) { say(conn, `{"type":"message"}`, `{"type":"messa`) }, []string{"message", "half"}},
		"no JSON":    {func(conn *websocket.Conn) { say(conn, `hello`) }, []string{"protocol"}},
		"wrong type": {func(conn *websocket.Conn) { say(conn, `{"type":"message","topic":1}`) }, []string{"protocol"}},
		"binary": {func(conn *websocket.Conn) {
			_ = conn.Write(context.Background(), websocket.MessageBinary, []byte(`{"type":"message"}`))
		}, []string{"protocol"}},
		"too large": {func(conn *websocket.Conn) { say(conn, large) }, []string{"too large"}},
		"fragments": {func(conn *websocket.Conn) {
			w, err := conn.Writer(context.Background(), websocket.MessageText)
			for _, part := range []string{`{"type":`, `"gap"}`} {
				if err == nil {
					_, err = io.WriteString(w, part)
				}
			}
			_ = w.Close()
		}, []string{"gap", "other"}},
	} {
		t.Run(name, func(t *testing.T) {
			connected(t, c.peer, func(t *testing.T, conn *socket.Conn, _ *server) {
				for _, want := range c.want {
					f, err := conn.Read()
					if got := kind(err); err == nil && f.Type != want || err != nil && got != want {
						t.Fatalf("Read = %v, %s %v; want %s", f, got, err, want)
					}
				}
			})
		})
	}
}

// A connection that breaks at any byte never gives a frame that was not sent.
func TestCutAtAnyByte(t *testing.T) {
	frame := `{"type":"message","topic":"a","position":"E:1","data":{"x":[1,2]}}`
	for at := 1; at < 2*len(frame); at++ {
		connected(t, func(conn *websocket.Conn) {
			_, _, _ = conn.Read(context.Background())
			say(conn, frame, frame, frame)
			_, _ = listen(conn)
		}, func(t *testing.T, conn *socket.Conn, s *server) {
			(<-s.conns).CutAfter(memnet.Down, at, memnet.End(at%2))
			if err := conn.Write(t.Context(), &wire.Command{Type: "ping"}); err != nil {
				t.Fatal(err)
			}
			for n := 0; ; n++ {
				f, err := conn.Read()
				if err != nil {
					if got := kind(err); n > 2 || got != "other" && got != "half" {
						t.Errorf("after %d frames, Read = %v", n, err)
					}
					return
				}
				if f.Topic != "a" || f.Position != "E:1" || string(f.Data) != `{"x":[1,2]}` {
					t.Errorf("Read = %+v", f)
				}
			}
		})
	}
}

// The server pings every 25 s. After two pings and a slow network's delay it is silent.
func TestSilence(t *testing.T) {
	connected(t, func(conn *websocket.Conn) {
		reading := conn.CloseRead(context.Background())
		for range 4 {
			<-time.After(59 * time.Second)
			_ = conn.Ping(reading)
		}
		w, _ := conn.Writer(reading, websocket.MessageText)
		for _, part := range strings.Split(`{"type" :"gap"}`, " ") { // the parts of a frame
			<-time.After(59 * time.Second)
			_, _ = io.WriteString(w, part+strings.Repeat(" ", 8<<10))
		}
		_ = w.Close()
		<-reading.Done()
	}, func(t *testing.T, conn *socket.Conn, _ *server) {
		began := time.Now()
		if f, err := conn.Read(); err != nil || f.Type != "gap" || time.Since(began) != 6*59*time.Second {
			t.Errorf("Read = %v, %v after %v", f, err, time.Since(began))
		}
		<-time.After(time.Hour) // nobody reads: that is not the server's silence
		began = time.Now()
		if f, err := conn.Read(); err == nil || !strings.Contains(err.Error(), "nothing was received") {
			t.Errorf("Read = %v, %v", f, err)
		}
		if took := time.Since(began); took != time.Minute {
			t.Errorf("the connection ended after %v of silence, want 1m", took)
		}
	})
}

func TestWrite(t *testing.T) {
	got := make(chan string, 10)
	connected(t, func(conn *websocket.Conn) {
		received, _ := listen(conn)
		got <- strings.Join(received, "\n")
	}, func(t *testing.T, conn *socket.Conn, _ *server) {
		for _, c := range []wire.Command{
			{Type: "subscribe", ID: 1, Topics: []string{"a<&>", "b"}, Since: map[string]string{"b": "E:1", "a<&>": "E:2"}, Last: 3, Mode: "latest", Presence: true, Token: "t"},
			{Type: "unsubscribe", ID: 2, Topics: []string{"b"}, Since: map[string]string{}},
			{Type: "presence", Topic: "a"},
		} {
			if err := conn.Write(t.Context(), &c); err != nil {
				t.Error(err)
			}
		}
		_ = conn.Close(t.Context())
		want := `{"type":"subscribe","id":1,"topics":["a<&>","b"],"since":{"a<&>":"E:2","b":"E:1"},"last":3,"mode":"latest","presence":true,"token":"t"}
{"type":"unsubscribe","id":2,"topics":["b"]}
{"type":"presence","topic":"a"}`
		if got := <-got; got != want {
			t.Errorf("the server received\n%s\nwant\n%s", got, want)
		}
	})
}

// A server that takes nothing holds Write up for 10 s.
func TestWriteIsBounded(t *testing.T) {
	connected(t, deaf, func(t *testing.T, conn *socket.Conn, _ *server) {
		began := time.Now()
		err := conn.Write(t.Context(), &wire.Command{Type: "subscribe", Topics: []string{strings.Repeat("x", 64<<10)}})
		if took := time.Since(began); err == nil || took != 10*time.Second {
			t.Errorf("Write = %v after %v, want an error after 10s", err, took)
		}
	})
}

func TestClose(t *testing.T) {
	ended := make(chan error, 1)
	connected(t, func(conn *websocket.Conn) {
		_, err := listen(conn)
		ended <- err
	}, func(t *testing.T, conn *socket.Conn, _ *server) {
		reading := make(chan error)
		go func() {
			_, err := conn.Read()
			reading <- err
		}()
		synctest.Wait()
		began := time.Now()
		_ = conn.Close(t.Context())
		if took := time.Since(began); took > 0 {
			t.Errorf("Close took %v", took)
		}
		if err := <-reading; err == nil {
			t.Error("Read succeeds after Close")
		}
		if err := <-ended; websocket.CloseStatus(err) != websocket.StatusNormalClosure {
			t.Errorf("the server was left with %v, want a close frame", err)
		}
		if _, err := conn.Read(); err == nil {
			t.Error("Read succeeds after Close")
		}
		if err := conn.Write(t.Context(), &wire.Command{Type: "ping"}); err == nil {
			t.Error("Write succeeds after Close")
		}
		_ = conn.Close(t.Context()) // does nothing
	})
}

// A server that does not close is waited for until ctx ends, also if it takes nothing.
func TestCloseIsBounded(t *testing.T) {
	for _, full := range []bool{false, true} {
		t.Run(fmt.Sprint("full=", full), func(t *testing.T) {
			connected(t, deaf, func(t *testing.T, conn *socket.Conn, _ *server) {
				var running sync.WaitGroup
				defer running.Wait()
				running.Go(func() {
					if _, err := conn.Read(); err == nil {
						t.Error("Read succeeds after Close")
					}
				})
				if full {
					running.Go(func() {
						_ = conn.Write(context.Background(), &wire.Command{Type: "subscribe", Topics: []string{strings.Repeat("x", 64<<10)}})
					})
				}
				synctest.Wait()
				ctx, cancel := context.WithTimeout(context.Background(), time.Second)
				defer cancel()
				began := time.Now()
				_ = conn.Close(ctx)
				if took := time.Since(began); took != time.Second {
					t.Errorf("Close took %v, want 1s", took)
				}
			})
		})
	}
}
