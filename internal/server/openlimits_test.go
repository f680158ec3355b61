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
	"github.com/ikornaselur/notiflux/internal/internaltest/servertest"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// stays sends a request from an address, and returns its answer, whose body the caller closes.
func stays(t *testing.T, s *servertest.Server, remote, path, token string) *http.Response {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, "GET", s.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header = http.Header{"X-Forwarded-For": {remote}, "Authorization": {"Bearer " + token}}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

// wantFull checks the answer to a client that is refused because of those that are open.
func wantFull(t *testing.T, answer *http.Response, limit string) {
	t.Helper()
	defer answer.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(answer.Body, 1000))
	got := [...]string{answer.Header.Get("Retry-After"), answer.Header.Get("RateLimit"), answer.Header.Get("RateLimit-Policy")}
	if want := [...]string{"2", `"open-connections";r=0`, `"open-connections";q=` + limit + `;qu="concurrent-requests"`}; answer.StatusCode != 429 || got != want || !strings.Contains(string(body), "connections open") {
		t.Errorf("%s is %d with %q, %s; want 429 with %q", answer.Request.URL, answer.StatusCode, got, body, want)
	}
}

// Each limit that is set has a metric of what it refused.
func TestRefusalsOfLimits(t *testing.T) {
	s := servertest.Start(t, func(c *config.Serve) {
		c.MaxConnectionsPerAddress, c.MaxConnectionsPerSubject = 1, 1
		c.LimitConnectionsPerAddress, c.LimitRequestsPerAddress, c.LimitCommandsPerAddress, c.LimitCommandsPerSubject = 10, 10, 10, 10
		c.LimitBroadcastsPerAddress, c.LimitBroadcastsPerSubject, c.LimitFailedTokensPerAddress = 10, 10, 10
	})
	s.Connect()
	wantFull(t, stays(t, s, "192.0.2.1", "/events?topic=a", s.Token(auth.Subscribe, "a")), "1")
	_, body := text(t, s, s.AdminURL+"/metrics")
	for setting, want := range map[string]string{
		"max-connections-per-address": "1", "max-connections-per-subject": "0",
		"limit-connections-per-address": "0", "limit-requests-per-address": "0", "limit-failed-tokens-per-address": "0",
		"limit-commands-per-address": "0", "limit-commands-per-subject": "0",
		"limit-broadcasts-per-address": "0", "limit-broadcasts-per-subject": "0",
	} {
		if line := `notiflux_limit_refusals_total{setting="` + setting + `"} ` + want + "\n"; !strings.Contains(body, line) {
			t.Errorf("the metrics lack %q:\n%s", line, body)
		}
	}
}

// An address has at most so many WebSockets, streams and waiting polls, of any kind. As soon as one
// ends, it may open another one.
func TestOpenConnectionsPerAddress(t *testing.T) {
	onBothLoops(t, func(t *testing.T, start starter) {
		s := start(func(c *config.Serve) {
			c.MaxConnectionsPerAddress, c.TrustedProxies = 2, []string{"127.0.0.0/8"}
		})
		token := s.Token(auth.Subscribe, "a")
		const full, other = "2001:db8::1", "2001:db8:0:1::1"
		first := dialFrom(t, s, full)
		stream := stays(t, s, full, "/events?topic=a", token)
		for _, path := range []string{"/events?topic=a", "/stream?topic=a", "/poll?topic=a&wait=60&since=" + s.Head("a").String()} {
			wantFull(t, stays(t, s, full, path, token), "2")
		}
		header := http.Header{"X-Forwarded-For": {full}}
		if _, answer, err := websocket.Dial(t.Context(), s.URL+"/ws", &websocket.DialOptions{HTTPHeader: header}); err == nil || answer == nil {
			t.Errorf("a third WebSocket: %v", err)
		} else if answer.StatusCode != 429 {
			t.Errorf("a third WebSocket is %d", answer.StatusCode)
		}
		if answer := stays(t, s, full, "/history?topic=a", token); answer.StatusCode != 200 {
			t.Errorf("a request that does not stay is %d", answer.StatusCode)
		}
		for range 2 {
			if answer := stays(t, s, other, "/stream?topic=a", token); answer.StatusCode != 200 {
				t.Errorf("a stream from another address is %d", answer.StatusCode)
			}
		}
		for _, end := range []func(){func() { stream.Body.Close() }, func() { first.CloseNow() }} {
			end()
			eventually(t, func() string {
				c, _, err := websocket.Dial(t.Context(), s.URL+"/ws", &websocket.DialOptions{HTTPHeader: header})
				if err != nil {
					return err.Error()
				}
				t.Cleanup(func() { c.CloseNow() })
				return ""
			})
		}
		if answer := stays(t, s, full, "/stream?topic=a", token); answer.StatusCode != 429 {
			t.Errorf("a third connection is %d, want 429", answer.StatusCode)
		}
	})
}

// A user has at most so many of them. A WebSocket counts for the user of the first token that it uses,
// until it ends.
func TestOpenConnectionsPerSubject(t *testing.T) {
	onBothLoops(t, func(t *testing.T, start starter) {
		s := start(func(c *config.Serve) { c.MaxConnectionsPerSubject = 2 })
		token := func(subject string) string {
			return s.Sign(auth.Grant{Subject: subject, Scopes: []auth.Scope{auth.Subscribe}, Topics: []pubsub.Topic{"a", "b"}, Expires: time.Now().Add(time.Hour)})
		}
		ann, bob := token("ann"), token("bob")
		text, idle := s.Connect(), s.Connect()
		for _, topic := range []string{"a", "b"} { // two commands of one connection
			text.Say("/subscribe " + topic + " " + ann)
			text.Sync()
		}
		stream := stays(t, s, "", "/events?topic=a", ann)
		wantFull(t, stays(t, s, "", "/stream?topic=a", ann), "2")
		wantFull(t, stays(t, s, "", "/poll?topic=a&wait=60&since="+s.Head("a").String(), ann), "2")
		if answer := stays(t, s, "", "/stream?topic=a", bob); answer.StatusCode != 200 {
			t.Errorf("a stream of another user is %d", answer.StatusCode)
		}
		refused := func(c *servertest.Client, command, bye string) {
			t.Helper()
			c.Say(command)
			received := ""
			for {
				_, p, err := c.Read(t.Context())
				if err != nil {
					if code := websocket.CloseStatus(err); code != 4108 || !strings.Contains(received, bye) || bye == "" && received != "" {
						t.Errorf("closed with %d after %q, want 4108 after %q", code, received, bye)
					}
					return
				}
				received += string(p)
			}
		}
		refused(s.Connect(), "/subscribe a "+ann, "")
		json := dialFrom(t, s, "", "notiflux.v1.json", "notiflux.token."+ann)
		refused(json, `{"type":"subscribe","topics":["a"]}`, `{"type":"bye","code":"too_many"`)
		idle.Say("/subscribe a " + bob)
		idle.Sync()
		// Another token does not change whose connection it is.
		text.Say("/subscribe a " + bob)
		text.Sync()
		for _, end := range []func(){func() { stream.Body.Close() }, func() { text.CloseNow() }} {
			end()
			eventually(t, func() string {
				answer := stays(t, s, "", "/stream?topic=a", ann)
				if answer.StatusCode != 200 {
					answer.Body.Close()
					return answer.Status
				}
				return ""
			})
		}
	})
}
