package posts_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ikornaselur/notiflux/internal/internaltest/memnet"
	"github.com/ikornaselur/notiflux/internal/posts"
)

// The timeouts of the servers in this package's tests.
const (
	headerTimeout = 5 * time.Second
	writeTimeout  = time.Minute
	idleTimeout   = 100 * time.Second
)

// A server runs on an in-memory network, in a bubble.
type server struct {
	t       *testing.T
	http    *http.Server
	posts   *posts.Server // nil: net/http alone
	link    *memnet.Link
	address string
	served  chan error

	mu sync.Mutex
	// Guarded by mu.
	seen   []string                           // the requests that the handler got
	inside int                                // how many of them came from this package
	states map[string][]http.ConnState        // by the address of the client
	hold   func(body string, r *http.Request) // called by the handler; nil: nothing
}

// start starts a server, with this package or without.
func start(t *testing.T, small bool) *server {
	network := memnet.New()
	l, err := network.Listen("10.0.0.1:80")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, link: network.Link(memnet.LinkConfig{}), address: l.Addr().String(), served: make(chan error, 1), states: make(map[string][]http.ConnState)}
	s.http = &http.Server{
		Handler:           http.HandlerFunc(s.handle),
		ReadHeaderTimeout: headerTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    16 << 10,
		ConnState:         s.state,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, clientKey{}, c.RemoteAddr().String())
		},
		Protocols: new(http.Protocols),
	}
	s.http.Protocols.SetHTTP1(true)
	s.http.Protocols.SetUnencryptedHTTP2(true)
	listener := net.Listener(l)
	if small {
		s.posts = posts.New(s.http, "/broadcast")
		listener = s.posts.Listener(l)
	}
	go func() { s.served <- s.http.Serve(listener) }()
	return s
}

type clientKey struct{}

// stop shuts the server down.
func (s *server) stop() {
	if err := s.shutdown(context.Background()); err != nil {
		s.t.Errorf("shutdown: %v", err)
	}
	if err := <-s.served; err != http.ErrServerClosed {
		s.t.Errorf("served: %v", err)
	}
	synctest.Wait() // until net/http has reported the last state
}

func (s *server) shutdown(ctx context.Context) error {
	if s.posts != nil {
		return s.posts.Shutdown(ctx)
	}
	return s.http.Shutdown(ctx)
}

func (s *server) close() {
	if s.posts != nil {
		_ = s.posts.Close()
	} else {
		_ = s.http.Close()
	}
}

func (s *server) state(c net.Conn, state http.ConnState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	client := c.RemoteAddr().String()
	s.states[client] = append(s.states[client], state)
}

// history returns the states of all connections. It omits that a connection was active just
// before its end: with net/http, that depends on when it reads the part of a request.
func (s *server) history() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.ReplaceAll(fmt.Sprint(s.states), " active closed", " closed")
}

// handle answers as the body of the request says, so that both servers have to answer in all
// ways that handlers of the project use.
func (s *server) handle(w http.ResponseWriter, r *http.Request) {
	read, err := io.ReadAll(r.Body)
	if again, _ := r.Body.Read(make([]byte, 1)); again != 0 {
		s.t.Error("the body goes on after its end")
	}
	do := string(read)
	s.record(r, do, err)
	if s.hold != nil {
		s.hold(do, r)
	}
	h := w.Header()
	h["Content-Type"] = []string{"application/json"}
	h.Add("Vary", "Origin")
	switch {
	case strings.HasPrefix(do, "status "):
		status, _ := strconv.Atoi(do[len("status "):])
		if status < 200 || status > 599 || status == 204 || status == 304 {
			status = 200
		}
		h.Set("Content-Length", "6")
		w.WriteHeader(status)
		h.Set("Late", "yes")
		fmt.Fprint(w, "ab")
		fmt.Fprint(w, "cdef")
	case do == "close":
		h.Set("Connection", "close")
		fmt.Fprint(w, "bye")
	case do == "empty":
	case do == "headers":
		h.Set("X-Lines", " a\r\nb\nc ")
		h["X-Two"] = []string{"1", "2"}
		h["bad name"] = []string{"1"}
		fmt.Fprint(w, "x")
	case do == "large":
		h.Set("Content-Length", "9000")
		control := http.NewResponseController(w)
		if err := errors.Join(control.SetWriteDeadline(time.Now().Add(time.Second)), control.SetReadDeadline(time.Now().Add(time.Second))); err != nil {
			s.t.Error(err)
		}
		for range 9 {
			fmt.Fprint(w, strings.Repeat("x", 1000))
		}
		if err := errors.Join(control.Flush(), control.SetWriteDeadline(time.Time{})); err != nil {
			s.t.Error(err)
		}
	case do == "short", do == "long":
		length := map[string]string{"short": "9", "long": "3"}[do]
		h.Set("Content-Length", length)
		for range 2 {
			_, err := fmt.Fprint(w, "ab")
			s.note(fmt.Sprint("write: ", err))
		}
	case do == "abort":
		panic(http.ErrAbortHandler)
	default:
		fmt.Fprintf(w, "%d\n", len(do))
	}
}

