package router_test

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/ikornaselur/notiflux/internal/internaltest/logtest"
	"github.com/ikornaselur/notiflux/internal/origin"
	"github.com/ikornaselur/notiflux/internal/router"
)

func TestPanics(t *testing.T) {
	log := new(logtest.Buffer)
	server := httptest.NewServer(router.New(origin.List{}, slog.New(slog.NewTextHandler(log, nil)),
		router.Route{Method: "GET", Path: "/bug", Handle: func(http.ResponseWriter, *http.Request) error { panic("the details") }},
		router.Route{Method: "GET", Path: "/abort", Handle: func(http.ResponseWriter, *http.Request) error { panic(http.ErrAbortHandler) }},
	))
	defer server.Close()

	answer, err := http.Get(server.URL + "/bug")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != 500 || !strings.Contains(string(body), `"code":"internal"`) {
		t.Errorf("answer = %d %s (%v), want 500 internal", answer.StatusCode, body, err)
	}
	if strings.Contains(string(body), "details") {
		t.Errorf("the client got %s", body)
	}
	for _, want := range []string{"level=ERROR", "the details", "path=/bug", "router_test.go"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("log = %s, want it to contain %q", log, want)
		}
	}

	before := log.String()
	if answer, err := http.Get(server.URL + "/abort"); err == nil {
		answer.Body.Close()
		t.Errorf("http.ErrAbortHandler answered %d", answer.StatusCode)
	}
	if log.String() != before {
		t.Errorf("http.ErrAbortHandler logged: %s", log)
	}
}

// An error after the client has disconnected may only be a consequence.
func TestClientGoneIsNotAnError(t *testing.T) {
	log := new(logtest.Buffer)
	entered, left := make(chan struct{}), make(chan struct{})
	handler := router.New(origin.List{}, slog.New(slog.NewTextHandler(log, nil)),
		router.Route{Method: "GET", Path: "/wait", Handle: func(_ http.ResponseWriter, r *http.Request) error {
			close(entered)
			<-r.Context().Done()
			return errors.New("gave up")
		}})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(left)
		handler.ServeHTTP(w, r)
	}))
	defer server.Close()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprint(conn, "GET /wait HTTP/1.1\r\nHost: example.com\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	<-entered
	conn.Close()
	<-left
	if log.String() != "" {
		t.Errorf("logged: %s", log)
	}
}

// An unknown path is answered with where to find the known ones.
func TestUnknownPath(t *testing.T) {
	handle := func(http.ResponseWriter, *http.Request) error { return nil }
	routes := []router.Route{{Method: "GET", Path: "/b", Handle: handle}, {Method: "GET", Path: "/a", Handle: handle}}
	for want, routes := range map[string][]router.Route{
		"the paths are /a, /b":                     routes,
		"GET /openapi.json lists the paths":        append(routes, router.Route{Method: "GET", Path: "/openapi.json", Handle: handle}),
		"the right path is /a/b: check the client": append(routes, router.Route{Method: "GET", Path: "/a/b", Handle: handle}),
	} {
		w := httptest.NewRecorder()
		router.New(origin.List{}, nil, routes...).ServeHTTP(w, httptest.NewRequest("GET", "/a/b/", nil))
		if w.Code != http.StatusNotFound || !strings.Contains(w.Body.String(), want) {
			t.Errorf("GET /a/b/ = %d %s, want %q", w.Code, w.Body, want)
		}
	}
}

func TestTwoRoutesForOnePath(t *testing.T) {
	handle := func(name string) router.Handler {
		return func(w http.ResponseWriter, _ *http.Request) error {
			w.Header().Set("Handled", name)
			return nil
		}
	}
	handler := router.New(origin.List{}, nil,
		router.Route{Method: "GET", Path: "/a", Handle: handle("get")},
		router.Route{Method: "PUT", Path: "/a", Handle: handle("put")})
	for method, want := range map[string]string{"GET": "get", "HEAD": "get", "PUT": "put", "POST": ""} {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest(method, "/a", nil))
		if got := w.Header().Get("Handled"); got != want {
			t.Errorf("%s handled by %q, want %q", method, got, want)
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("two routes with one method and path were accepted")
		}
	}()
	router.New(origin.List{}, nil,
		router.Route{Method: "GET", Path: "/a", Handle: handle("1")},
		router.Route{Method: "HEAD", Path: "/a", Handle: handle("2")})
}
