package api_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/ikornaselur/notiflux/internal/api"
)

func TestAdminGuard(t *testing.T) {
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
	} {
		r := httptest.NewRequest("GET", "/metrics", nil)
		r.Host = c.host
		w := httptest.NewRecorder()
		api.AdminGuard(c.allowed, ok).ServeHTTP(w, r)
		if (w.Code == 204) != c.ok || !c.ok && w.Code != 403 {
			t.Errorf("Host %q with %q allowed = %d, want it to pass: %v", c.host, c.allowed, w.Code, c.ok)
		}
	}
}

func TestAdminGuardCrossSite(t *testing.T) {
	ok := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	guard := api.AdminGuard(nil, ok)
	for _, c := range []struct {
		method, header, value string
		status                int
	}{
		{"POST", "", "", 204},
		{"POST", "Sec-Fetch-Site", "same-origin", 204},
		{"POST", "Sec-Fetch-Site", "cross-site", 403},
		{"POST", "Sec-Fetch-Site", "same-site", 403},
		{"POST", "Origin", "http://127.0.0.1:8081", 204},
		{"POST", "Origin", "https://evil.example.com", 403},
		{"POST", "Origin", "null", 403},
		{"DELETE", "Origin", "https://evil.example.com", 403},
		{"GET", "Origin", "https://evil.example.com", 204},
	} {
		r := httptest.NewRequest(c.method, "/x", nil)
		r.Host = "127.0.0.1:8081"
		if c.header != "" {
			r.Header.Set(c.header, c.value)
		}
		w := httptest.NewRecorder()
		guard.ServeHTTP(w, r)
		if w.Code != c.status {
			t.Errorf("%s with %s: %s = %d, want %d", c.method, c.header, c.value, w.Code, c.status)
		}
		if w.Header().Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: a page may read the answer", c.method)
		}
	}
}

func TestAdminRoutes(t *testing.T) {
	metrics := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("some 1\n")) })
	admin := api.NewAdmin(metrics)
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
		{"GET", "/debug/pprof/cmdline", 200, "api.test"},
		{"GET", "/debug/pprof/symbol", 200, "num_symbols"},
		{"GET", "/debug/pprof/nothing", 404, ""},
		{"GET", "/nothing", 404, ""},
		{"POST", "/broadcast", 404, ""},
	} {
		w := httptest.NewRecorder()
		admin.ServeHTTP(w, httptest.NewRequest(c.method, c.path, nil))
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.body) {
			t.Errorf("%s %s = %d %.80q, want %d with %q", c.method, c.path, w.Code, w.Body, c.status, c.body)
		}
	}
}
