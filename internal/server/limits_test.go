package server_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/config"
	"github.com/ikornaselur/notiflux/internal/pubsub"
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

// A subject that publishes too much is refused, over HTTP and over WebSocket together. The other
// messages of a request are published.
func TestLimitPerSubject(t *testing.T) {
	onBothLoops(t, func(t *testing.T, start starter) {
		s := start(func(c *config.Serve) { c.LimitBroadcastsPerSubject = 2 })
		token := func(subject string) string {
			return s.Sign(auth.Grant{Subject: subject, Scopes: []auth.Scope{auth.Broadcast}, Topics: []pubsub.Topic{"a"}, Expires: time.Now().Add(time.Hour)})
		}
		post := func(subject, body string) (int, string) {
			t.Helper()
			request, err := http.NewRequestWithContext(t.Context(), "POST", s.URL+"/broadcast", strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			request.Header = http.Header{"Content-Type": {"application/json"}, "Authorization": {"Bearer " + token(subject)}}
			answer, err := http.DefaultClient.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			defer answer.Body.Close()
			got, err := io.ReadAll(answer.Body)
			if err != nil {
				t.Fatal(err)
			}
			return answer.StatusCode, string(got)
		}
		const message = `{"topic":"a","message":"x"}`
		status, answer := post("ann", "["+strings.Repeat(message+",", 99)+message+"]")
		published, refused := strings.Count(answer, `"position"`), strings.Count(answer, `"too_many"`)
		if status != http.StatusMultiStatus || published < 2 || refused == 0 || published+refused != 100 {
			t.Errorf("an array is %d with %d published and %d refused", status, published, refused)
		}
		for status == http.StatusMultiStatus || status == http.StatusOK { // at once, if less than half a second has passed
			status, answer = post("ann", message)
		}
		if status != http.StatusTooManyRequests || !strings.Contains(answer, "sub") {
			t.Errorf("a message is %d %s, want 429", status, answer)
		}
		if status, answer := post("bob", message); status != http.StatusOK {
			t.Errorf("a message of another subject is %d %s", status, answer)
		}

		conn, _, err := websocket.Dial(t.Context(), s.URL+"/ws", &websocket.DialOptions{Subprotocols: []string{"notiflux.v1.json"}})
		if err != nil {
			t.Fatal(err)
		}
		client := s.Client(conn)
		client.Next() // welcome
		say := func(subject string) string {
			client.Say(`{"type":"broadcast","id":1,"topic":"a","message":"x","token":"` + token(subject) + `"}`)
			return client.Next()
		}
		got := say("ann")
		for strings.Contains(got, `"position"`) {
			got = say("ann")
		}
		if !strings.Contains(got, `"code":"too_many"`) || !strings.Contains(got, `"retry":true`) {
			t.Errorf("a message over WebSocket is %s", got)
		}
		if got := say("eve"); !strings.Contains(got, `"position"`) {
			t.Errorf("a message of another subject over WebSocket is %s", got)
		}
	})
}
