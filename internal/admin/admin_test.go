package admin_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/ikornaselur/notiflux/internal/admin"
)

func TestGuard(t *testing.T) {
	ok := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	for _, c := range []struct {
		allowed []string
		host    string
		ok      bool
	}{
		{nil, "127.0.0.1:8081", true},
		{nil, "127.0.0.1", true},
		{nil, "10.1.2.3:80", true},
		{nil, "[::1]:8081", true},
		{nil, "[::1]", true},
		{nil, "localhost:8081", true},
		{nil, "LocalHost", true},
		{nil, "rebind.example.com:8081", false},
		{nil, "localhost.example.com", false},
		{nil, "127.0.0.1.example.com:8081", false},
		{nil, "127.1", false},
		{nil, "", false},
		{nil, ":8081", false},
		{[]string{"admin.example.com"}, "admin.example.com:8081", true},
		{[]string{"admin.example.com"}, "Admin.Example.COM", true},
		{[]string{"admin.example.com"}, "other.example.com", false},
		{[]string{"admin.example.com"}, "127.0.0.1", true},
		{[]string{"*"}, "other.example.com", true},
		{[]string{"a.example.com", " admin.example.com"}, "admin.example.com", true}, // a space after the comma
		{[]string{""}, "", false},
	} {
		r := httptest.NewRequest("GET", "/metrics", nil)
		r.Host = c.host
		w := httptest.NewRecorder()
		admin.Guard(c.allowed, nil, ok).ServeHTTP(w, r)
		if (w.Code == 204) != c.ok || !c.ok && w.Code != 403 {
			t.Errorf("Host %q with %q allowed = %d, want it to pass: %v", c.host, c.allowed, w.Code, c.ok)
		}
		if !c.ok && !strings.Contains(w.Body.String(), "--admin-hosts (NOTIFLUX_ADMIN_HOSTS)") {
			t.Errorf("Host %q is refused without the setting that allows it: %s", c.host, w.Body)
		}
	}
}

func TestGuardCrossSite(t *testing.T) {
	ok := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	guard := admin.Guard(nil, nil, ok)
	for _, c := range []struct {
		method, path, header, value string
		status                      int
	}{
		{"POST", "/x", "", "", 204},
		{"POST", "/x", "Sec-Fetch-Site", "same-origin", 204},
		{"POST", "/x", "Sec-Fetch-Site", "cross-site", 403},
		{"POST", "/x", "Sec-Fetch-Site", "same-site", 403},
		{"POST", "/x", "Origin", "http://127.0.0.1:8081", 204},
		{"POST", "/x", "Origin", "https://evil.example.com", 403},
		{"POST", "/x", "Origin", "null", 403},
		{"DELETE", "/x", "Origin", "https://evil.example.com", 403},
		{"GET", "/x", "Origin", "https://evil.example.com", 204},
		{"GET", "/metrics", "Sec-Fetch-Site", "cross-site", 204},

		// The API is not for pages of other sites, not even to read.
		{"GET", "/api/x", "", "", 204},
		{"GET", "/api/x", "Origin", "https://evil.example.com", 403},
		{"GET", "/api/x", "Origin", "http://127.0.0.1:3000", 403},
		{"GET", "/api/x", "Sec-Fetch-Site", "cross-site", 403},
		{"GET", "/api/x", "Sec-Fetch-Site", "same-site", 403},
		{"OPTIONS", "/api/x", "Origin", "https://evil.example.com", 403},

		// A profile is expensive, so even requesting one is refused.
		{"GET", "/debug/pprof/profile", "", "", 204},
		{"GET", "/debug/pprof/profile", "Sec-Fetch-Site", "none", 204}, // typed by the operator
		{"GET", "/debug/pprof/profile", "Sec-Fetch-Site", "same-origin", 204},
		{"GET", "/debug/pprof/profile", "Sec-Fetch-Site", "same-site", 403},
		{"GET", "/debug/pprof/profile", "Sec-Fetch-Site", "cross-site", 403},
		{"GET", "/debug/pprof/profile", "Origin", "http://127.0.0.1:8081", 204},
		{"GET", "/debug/pprof/profile", "Origin", "https://evil.example.com", 403},
		{"GET", "/debug/pprof/profile", "Origin", "null", 403},
		{"GET", "/debug/pprof/", "Sec-Fetch-Site", "cross-site", 403},
		{"HEAD", "/debug/pprof/trace", "Sec-Fetch-Site", "cross-site", 403},
	} {
		r := httptest.NewRequest(c.method, c.path, nil)
		r.Host = "127.0.0.1:8081"
		if c.header != "" {
			r.Header.Set(c.header, c.value)
		}
		w := httptest.NewRecorder()
		guard.ServeHTTP(w, r)
		if w.Code != c.status {
			t.Errorf("%s %s with %s: %s = %d, want %d", c.method, c.path, c.header, c.value, w.Code, c.status)
		}
		if w.Header().Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: a page may read the answer", c.method)
		}
	}
}

func TestRoutes(t *testing.T) {
	metrics := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("some 1\n")) })
	handler := admin.Routes(metrics, nil)
	for _, c := range []struct {
		method, path string
		status       int
		body         string
	}{
		{"GET", "/metrics", 200, "some 1"},
		{"HEAD", "/metrics", 200, ""},
		{"POST", "/metrics", 405, ""},
		{"GET", "/debug/pprof/", 200, "goroutine"},
		{"GET", "/debug/pprof/goroutine?debug=1", 200, "goroutine profile"},
		{"GET", "/debug/pprof/heap?debug=1", 200, "heap profile"},
		{"GET", "/debug/pprof/cmdline", 200, "admin.test"},
		{"GET", "/debug/pprof/symbol", 200, "num_symbols"},
		{"GET", "/debug/pprof/nothing", 404, ""},
		{"GET", "/nothing", 404, ""},
		{"POST", "/broadcast", 404, ""},
	} {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest(c.method, c.path, nil))
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.body) {
			t.Errorf("%s %s = %d %.80q, want %d with %q", c.method, c.path, w.Code, w.Body, c.status, c.body)
		}
	}
}
