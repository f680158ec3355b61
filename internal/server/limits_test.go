package server_test

import (
	"context"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/config"
	"github.com/ikornaselur/notiflux/internal/internaltest/servertest"
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
			want := [...]string{"1", `"` + test.policy + `";r=0;t=1`, `"` + test.policy + `";q=1;w=1`}
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

// Whoever sends many invalid tokens can use only those that it has used before, on every route.
// Nobody else is affected.
func TestLimitOfFailedTokens(t *testing.T) {
	onBothLoops(t, func(t *testing.T, start starter) {
		s := start(func(c *config.Serve) {
			c.LimitFailedTokensPerAddress = 3
			c.TrustedProxies = []string{"127.0.0.0/8"}
		})
		n := 0
		token := func(scope auth.Scope) string {
			n++
			return s.Sign(auth.Grant{Subject: strconv.Itoa(n), Scopes: []auth.Scope{scope}, Topics: []pubsub.Topic{"a"}, Expires: time.Now().Add(time.Hour)})
		}
		send := func(remote, method, path, token, body string) (*http.Response, string) {
			t.Helper()
			return sendFrom(t, s, remote, method, path, token, body)
		}
		const good, bad, message = "2001:db8:0:1::1", "2001:db8::1", `{"topic":"a","message":"x"}`
		listens, publishes, spoilt := token(auth.Subscribe), token(auth.Broadcast), token(auth.Subscribe)
		spoilt = spoilt[:len(spoilt)-10] + "AAAAAAAAAA"
		text := dialFrom(t, s, "2001:db8::9") // in the same network
		for _, used := range []string{listens, publishes} {
			if answer, got := send(bad, "GET", "/history?topic=a", used, ""); answer.StatusCode == http.StatusTooManyRequests {
				t.Fatalf("the first token answers %d %s", answer.StatusCode, got)
			}
		}
		// The same token over and over, by HTTP and by WebSocket.
		if answer, got := send(bad, "GET", "/history?topic=a", spoilt, ""); answer.StatusCode != http.StatusUnauthorized {
			t.Fatalf("a wrong token answers %d %s", answer.StatusCode, got)
		}
		for got, n := "", 0; !strings.Contains(got, "more than 3 failed tokens a minute"); n++ {
			text.Say("/subscribe a " + spoilt)
			if got = text.Next(); n > 6 || !strings.HasPrefix(got, "Subscribe to a denied: ") {
				t.Fatalf("after %d wrong tokens, another one answers %s", n, got)
			}
		}
		for _, test := range []struct{ method, path, body string }{
			{"GET", "/events?topic=a", ""}, {"POST", "/events", `{"topics":["a"]}`},
			{"GET", "/stream?topic=a", ""}, {"POST", "/stream", `{"topics":["a"]}`},
			{"GET", "/poll?topic=a", ""}, {"POST", "/poll", `{"topics":["a"]}`},
			{"GET", "/history?topic=a", ""}, {"GET", "/presence?topic=a", ""},
			{"POST", "/broadcast", message},
		} {
			known := listens
			if test.path == "/broadcast" {
				known = publishes
			}
			fresh := token(auth.Subscribe)
			answer, got := send(bad, test.method, test.path, fresh, test.body)
			policy := answer.Header.Get("RateLimit-Policy")
			if after, err := strconv.Atoi(answer.Header.Get("Retry-After")); answer.StatusCode != http.StatusTooManyRequests || !strings.Contains(got, `"too_many"`) ||
				policy != `"failed-tokens";q=3;w=60` || err != nil || after < 1 || after > 20 {
				t.Errorf("%s %s with a new token is %d %s, with %v", test.method, test.path, answer.StatusCode, got, answer.Header)
			}
			if answer, got := send(bad, test.method, test.path, known, test.body); answer.StatusCode != http.StatusOK {
				t.Errorf("%s %s with a token used before is %d %s", test.method, test.path, answer.StatusCode, got)
			}
			if answer, got := send(good, test.method, test.path, fresh, test.body); answer.StatusCode == http.StatusTooManyRequests {
				t.Errorf("%s %s from another address is %d %s", test.method, test.path, answer.StatusCode, got)
			}
			if answer, _ := send(bad, test.method, test.path, "", test.body); answer.StatusCode != http.StatusUnauthorized {
				t.Errorf("%s %s without a token is %d", test.method, test.path, answer.StatusCode)
			}
		}
		if answer, got := send(bad, "POST", "/broadcast", publishes, "["+message+`,{"topic":"a","message":"x","token":"`+token(auth.Broadcast)+`"}]`); answer.StatusCode != http.StatusMultiStatus ||
			strings.Count(got, `"position"`) != 1 || strings.Count(got, `"too_many"`) != 1 {
			t.Errorf("an array with one new token is %d %s", answer.StatusCode, got)
		}
		text.Say("/subscribe a " + listens)
		text.Sync()

		client := dialFrom(t, s, bad, "notiflux.v1.json")
		client.Next() // welcome
		client.Say(`{"type":"auth","id":1,"token":"` + token(auth.Subscribe) + `"}`)
		if got := client.Next(); !strings.Contains(got, `"code":"too_many"`) || !strings.Contains(got, `"retry":true`) {
			t.Errorf("a new token over WebSocket is %s", got)
		}
		client.Say(`{"type":"subscribe","id":2,"topics":["a"],"token":"` + listens + `"}`)
		if got := client.Next(); !strings.Contains(got, `"subscribed"`) {
			t.Errorf("a token used before over WebSocket is %s", got)
		}
		// A client that connects with a new token must connect again later.
		client = dialFrom(t, s, bad, "notiflux.v1.json", "notiflux.token."+token(auth.Subscribe))
		client.Next() // welcome
		if got := client.Next(); !strings.HasPrefix(got, `{"type":"bye","code":"too_many","after":`) {
			t.Errorf("after connecting with a new token: %s", got)
		}
		if _, _, err := client.Read(t.Context()); websocket.CloseStatus(err) != 4108 {
			t.Errorf("after connecting with a new token: %v, want 4108", err)
		}
	})
}

// closedBy sends a command over and over until the server closes the connection, and returns
// the close code and what the client received before.
func closedBy(t *testing.T, c *servertest.Client, command string) (code websocket.StatusCode, received string) {
	t.Helper()
	go func() {
		for range 10_000 { // The server refuses more than a thousand at once in any case.
			if c.Write(t.Context(), websocket.MessageText, []byte(command)) != nil {
				return
			}
		}
	}()
	for {
		_, p, err := c.Read(t.Context())
		if err != nil {
			return websocket.CloseStatus(err), received
		}
		received += string(p) + "\n"
	}
}

// A connection that sends a command beyond the limit of its address is closed. The connections of
// other addresses are not affected.
func TestCommandLimitPerAddress(t *testing.T) {
	onBothLoops(t, func(t *testing.T, start starter) {
		s := start(func(c *config.Serve) {
			c.LimitCommandsPerAddress, c.TrustedProxies = 5, []string{"127.0.0.0/8"}
		})
		bystander, other := dialFrom(t, s, "2001:db8::2", "notiflux.v1.json"), dialFrom(t, s, "192.0.2.1")
		if got := bystander.Next(); !strings.Contains(got, `"welcome"`) {
			t.Fatal(got)
		}
		if code, got := closedBy(t, dialFrom(t, s, "2001:db8::1"), "/unsubscribe a"); code != 4108 || got != "" {
			t.Errorf("closed with %d after %q, want 4108", code, got)
		}
		other.Say("/subscribe a " + s.Token(auth.Subscribe, "a"))
		other.Sync()
		// The address may send the next commands after a while; what is open stays open.
		if code, got := closedBy(t, dialFrom(t, s, "2001:db8::3", "notiflux.v1.json"), `{"type":"ping"}`); code != 4108 || !strings.Contains(got, `{"type":"bye","code":"too_many","after":`) {
			t.Errorf("closed with %d after %q, want 4108", code, got)
		}
		s.Broadcast("a", "x")
		if got := other.Next(); got != "x" {
			t.Errorf("%s was received, want x", got)
		}
		if err := bystander.Ping(bystander.CloseRead(t.Context())); err != nil {
			t.Errorf("another connection of the address has ended: %v", err)
		}
	})
}

// The commands with a token count for its user, over all connections. Those without a token do not.
func TestCommandLimitPerSubject(t *testing.T) {
	onBothLoops(t, func(t *testing.T, start starter) {
		s := start(func(c *config.Serve) { c.LimitCommandsPerSubject = 5 })
		token := func(subject string) string {
			return s.Sign(auth.Grant{Subject: subject, Scopes: []auth.Scope{auth.Subscribe, auth.Broadcast}, Topics: []pubsub.Topic{"a"}, Expires: time.Now().Add(time.Hour)})
		}
		json := func(protocols ...string) *servertest.Client {
			c := dialFrom(t, s, "", append(protocols, "notiflux.v1.json")...)
			c.Next() // welcome
			return c
		}
		other := s.Connect()
		for name, test := range map[string]struct {
			client  *servertest.Client
			command string
			silent  bool // the last command gets no answer
		}{
			"text":                 {s.Connect(), "/subscribe a " + token("ann"), true},
			"a token of its own":   {json(), `{"type":"auth","token":"` + token("ann") + `"}`, true},
			"the connection token": {json("notiflux.token." + token("ann")), `{"type":"broadcast","topic":"a","message":"x"}`, false},
		} {
			code, got := closedBy(t, test.client, test.command)
			if code != 4108 || strings.Contains(got, "denied") || test.silent == strings.Contains(got, `"error"`) {
				t.Errorf("%s: closed with %d after %q, want 4108", name, code, got)
			}
		}
		other.Say("/subscribe a " + token("bob"))
		for range 20 {
			other.Say("/unsubscribe b")
		}
		other.Sync()
	})
}

// An address that publishes too much is refused, over HTTP and over WebSocket together, whoever the
// user is. What is refused does not count for the user.
func TestBroadcastLimitPerAddress(t *testing.T) {
	onBothLoops(t, func(t *testing.T, start starter) {
		s := start(func(c *config.Serve) {
			c.LimitBroadcastsPerAddress, c.LimitBroadcastsPerSubject, c.TrustedProxies = 2, 50, []string{"127.0.0.0/8"}
		})
		token := s.Token(auth.Broadcast, "a")
		const full, other, message = "2001:db8::1", "2001:db8:0:1::1", `{"topic":"a","message":"x"}`
		batch := "[" + strings.Repeat(message+",", 99) + message + "]"
		answer, got := sendFrom(t, s, full, "POST", "/broadcast", token, batch)
		published, refused := strings.Count(got, `"position"`), strings.Count(got, `"too_many"`)
		if answer.StatusCode != http.StatusMultiStatus || published < 2 || refused == 0 || published+refused != 100 {
			t.Errorf("an array is %d with %d published and %d refused", answer.StatusCode, published, refused)
		}
		client := dialFrom(t, s, "2001:db8::2", "notiflux.v1.json")
		client.Next() // welcome
		for got = `"position"`; strings.Contains(got, `"position"`); got = client.Next() {
			client.Say(`{"type":"broadcast","id":1,"topic":"a","message":"x","token":"` + token + `"}`)
		}
		if !strings.Contains(got, `"code":"too_many"`) || !strings.Contains(got, "your IP address") {
			t.Errorf("a message over WebSocket is %s", got)
		}
		if answer, got := sendFrom(t, s, other, "POST", "/broadcast", token, message); answer.StatusCode != http.StatusOK {
			t.Errorf("a message of the user from another address is %d %s", answer.StatusCode, got)
		}
	})
}

// sendFrom sends a request from an address to a server that trusts this machine as a proxy. It
// returns the body of the answer unless the answer is 200.
func sendFrom(t *testing.T, s *servertest.Server, remote, method, path, token, body string) (*http.Response, string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel() // Streams have no end.
	request, err := http.NewRequestWithContext(ctx, method, s.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header = http.Header{"X-Forwarded-For": {remote}, "Content-Type": {"application/json"}}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode == http.StatusOK {
		return answer, ""
	}
	got, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer, string(got)
}

// dialFrom is like sendFrom for a WebSocket.
func dialFrom(t *testing.T, s *servertest.Server, remote string, protocols ...string) *servertest.Client {
	t.Helper()
	conn, _, err := websocket.Dial(t.Context(), s.URL+"/ws", &websocket.DialOptions{Subprotocols: protocols, HTTPHeader: http.Header{"X-Forwarded-For": {remote}}})
	if err != nil {
		t.Fatal(err)
	}
	return s.Client(conn)
}
