package transport_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/internal/loop"
	"github.com/ikornaselur/notiflux/internal/transport"
)

// letters is a session that sends what the test says.
type letters struct {
	stream  *transport.Stream
	conn    *loop.Conn
	frames  [][]byte
	cut     int
	chunked bool
}

// frame returns text in the form that the body needs.
func (a *letters) frame(text string) []byte {
	if a.chunked {
		return fmt.Appendf(nil, "%08x\r\n%s\r\n", len(text), text)
	}
	return []byte(text)
}

// goodbye returns the last frame, and the end of the body.
func (a *letters) goodbye(text string) []byte {
	if a.chunked {
		return append(a.frame(text), "0\r\n\r\n"...)
	}
	return []byte(text)
}

func (a *letters) Next() []byte         { return slices.Concat(a.frames...) }
func (a *letters) Receive([]byte, bool) {}
func (a *letters) Busy() bool           { return false }
func (a *letters) Tick(time.Duration)   {}
func (a *letters) Gone()                {}
func (a *letters) Stuck()               { a.stream.Close([]byte("bye"), 4202, "") }

func (l *letters) Answers() []byte { return nil }
func (a *letters) Rest() []byte {
	if a.cut == 0 {
		return nil
	}
	return a.frames[0][a.cut:]
}

func (a *letters) Wrote(n int) {
	for n > 0 {
		k := min(n, len(a.frames[0])-a.cut)
		n, a.cut = n-k, a.cut+k
		if a.cut == len(a.frames[0]) {
			a.frames, a.cut = a.frames[1:], 0
		}
	}
}

// streams is an HTTP server that answers every request with a stream, on a loop.
type streams struct {
	*httptest.Server
	t      *testing.T
	loop   *loop.Loop
	opened chan *letters
	closed chan struct{}  // a value for each connection that the loop closed
	left   chan struct{}  // a value for each handler that returned
	inside sync.WaitGroup // running handlers
	proto  int
	config *transport.Config
	client *http.Client
}

// requestTimeout is a deadline for requests, but not for streams.
const requestTimeout = 2 * time.Second

// kinds are the ways to serve a stream: by version of HTTP, and with or without TLS.
var kinds = []struct {
	name       string
	proto      int
	start      func(*httptest.Server)
	withoutRaw bool // the handler's writer cannot be hijacked
}{
	{"HTTP1", 1, (*httptest.Server).Start, false},
	{"HTTP1 over TLS", 1, (*httptest.Server).StartTLS, false},
	{"HTTP1 that cannot be hijacked", 1, (*httptest.Server).Start, true},
	{"HTTP2", 2, func(s *httptest.Server) { s.EnableHTTP2 = true; s.StartTLS() }, false},
}

// everyStream runs a test with each way to serve a stream. It returns after the loop and
// all handlers have ended.
func everyStream(t *testing.T, test func(t *testing.T, s *streams)) {
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			s := &streams{t: t, opened: make(chan *letters, 1), closed: make(chan struct{}, 10), left: make(chan struct{}, 100), proto: kind.proto, config: events()}
			s.loop = loop.New(loop.Config{Closed: func() { s.closed <- struct{}{} }})
			s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if kind.withoutRaw {
					w = notHijacked{w, http.NewResponseController(w)}
				}
				s.serve(w, r)
			}))
			s.Config.ReadTimeout, s.Config.WriteTimeout = requestTimeout, requestTimeout
			kind.start(s.Server)
			s.client = s.Client()
			s.client.Timeout = 20 * time.Second
			ctx, stop := context.WithCancel(context.Background())
			var running sync.WaitGroup
			running.Go(func() { s.loop.Run(ctx) })
			defer func() {
				stop()
				running.Wait()
				s.inside.Wait()
				s.Close()
			}()
			test(t, s)
		})
	}
}

// notHijacked has everything of a writer except its connection.
type notHijacked struct {
	http.ResponseWriter
	control
}

type control interface {
	Flush() error
	SetReadDeadline(time.Time) error
	SetWriteDeadline(time.Time) error
}

func (w notHijacked) FlushError() error { return w.control.Flush() }

