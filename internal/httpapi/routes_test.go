package httpapi_test

import (
	"bufio"
	"net/http"
	"testing"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/httpapi"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

func TestPathsAndMethods(t *testing.T) {
	s := newService(t, httpapi.Config{})
	for _, c := range []struct {
		method, path string
		status       int
		code         pubsub.Code
		allow        string
	}{
		{"GET", "/health", 200, "", ""},
		{"GET", "/health?x=1", 200, "", ""},
		{"GET", "/readyz", 200, "", ""},
		{"HEAD", "/health", 200, "", ""},
		{"HEAD", "/readyz", 200, "", ""},
		{"OPTIONS", "/health", 204, "", "GET, HEAD, OPTIONS"},
		{"OPTIONS", "/broadcast", 204, "", "OPTIONS, POST"},
		{"POST", "/health", 405, pubsub.MethodNotAllowed, "GET, HEAD, OPTIONS"},
		{"GET", "/broadcast", 405, pubsub.MethodNotAllowed, "OPTIONS, POST"},
		{"PUT", "/broadcast", 405, pubsub.MethodNotAllowed, "OPTIONS, POST"},
		{"post", "/broadcast", 405, pubsub.MethodNotAllowed, "OPTIONS, POST"},
		{"POST", "/ws", 405, pubsub.MethodNotAllowed, "GET, OPTIONS"},
		{"TRACE", "/ws", 405, pubsub.MethodNotAllowed, "GET, OPTIONS"},
		{"GET", "/", 404, pubsub.NotFound, ""},
		{"GET", "/Health", 404, pubsub.NotFound, ""},
		{"GET", "/health/", 404, pubsub.NotFound, ""},
		{"GET", "//health", 404, pubsub.NotFound, ""},
		{"GET", "/x/../health", 404, pubsub.NotFound, ""},
		{"GET", "/%2Fhealth", 404, pubsub.NotFound, ""},
		{"GET", "/%68ealth", 404, pubsub.NotFound, ""},
		{"POST", "/%62roadcast", 404, pubsub.NotFound, ""},
		{"POST", "/broadcast/news", 404, pubsub.NotFound, ""},
		{"OPTIONS", "/nothing", 404, pubsub.NotFound, ""},
		{"GET", "/metrics", 404, pubsub.NotFound, ""},
		{"GET", "/debug/pprof/", 404, pubsub.NotFound, ""},
	} {
		t.Run(c.method+" "+c.path, func(t *testing.T) {
			r := s.do(t, c.method, c.path, "")
			r.want(t, c.status, c.code)
			if got := r.header.Get("Allow"); got != c.allow {
				t.Errorf("Allow = %q, want %q", got, c.allow)
			}
			if r.status < 300 && r.body != "" {
				t.Errorf("body = %q, want none", r.body)
			}
		})
	}
	for path, status := range map[string]int{"/ws": 405, "/broadcast": 405, "/nothing": 404} {
		if r := s.do(t, "HEAD", path, ""); r.status != status || r.body != "" {
			t.Errorf("HEAD %s = %d %q, want %d without a body", path, r.status, r.body, status)
		}
	}
}

func TestReady(t *testing.T) {
	var notReady error
	s := newService(t, httpapi.Config{Ready: func() error { return notReady }})
	s.do(t, "GET", "/readyz", "").want(t, 200, "")
	notReady = pubsub.Errorf(pubsub.Draining, "this server is shutting down")
	r := s.do(t, "GET", "/readyz", "")
	r.want(t, 503, pubsub.Draining)
	if r.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	s.do(t, "GET", "/health", "").want(t, 200, "")
}

func TestCORS(t *testing.T) {
	open := newService(t, httpapi.Config{})
	listed := newService(t, httpapi.Config{}, "https://app.example.com", "http://localhost:3000")
	subdomains := newService(t, httpapi.Config{}, "https://*.example.com:443")
	for _, c := range []struct {
		s      *service
		origin string // "-": no header
		allow  string // Access-Control-Allow-Origin; "-": refused with 403
	}{
		{open, "-", ""},
		{open, "https://app.example.com", "*"},
		{open, "null", "*"},
		{listed, "-", ""},
		{listed, "https://app.example.com", "https://app.example.com"},
		{listed, "http://localhost:3000", "http://localhost:3000"},
		{listed, "null", "-"},
		{listed, "https://other.example.com", "-"},
		{listed, "http://app.example.com", "-"},
		{listed, "https://app.example.com:444", "-"},
		{listed, "https://app.example.com.example.com", "-"},
		{listed, "https://xapp.example.com", "-"},
		{listed, "https://app.example.com/", "-"},
		{listed, "*", "-"},
		{listed, "", "-"},
		{subdomains, "https://app.example.com", "https://app.example.com"},
		{subdomains, "https://example.com", "-"},
		{subdomains, "", "-"},
	} {
		for _, request := range [][2]string{
			{"GET", "/health"}, {"HEAD", "/readyz"}, {"GET", "/ws"}, {"POST", "/broadcast"},
			{"OPTIONS", "/broadcast"}, {"DELETE", "/broadcast"}, {"GET", "/nothing"},
		} {
			var headers []string
			if c.origin != "-" {
				headers = []string{"Origin", c.origin}
			}
			r := c.s.do(t, request[0], request[1], "", headers...)
			what := request[0] + " " + request[1] + " from " + c.origin
			allow := r.header.Get("Access-Control-Allow-Origin")
			if c.allow == "-" {
				if r.status != 403 || allow != "" || request[0] != "HEAD" && r.problem.Code != pubsub.OriginDenied {
					t.Errorf("%s = %d %q, allowed %q, want 403 origin_denied", what, r.status, r.problem.Code, allow)
				}
			} else if r.status == 403 || allow != c.allow {
				t.Errorf("%s = %d, allowed %q, want %q", what, r.status, allow, c.allow)
			}
			if varies := r.header.Get("Vary") == "Origin"; varies != (c.s != open) {
				t.Errorf("%s: Vary = %q", what, r.header.Get("Vary"))
			}
		}
	}
	listed.do(t, "GET", "/health", "", "Origin", "https://app.example.com", "Origin", "https://evil.example.com").want(t, 403, pubsub.OriginDenied)
	listed.do(t, "GET", "/health", "", "Origin", "https://app.example.com", "Origin", "").want(t, 403, pubsub.OriginDenied)
}

// A wildcard allows subdomains, but does not trust them. Browsers send the cookie
// automatically, so it is only for origins that are listed by name.
func TestWildcardGetsNoCookie(t *testing.T) {
	s := newService(t, httpapi.Config{}, "https://*.example.com", "https://app.example.com")
	cookie := "notiflux_token=" + token(t, s.signer, auth.Subscribe, "a")
	for origin, trusted := range map[string]bool{"https://app.example.com": true, "https://other.example.com": false} {
		r := s.do(t, "GET", "/history?topic=a", "", "Origin", origin, "Cookie", cookie)
		if credentials := r.header.Get("Access-Control-Allow-Credentials") == "true"; (r.status == 200) != trusted || credentials != trusted {
			t.Errorf("%s with a cookie = %d, credentials allowed: %v, want both: %v", origin, r.status, credentials, trusted)
		}
	}
}

func TestPreflight(t *testing.T) {
	s := newService(t, httpapi.Config{}, "https://app.example.com")
	r := s.do(t, "OPTIONS", "/broadcast", "", "Origin", "https://app.example.com",
		"Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "authorization")
	r.want(t, 204, "")
	for name, want := range map[string]string{
		"Access-Control-Allow-Origin":      "https://app.example.com",
		"Access-Control-Allow-Methods":     "OPTIONS, POST",
		"Access-Control-Allow-Headers":     "Authorization, Content-Type, Idempotency-Key, Last-Event-ID",
		"Access-Control-Max-Age":           "7200",
		"Access-Control-Allow-Credentials": "true",
	} {
		if got := r.header.Get(name); got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
	// Scripts for tracing and caching add their own headers.
	r = s.do(t, "OPTIONS", "/poll", "", "Origin", "https://app.example.com", "Access-Control-Request-Method", "GET",
		"Access-Control-Request-Headers", "authorization,baggage,cache-control", "Access-Control-Request-Headers", "sentry-trace, traceparent, x y, x:, x(")
	if got, want := r.header.Get("Access-Control-Allow-Headers"), "Authorization, Content-Type, Idempotency-Key, Last-Event-ID, baggage, cache-control, sentry-trace, traceparent"; got != want {
		t.Errorf("Access-Control-Allow-Headers = %q, want %q", got, want)
	}
	r = s.do(t, "OPTIONS", "/broadcast", "", "Origin", "https://app.example.com")
	r.want(t, 204, "")
	if got := r.header.Get("Access-Control-Max-Age"); got != "" {
		t.Errorf("OPTIONS that is not a preflight: Max-Age = %q", got)
	}
}

// A page may read the answers that it needs, including refusals.
func TestCORSOnErrors(t *testing.T) {
	s := newService(t, httpapi.Config{}, "https://app.example.com")
	r := s.do(t, "POST", "/broadcast", `{"topic":"a","message":1}`, "Origin", "https://app.example.com")
	r.want(t, 401, pubsub.TokenMissing)
	if got := r.header.Get("Access-Control-Allow-Origin"); got != "https://app.example.com" {
		t.Errorf("Access-Control-Allow-Origin = %q", got)
	}
	if got := r.header.Get("Access-Control-Expose-Headers"); got != "RateLimit, RateLimit-Policy, Retry-After, WWW-Authenticate" {
		t.Errorf("Access-Control-Expose-Headers = %q", got)
	}
}

// Requests on one connection do not affect each other, whatever their outcome.
func TestKeepAliveAfterRefusals(t *testing.T) {
	s := newService(t, httpapi.Config{})
	good := "Authorization: Bearer " + token(t, s.signer, auth.Broadcast, "a") + "\r\nContent-Length: 25\r\n\r\n" + `{"topic":"a","message":1}`
	conn := s.dial(t, post+"Content-Length: 3\r\n\r\n{x}"+
		"GET /nothing HTTP/1.1\r\nHost: example.com\r\nContent-Length: 3\r\n\r\nabc"+
		post+good+post+good)
	in := bufio.NewReader(conn)
	for i, want := range []int{400, 404, 200, 200} {
		answer, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		if r := readResponse(t, answer); r.status != want {
			t.Errorf("answer %d = %d (%s), want %d", i, r.status, r.body, want)
		}
	}
}
