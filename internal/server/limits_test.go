package server_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/config"
)

// A client that sends too many requests is refused, whatever kind they are. Nobody else is, and
// what the client has already opened stays open.
func TestLimitsPerAddress(t *testing.T) {
	onBothLoops(t, func(t *testing.T, start starter) {
		s := start(func(c *config.Serve) {
			c.LimitConnectionsPerAddress, c.LimitRequestsPerAddress = 1, 1
			c.TrustedProxies = []string{"127.0.0.0/8"}
		})
		send := func(remote, method, path string) *http.Response {
			t.Helper()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel() // Streams have no end.
			body := ""
			if method == "POST" {
				body = `{"topic":"a","message":"x"}`
			}
			request, err := http.NewRequestWithContext(ctx, method, s.URL+path, strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			request.Header = http.Header{
				"X-Forwarded-For": {remote}, "Content-Type": {"application/json"},
				"Authorization": {"Bearer " + s.Token(auth.Broadcast, "a")},
			}
			answer, err := http.DefaultClient.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			defer answer.Body.Close()
			if answer.StatusCode == http.StatusTooManyRequests && method != "HEAD" {
				body, err := io.ReadAll(answer.Body)
				if err != nil || !strings.Contains(string(body), `"code":"too_many"`) {
					t.Errorf("%s %s answers %s (%v)", method, path, body, err)
				}
			}
			return answer
		}
		connected, _, err := websocket.Dial(t.Context(), s.URL+"/ws", &websocket.DialOptions{HTTPHeader: http.Header{"X-Forwarded-For": {"2001:db8::1"}}})
		if err != nil {
			t.Fatal(err)
		}
		client := s.Client(connected)
		for _, test := range []struct{ method, path, policy string }{
			{"GET", "/ws", "connections"},
			{"GET", "/events?topic=a", "connections"},
			{"HEAD", "/stream?topic=a", "connections"},
			{"POST", "/broadcast", "requests"},
			{"GET", "/poll?topic=a", "requests"},
			{"GET", "/history?topic=a", "requests"},
			{"GET", "/presence?topic=a", "requests"},
		} {
			answer := send("2001:db8::2", test.method, test.path)
			for answer.StatusCode != http.StatusTooManyRequests { // at once, on a machine that answers two within a second
				answer = send("2001:db8::3", test.method, test.path)
			}
			want := [...]string{"2", `"` + test.policy + `";r=0;t=1`, `"` + test.policy + `";q=1;w=1`}
			if got := [...]string{answer.Header.Get("Retry-After"), answer.Header.Get("RateLimit"), answer.Header.Get("RateLimit-Policy")}; got != want {
				t.Errorf("%s %s is refused with %q, want %q", test.method, test.path, got, want)
			}
		}
		for i, path := range []string{"/ws", "/history?topic=a"} {
			other := [...]string{"2001:db8:0:1::1", "192.0.2.1"}[i]
			if answer := send(other, "GET", path); answer.StatusCode == http.StatusTooManyRequests {
				t.Errorf("%s from another address is refused", path)
			}
		}
		for range 5 {
			if answer := send("2001:db8::1", "GET", "/readyz"); answer.StatusCode != http.StatusOK {
				t.Errorf("a health check answers %s", answer.Status)
			}
		}
		client.Say("/unsubscribe a")
		client.Sync()
	})
}