func (s *streams) serve(w http.ResponseWriter, r *http.Request) {
	s.inside.Add(1)
	defer func() { s.left <- struct{}{}; s.inside.Done() }()
	transport.SetStreamHeader(w.Header(), "text/event-stream")
	w.Header().Set("Access-Control-Allow-Origin", "*")
	taken, err := transport.TakeOver(w, r)
	if err != nil {
		s.t.Errorf("TakeOver = %v", err)
		return
	}
	app := &letters{chunked: taken.Chunked}
	config := *s.config
	config.Heartbeat = app.frame(beat)
	s.loop.Serve(taken.Conn, taken.Early, func(c *loop.Conn, now time.Duration) loop.Client {
		app.conn = c
		app.stream = transport.NewStream(&config, c, taken.Head, now)
		app.stream.Serve(app)
		s.opened <- app
		return app.stream
	})
	taken.Wait()
}

// open asks for a stream and returns both ends of it.
func (s *streams) open(ctx context.Context) (*http.Response, *letters) {
	s.t.Helper()
	r, err := http.NewRequestWithContext(ctx, "GET", s.URL, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	answer, err := s.client.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { answer.Body.Close() })
	return answer, <-s.opened
}

// on runs f on the loop and waits for it.
func (s *streams) on(f func()) {
	done := make(chan struct{})
	if s.loop.Post(func() { defer close(done); f() }) {
		<-done
	}
}

// send writes frames.
func (s *streams) send(app *letters, frames ...string) {
	s.on(func() {
		for _, frame := range frames {
			app.frames = append(app.frames, app.frame(frame))
		}
		app.stream.Dirty()
	})
}

func (s *streams) expect(answer *http.Response, want string) {
	s.t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(answer.Body, got); err != nil || string(got) != want {
		s.t.Fatalf("read %.50q, %v; want %.50q", got, err, want)
	}
}

func TestTakeOverAnswersWithAHead(t *testing.T) {
	everyStream(t, func(t *testing.T, s *streams) {
		answer, app := s.open(t.Context())
		equal(t, "version of HTTP", answer.ProtoMajor, s.proto)
		equal(t, "status", answer.StatusCode, 200)
		for name, want := range map[string]string{
			"Content-Type":                "text/event-stream",
			"Cache-Control":               "no-store",
			"X-Accel-Buffering":           "no",
			"Access-Control-Allow-Origin": "*",
		} {
			equal(t, name, strings.Join(answer.Header[name], "|"), want)
		}
		if at, err := http.ParseTime(answer.Header.Get("Date")); err != nil || time.Since(at).Abs() > time.Minute {
			t.Errorf("Date = %q", answer.Header.Get("Date"))
		}
		equal(t, "length", answer.ContentLength, -1)
		s.on(func() { app.stream.Close(nil, 1012, "") })
	})
}

func TestTakeOverSendsFramesAsTheyAreWritten(t *testing.T) {
	everyStream(t, func(t *testing.T, s *streams) {
		answer, app := s.open(t.Context())
		for _, frame := range []string{"data: 1\n\n", "data: 2\n\n"} {
			s.send(app, frame)
			s.expect(answer, frame)
		}
		long := strings.Repeat("x", 100_000) // more than an HTTP/2 window
		s.send(app, long, "short", long)
		s.expect(answer, long+"short"+long)
	})
}

func TestTakeOverEndsWithAGoodbye(t *testing.T) {
	everyStream(t, func(t *testing.T, s *streams) {
		answer, app := s.open(t.Context())
		s.send(app, "one,")
		s.on(func() { app.stream.Close(app.goodbye("bye"), 1012, "") })
		if got, err := io.ReadAll(answer.Body); err != nil || string(got) != "one,bye" && string(got) != "bye" {
			t.Errorf("read %q, %v; want the goodbye and the end", got, err)
		}
		<-s.closed
	})
}

func TestTakeOverNoticesThatTheClientLeft(t *testing.T) {
	everyStream(t, func(t *testing.T, s *streams) {
		ctx, leave := context.WithCancel(t.Context())
		answer, app := s.open(ctx)
		s.send(app, "one")
		s.expect(answer, "one")
		leave()
		<-s.closed
	})
}

// A client that reads nothing blocks neither the loop nor its end.
func TestTakeOverDropsAClientThatReadsNothing(t *testing.T) {
	everyStream(t, func(t *testing.T, s *streams) {
		answer, app := s.open(t.Context())
		s.send(app, strings.Repeat("x", 32<<20))
		_, other := s.open(t.Context())
		s.send(other, "y")
		s.on(app.conn.Drop)
		<-s.closed
		<-s.left
		n, err := io.Copy(io.Discard, answer.Body)
		if errors.Is(err, os.ErrDeadlineExceeded) || n >= 32<<20 {
			t.Errorf("read %d bytes, %v; want the end of a part", n, err)
		}
	})
}

