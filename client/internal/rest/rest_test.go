package rest_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/client/internal/rest"
	"github.com/ikornaselur/notiflux/client/internal/wire"
)

func TestAddresses(t *testing.T) {
	for address, ok := range map[string]bool{
		"http://host": true, "https://host": true, "http://host:8080/prefix/": true, "http://[::1]:8080": true,
		"host": false, "host:8080": false, "ws://host": false, "http://": false, "http://:80": false, "": false,
		"http://user:secret@host": false, "http://host?token=secret": false, "http://host#secret": false, "http://secret\x00": false,
	} {
		s, err := rest.New(address, nil)
		if (err == nil) != ok || (s == nil) == ok {
			t.Errorf("New(%q) = %v, %v", address, s, err)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("New(%q) = %v, which shows a secret", address, err)
		}
	}
}

// start returns a server that answers with handler, on which New was called with client.
func start(t *testing.T, client *http.Client, handler http.HandlerFunc) *rest.Server {
	h := httptest.NewServer(handler)
	t.Cleanup(h.Close)
	s, err := rest.New(h.URL+"/prefix", client)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func TestRequests(t *testing.T) {
	s := start(t, nil, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %q %q %s", r.Method, r.URL, r.Header["Authorization"], r.Header["Content-Type"], body)
	})
	for _, c := range []struct {
		request rest.Request
		token   string
		want    string
	}{
		{rest.Request{Method: "GET", Path: "history", Query: url.Values{"topic": {"a&b"}}}, "secret", `GET /prefix/history?topic=a%26b ["Bearer secret"] [] `},
		{rest.Request{Method: "POST", Path: "broadcast", Body: []byte(`{}`)}, "", `POST /prefix/broadcast [] ["application/json"] {}`},
	} {
		got, err := s.Ask(t.Context(), c.request, c.token)
		if err != nil || string(got) != c.want {
			t.Errorf("the server got\n%s, %v\nwant\n%s", got, err, c.want)
		}
	}
}

func TestAnswers(t *testing.T) {
	s := start(t, nil, func(w http.ResponseWriter, r *http.Request) {
		var status int
		_, _ = fmt.Sscan(r.URL.Query().Get("status"), &status)
		if status == 302 {
			http.Redirect(w, r, "http://elsewhere.test/", status)
			return
		}
		w.WriteHeader(status)
		fmt.Fprint(w, `{"code":"draining","detail":"bye"}`)
	})
	for status, want := range map[int]string{200: "", 207: "", 204: "204 ", 302: "302 ", 404: "404 draining", 503: "503 draining"} {
		body, err := s.Ask(t.Context(), rest.Request{Method: "GET", Query: url.Values{"status": {fmt.Sprint(status)}}}, "secret")
		got := ""
		if e, ok := errors.AsType[*wire.Status](err); ok {
			got = fmt.Sprint(e.Status, " ", e.Code)
		} else if err != nil || len(body) == 0 {
			t.Errorf("status %d: %q, %v", status, body, err)
		}
		if got != want {
			t.Errorf("status %d is the error %q, want %q", status, got, want)
		}
	}
}

// An error of the network shows neither the address nor the token. A timeout of the
// caller's client does not count, as it would end streams.
func TestNetworkErrors(t *testing.T) {
	release := make(chan struct{})
	client := &http.Client{Timeout: time.Nanosecond}
	s := start(t, client, func(w http.ResponseWriter, _ *http.Request) {
		w.(http.Flusher).Flush()
		<-release
		panic(http.ErrAbortHandler)
	})
	response, err := s.Send(t.Context(), rest.Request{Method: "GET", Path: "events"}, "secret")
	close(release)
	if err != nil {
		t.Fatalf("Send = %v", err)
	}
	response.Body.Close()
	if client.Timeout != time.Nanosecond {
		t.Error("the caller's client was changed")
	}
	_, err = s.Ask(t.Context(), rest.Request{Method: "GET", Path: "events"}, "secret")
	if err == nil || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), s.Base.Host) {
		t.Errorf("Ask = %v", err)
	}
	nobody, _ := rest.New("http://127.0.0.1:1/address", nil)
	_, err = nobody.Ask(t.Context(), rest.Request{Method: "GET"}, "secret")
	if err == nil || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "/address") {
		t.Errorf("Ask = %v", err)
	}
}