// record notes all that the handler can see of a request.
func (s *server) record(r *http.Request, body string, err error) {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %q %s %d.%d host %q length %d encoding %q close %t from %s %v\n", r.Method, r.RequestURI, r.URL, r.Proto, r.ProtoMajor, r.ProtoMinor,
		r.Host, r.ContentLength, r.TransferEncoding, r.Close, r.RemoteAddr, r.Context().Value(clientKey{}))
	for _, name := range slices.Sorted(maps.Keys(r.Header)) {
		fmt.Fprintf(&b, "%s: %q\n", name, r.Header[name])
	}
	fmt.Fprintf(&b, "%q %v\n", body, err)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = append(s.seen, b.String())
	if r.Context().Value(http.ServerContextKey) == nil { // net/http sets it
		s.inside++
	}
}

// note adds a line to what the handler sees.
func (s *server) note(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = append(s.seen, line)
}

func (s *server) dial() net.Conn {
	s.t.Helper()
	c, err := s.link.DialContext(context.Background(), "tcp", s.address)
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

// send sends parts, each after the server has read the one before.
func send(t *testing.T, c net.Conn, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if _, err := io.WriteString(c, part); err != nil {
			t.Logf("the server ended the connection: %v", err)
			return
		}
		synctest.Wait()
	}
}

// pass lets time pass in the bubble.
func pass(d time.Duration) { <-time.After(d) }

// converse sends parts and the end of the data on a new connection. It returns all that the
// server answers, and what it sees.
func converse(t *testing.T, small bool, parts ...string) (answers string, s *server) {
	t.Helper()
	s = start(t, small)
	defer s.stop()
	c := s.dial()
	defer c.Close()
	send(t, c, parts...)
	_ = c.(interface{ CloseWrite() error }).CloseWrite()
	read, _ := io.ReadAll(c) // a reset is an end, too
	return string(read), s
}

// compare lets both servers answer, and returns how many requests this package answered.
func compare(t *testing.T, parts ...string) (inside int) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		want, plain := converse(t, false, parts...)
		got, s := converse(t, true, parts...)
		if got != want {
			t.Errorf("%q: the answer is\n%q, net/http answers\n%q", parts, got, want)
		}
		if !slices.Equal(s.seen, plain.seen) {
			t.Errorf("%q: the handler sees\n%s, of net/http it sees\n%s", parts, s.seen, plain.seen)
		}
		if got, want := s.history(), plain.history(); got != want {
			t.Errorf("%q: the states of the connection are %s, with net/http they are %s", parts, got, want)
		}
		inside = s.inside
	})
	return inside
}

// post returns a small post with extra header lines.
func post(body string, lines ...string) string {
	head := "POST /broadcast HTTP/1.1\r\nHost: example.com\r\n"
	for _, line := range lines {
		head += line + "\r\n"
	}
	return head + "Content-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n" + body
}
