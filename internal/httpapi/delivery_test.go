package httpapi_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/httpapi"
	"github.com/ikornaselur/notiflux/internal/origin"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/router"
)

// dial opens a connection to the service, and writes head and the beginning of a body.
func (s *service) dial(t *testing.T, text string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	return conn
}

func readAnswer(t *testing.T, conn net.Conn) *response {
	t.Helper()
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	return readResponse(t, answer)
}

const post = "POST /broadcast HTTP/1.1\r\nHost: example.com\r\n"

// The server checks the announced length before any part of the body arrives.
func TestAnnouncedTooLarge(t *testing.T) {
	s := newService(t, httpapi.Config{})
	for _, length := range []string{"1048577", "9223372036854775807"} {
		r := readAnswer(t, s.dial(t, post+"Content-Length: "+length+"\r\n\r\n"))
		r.want(t, 413, pubsub.TooLarge)
		r.wantDetail(t, "1048576")
	}
	r := readAnswer(t, s.dial(t, post+"Expect: 100-continue\r\nContent-Length: 2000000\r\n\r\n"))
	r.want(t, 413, pubsub.TooLarge)
}

// This also holds for a body so short that net/http would wait for it.
func TestAnnouncedTooLargeIsAnsweredAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := httpapi.New(httpapi.Config{MaxBodyBytes: 1000, MaxMessageBytes: 500})
		conn := serveInBubble(t, router.New(origin.List{}, nil,
			router.Route{Method: "POST", Path: "/broadcast", Handle: a.Broadcast}))
		start := time.Now()
		if _, err := io.WriteString(conn, post+"Content-Length: 1001\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		readAnswer(t, conn).want(t, 413, pubsub.TooLarge)
		if took := time.Since(start); took != 0 {
			t.Errorf("answered after %v", took)
		}
	})
}

func TestChunkedWithoutEnd(t *testing.T) {
	s := newService(t, httpapi.Config{})
	conn := s.dial(t, post+"Transfer-Encoding: chunked\r\n\r\n")
	var writing sync.WaitGroup
	writing.Go(func() {
		chunk := fmt.Sprintf("%x\r\n%s\r\n", 4096, strings.Repeat(" ", 4096))
		for {
			if _, err := io.WriteString(conn, chunk); err != nil {
				return
			}
		}
	})
	r := readAnswer(t, conn)
	r.want(t, 413, pubsub.TooLarge)
	r.wantDetail(t, "1048576")
	conn.Close()
	writing.Wait()
}

func TestChunked(t *testing.T) {
	s := newService(t, httpapi.Config{})
	bearer := "Authorization: Bearer " + token(t, s.signer, auth.Broadcast, "a") + "\r\n"
	conn := s.dial(t, post+bearer+"Transfer-Encoding: chunked\r\n\r\n"+"8\r\n{\"topic\"\r\n10\r\n:\"a\",\"message\":1\r\n1\r\n}\r\n0\r\n\r\n")
	readAnswer(t, conn).want(t, 200, "")
}

func TestHTTP2(t *testing.T) {
	s := newService(t, httpapi.Config{})
	server := httptest.NewUnstartedServer(s.handler)
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	for _, body := range []io.Reader{
		strings.NewReader(`{"topic":"a","message":1}`),
		io.MultiReader(strings.NewReader(`{"topic":"a","message":1}`)), // of unknown length
	} {
		request, err := http.NewRequest("POST", server.URL+"/broadcast", body)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer "+token(t, s.signer, auth.Broadcast, "a"))
		answer, err := server.Client().Do(request)
		if err != nil {
			t.Fatal(err)
		}
		if answer.ProtoMajor != 2 {
			t.Errorf("the answer used %s", answer.Proto)
		}
		readResponse(t, answer).want(t, 200, "")
	}
}

func TestTruncatedBody(t *testing.T) {
	s := newService(t, httpapi.Config{})
	for _, text := range []string{
		"Content-Length: 100\r\n\r\n" + `{"topic":"a","message":1}`,
		"Transfer-Encoding: chunked\r\n\r\n" + "5\r\n{\"to",
		"Transfer-Encoding: chunked\r\n\r\n" + "zz\r\n{}",
	} {
		conn := s.dial(t, post+text)
		if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		r := readAnswer(t, conn)
		r.want(t, 400, pubsub.Malformed)
		r.wantDetail(t, "shorter than its Content-Length")
	}
	if n := len(s.publisher.all()); n != 0 {
		t.Errorf("%d messages published", n)
	}
}