// Ends that happen at the same time do not touch the response afterwards.
func TestTakeOverOfAnyEnd(t *testing.T) {
	everyStream(t, func(t *testing.T, s *streams) {
		for i := range 60 {
			ctx, leave := context.WithCancel(t.Context())
			answer, app := s.open(ctx)
			var ends sync.WaitGroup
			ends.Go(func() { s.send(app, strings.Repeat("x", i*1000)) })
			if i%2 == 0 {
				ends.Go(leave)
			}
			if i%3 == 0 {
				ends.Go(func() { s.on(func() { app.stream.Close(app.goodbye("bye"), 1012, "") }) })
			}
			if i%5 == 0 {
				ends.Go(func() { s.on(app.conn.Drop) })
			}
			ends.Wait()
			leave()
			answer.Body.Close()
			<-s.closed
		}
	})
}

// The deadlines of a request do not apply to its stream.
func TestTakeOverLeavesNoDeadline(t *testing.T) {
	everyStream(t, func(t *testing.T, s *streams) {
		t.Parallel()
		s.config.HeartbeatEvery = requestTimeout * 5 / 4
		answer, app := s.open(t.Context())
		s.expect(answer, beat)
		s.on(func() { app.stream.Close(nil, 1012, "") })
	})
}

// The loop may already have ended.
func TestTakeOverWithoutALoop(t *testing.T) {
	everyStream(t, func(t *testing.T, s *streams) {
		ended, stop := context.WithCancel(t.Context())
		stop()
		over := loop.New(loop.Config{})
		if err := over.Run(ended); err != nil {
			t.Fatal(err)
		}
		s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			taken, err := transport.TakeOver(w, r)
			if err != nil {
				t.Errorf("TakeOver = %v", err)
				return
			}
			over.Serve(taken.Conn, taken.Early, nil)
			taken.Wait()
		})
		answer, err := s.client.Get(s.URL)
		if err != nil {
			return // HTTP/1: closed before its head
		}
		defer answer.Body.Close()
		if got, err := io.ReadAll(answer.Body); err != nil || len(got) > 0 {
			t.Errorf("read %q, %v; want an empty body", got, err)
		}
	})
}

// Bytes sent after the request are not lost, and the headers set on w are in the head. The
// body is chunked for an HTTP/1.1 client, and ends with the connection for others.
func TestTakeOverOfAConnection(t *testing.T) {
	for proto, body := range map[string]string{"HTTP/1.1": "a\r\nto the end\r\n0\r\n\r\n", "HTTP/1.0": "to the end"} {
		taken := take(t, "GET / "+proto+"\r\nHost: a\r\n\r\nearly")
		chunked := proto == "HTTP/1.1"
		equal(t, "early", string(taken.Early), "early")
		equal(t, "chunked", taken.Chunked, chunked)
		lines := strings.Split(string(taken.Head), "\r\n")
		equal(t, "first line", lines[0], "HTTP/1.1 200 OK")
		equal(t, "headers", slices.Contains(lines, "Connection: close") && slices.Contains(lines, "Content-Type: application/x-ndjson"), true)
		equal(t, "says that there are chunks", slices.Contains(lines, "Transfer-Encoding: chunked"), chunked)
		answer, err := http.ReadResponse(bufio.NewReader(strings.NewReader(string(taken.Head)+body)), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		if body, err := io.ReadAll(answer.Body); err != nil || string(body) != "to the end" {
			t.Errorf("%s: body = %q, %v", proto, body, err)
		}
	}
}

// take returns what a server takes over from a connection with such a request.
func take(t *testing.T, request string) transport.Taken {
	t.Helper()
	got := make(chan transport.Taken, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/x-ndjson")
		taken, err := transport.TakeOver(w, r)
		if err != nil {
			t.Errorf("TakeOver = %v", err)
		}
		taken.Wait()
		got <- taken
	}))
	defer server.Close()
	client, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := io.WriteString(client, request); err != nil {
		t.Fatal(err)
	}
	taken := <-got
	if taken.Conn != nil {
		defer taken.Conn.Close()
	}
	return taken
}
