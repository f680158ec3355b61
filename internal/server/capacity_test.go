package server_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/config"
	"github.com/ikornaselur/notiflux/internal/internaltest/rawclient"
	"github.com/ikornaselur/notiflux/internal/internaltest/servertest"
	"github.com/ikornaselur/notiflux/internal/server"
)

// An asker sends requests over a connection that it never closes.
type asker struct {
	*rawclient.Conn
	t *testing.T
}

func dialHTTP(t *testing.T, url string) asker {
	t.Helper()
	return asker{dialRaw(t, url), t} // its timeout is less than the two minutes of an idle connection
}

// ask sends a request and returns the answer, whose body it has read.
func (w asker) ask(request, body string, headers ...string) *http.Response {
	w.t.Helper()
	text := request + " HTTP/1.1\r\nHost: x\r\n"
	for i := 0; i < len(headers); i += 2 {
		text += headers[i] + ": " + headers[i+1] + "\r\n"
	}
	if body != "" {
		text += fmt.Sprintf("Content-Length: %d\r\n", len(body))
	}
	if _, err := io.WriteString(w, text+"\r\n"+body); err != nil {
		w.t.Fatal(err)
	}
	r, err := http.ReadResponse(w.R, nil)
	if err != nil {
		w.t.Fatalf("%s: %v", request, err)
	}
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		w.t.Fatalf("%s: %v", request, err)
	}
	return r
}

// wantEnd fails the test unless the server closes the connection without sending more.
func (w asker) wantEnd(what string) {
	w.t.Helper()
	if rest, err := io.ReadAll(w.R); err != nil || len(rest) > 0 {
		w.t.Errorf("%s: the connection continues: %q, %v", what, rest, err)
	}
}

func TestRefusalsForCapacityCloseTheConnection(t *testing.T) {
	servertest.NeedsMemory(t, "it refuses to publish to a topic for which there is no room")
	onBothLoops(t, func(t *testing.T, start starter) {
		s := start(func(c *config.Serve) { c.MaxConnections, c.MaxTopics = 1, 1 })
		s.Subscribe("a")
		since := mustRead(t, s, "/poll?topic=a", "a").Cursor
		reader := []string{"Authorization", "Bearer " + s.Token(auth.Subscribe, "a")}
		for _, test := range []struct {
			request, body string
			headers       []string
		}{
			{"GET /ws", "", handshake},
			{"GET /events?topic=a", "", reader},
			{"GET /stream?topic=a", "", reader},
			{"GET /poll?topic=a&since=" + since, "", reader},
			{"POST /broadcast", `{"topic":"b","message":1}`, []string{"Authorization", "Bearer " + s.Token(auth.Broadcast, "b")}},
		} {
			w := dialHTTP(t, s.URL)
			if r := w.ask(test.request, test.body, test.headers...); r.StatusCode != 503 || !r.Close {
				t.Errorf("%s: %s, Connection: close %v; want 503 and close", test.request, r.Status, r.Close)
			}
			w.wantEnd(test.request)
		}
		warning := `level=WARN msg="connection limit reached; clients are refused" limit=1 setting="--max-connections (NOTIFLUX_MAX_CONNECTIONS)"`
		if n := strings.Count(s.Log(), warning); n != 1 {
			t.Errorf("the log has the warning %d times, want it rarely\n%s", n, s.Log())
		}
		w := dialHTTP(t, s.URL) // other refusals keep the connection open
		for range 2 {
			if r := w.ask("GET /nothing", ""); r.StatusCode != 404 || r.Close {
				t.Errorf("not found: %s, Connection: close %v; want 404 and no close", r.Status, r.Close)
			}
		}
	})
}

func TestRefusalsOfADrainingServerCloseTheConnection(t *testing.T) {
	c := withKey(t)
	s, err := server.Open(c, server.Environment{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	drained := httptest.NewServer(server.Drained(s))
	defer drained.Close()
	for _, request := range []string{"GET /readyz", "GET /ws"} {
		w := dialHTTP(t, drained.URL)
		if r := w.ask(request, "", handshake...); r.StatusCode != 503 || !r.Close {
			t.Errorf("%s: %s, Connection: close %v; want 503 and close", request, r.Status, r.Close)
		}
		w.wantEnd(request)
	}
}

func TestIdleConnectionsEndInTime(t *testing.T) {
	s := servertest.Start(t, func(c *config.Serve) { c.IdleTimeout = time.Second })
	w := dialHTTP(t, s.URL)
	if r := w.ask("GET /health", ""); r.StatusCode != 200 || r.Close {
		t.Errorf("health: %s, Connection: close %v; want 200 and no close", r.Status, r.Close)
	}
	w.wantEnd("after the idle timeout")
}