// A pipeListener accepts pipes, so that a server can run in a bubble with fake time.
type pipeListener struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{} }

// serveInBubble starts a server with handler, and returns a connection to it.
func serveInBubble(t *testing.T, handler http.Handler) net.Conn {
	listener := &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
	server := &http.Server{Handler: handler}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) })
	client, conn := net.Pipe()
	listener.conns <- conn
	t.Cleanup(func() {
		client.Close()
		server.Close()
		serving.Wait()
	})
	return client
}

func TestTricklingBody(t *testing.T) {
	for head, want := range map[string]int{
		post + "Content-Length: 1000\r\n\r\n":                                         400,
		"GET /health HTTP/1.1\r\nHost: example.com\r\nContent-Length: 1000\r\n\r\n":   200,
		"POST /nothing HTTP/1.1\r\nHost: example.com\r\nContent-Length: 1000\r\n\r\n": 404,
	} {
		synctest.Test(t, func(t *testing.T) {
			a := httpapi.New(httpapi.Config{})
			conn := serveInBubble(t, router.New(origin.List{}, nil,
				router.Route{Method: "POST", Path: "/broadcast", Handle: a.Broadcast},
				router.Route{Method: "GET", Path: "/health", Handle: a.Health}))
			start := time.Now()
			var reading sync.WaitGroup
			reading.Go(func() {
				in := bufio.NewReader(conn)
				answer, err := http.ReadResponse(in, nil)
				if err != nil {
					t.Errorf("no answer: %v", err)
					return
				}
				if r := readResponse(t, answer); r.status != want {
					t.Errorf("answer = %d (%s), want %d", r.status, r.body, want)
				}
				if _, err := in.ReadByte(); err != io.EOF {
					t.Errorf("after the answer: %v, want the end of the connection", err)
				}
				if took := time.Since(start); took > 11*time.Second {
					t.Errorf("closed after %v, want 10 s", took)
				}
			})
			if _, err := io.WriteString(conn, head); err != nil {
				t.Fatal(err)
			}
			for {
				if _, err := io.WriteString(conn, " "); err != nil {
					break
				}
				time.Sleep(time.Second)
			}
			if took := time.Since(start); took < 10*time.Second {
				t.Errorf("closed after %v, want 10 s", took)
			}
			reading.Wait()
		})
	}
}

// The deadline applies only to the body. Ordering may take longer, and so may the time
// until the publisher's next request.
func TestSlowPublishAndKeepAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		signer, verifier := newIssuer(t)
		a := httpapi.New(httpapi.Config{Verifier: direct{verifier}, Broker: slowPublisher{}})
		conn := serveInBubble(t, router.New(origin.List{}, nil,
			router.Route{Method: "POST", Path: "/broadcast", Handle: a.Broadcast}))
		in := bufio.NewReader(conn)
		body := `{"topic":"a","message":1}`
		request := fmt.Sprintf("%sAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s",
			post, token(t, signer, auth.Broadcast, "a"), len(body), body)
		for range 3 {
			if _, err := io.WriteString(conn, request); err != nil {
				t.Fatal(err)
			}
			answer, err := http.ReadResponse(in, nil)
			if err != nil {
				t.Fatal(err)
			}
			readResponse(t, answer).want(t, 200, "")
			time.Sleep(30 * time.Second)
		}
	})
}

// A direct verifier checks signatures on the goroutine of the request.
type direct struct{ *auth.Verifier }

func (v direct) Verify(t auth.Token, _ string) (*auth.Claims, error) { return v.Verifier.Verify(t) }

// A slowPublisher takes half a minute.
type slowPublisher struct{ httpapi.Broker }

func (slowPublisher) Publish(ps []pubsub.Publication, done func()) (finished bool) {
	time.AfterFunc(30*time.Second, func() {
		ps[0].Position = pubsub.Position{Epoch: "E", Offset: 1}
		done()
	})
	return false
}
