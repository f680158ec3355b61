package server_test

import (
	"bufio"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/control"
	"github.com/ikornaselur/notiflux/internal/internaltest/servertest"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/server"
)

const closeRevoked = 4003

// tokenOf returns a token of a user for topics.
func tokenOf(s *servertest.Server, user string, topics ...pubsub.Topic) string {
	return s.Sign(auth.Grant{Subject: user, Scopes: []auth.Scope{auth.Subscribe, auth.Broadcast}, Topics: topics})
}

// connectAs opens a connection of the JSON protocol with a token; empty: without.
func connectAs(t *testing.T, s *servertest.Server, token string) *servertest.Client {
	t.Helper()
	protocols := []string{"notiflux.v1.json"}
	if token != "" {
		protocols = append(protocols, "notiflux.token."+token)
	}
	conn, _, err := websocket.Dial(t.Context(), s.URL+"/ws", &websocket.DialOptions{Subprotocols: protocols})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.CloseNow() })
	c := s.Client(conn)
	c.Next() // welcome
	return c
}

// ask sends a command and fails the test unless the answer contains want.
func ask(t *testing.T, c *servertest.Client, command, want string) {
	t.Helper()
	c.Say(command)
	if got := c.Next(); !strings.Contains(got, want) {
		t.Fatalf("%s: %s, want %s", command, got, want)
	}
}

// lines returns the data of a stream, line by line; empty once it has ended.
func lines(t *testing.T, s *servertest.Server, path, token string) (next func() string) {
	t.Helper()
	r, err := s.HTTP.Get(s.URL + path + "&token=" + token)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Body.Close() })
	scanner := bufio.NewScanner(r.Body)
	return func() string {
		for scanner.Scan() {
			if line, ok := strings.CutPrefix(scanner.Text(), "data: "); ok || strings.HasPrefix(line, "{") {
				return line
			}
		}
		if err := scanner.Err(); err != nil {
			t.Errorf("%s broke off: %v", path, err)
		}
		return ""
	}
}

// poll sends a poll that waits, and returns its status and body.
func poll(t *testing.T, s *servertest.Server, token string, topic pubsub.Topic) <-chan string {
	t.Helper()
	return pollFrom(t, s, "topic="+string(topic), s.Head(topic), token)
}

// pollFrom is poll for a topic or a pattern, from a position on.
func pollFrom(t *testing.T, s *servertest.Server, what string, since pubsub.Position, token string) <-chan string {
	t.Helper()
	answer := make(chan string, 1)
	url := s.URL + "/poll?wait=60&" + what + "&since=" + since.String() + "&token=" + token
	go func() {
		r, err := http.Get(url)
		if err != nil {
			answer <- err.Error()
			return
		}
		defer r.Body.Close()
		body, _ := io.ReadAll(r.Body)
		answer <- r.Status + " " + string(body)
	}()
	return answer
}

// waitFor waits until the server has n clients.
func waitFor(t *testing.T, s *servertest.Server, n int) {
	t.Helper()
	for server.Clients(s.Server) != n {
		<-time.After(time.Millisecond)
	}
}

// revokedFor returns a check that refuses the tokens of a user for topics; without any, as a
// whole.
func revokedFor(user string, topics ...pubsub.Topic) func(*auth.Claims, pubsub.Topic) error {
	return func(c *auth.Claims, name pubsub.Topic) error {
		if c.Subject == user && (len(topics) == 0 || slices.Contains(topics, name)) {
			return pubsub.Errorf(pubsub.TokenRevoked, "the token was revoked")
		}
		return nil
	}
}

func expect(t *testing.T, what, got, want string) {
	t.Helper()
	if !strings.Contains(got, want) {
		t.Errorf("%s: got %s, want %s", what, got, want)
	}
}

// A sweep ends what a user's tokens hold, in every dialect, and nothing else.
func TestSweep(t *testing.T) {
	onBothLoops(t, func(t *testing.T, start starter) {
		s := start(nil)
		ann, bob := tokenOf(s, "ann", "a", "b"), tokenOf(s, "bob", "a", "b")

		text, others := s.Connect(), s.Connect()
		text.Say("/subscribe a " + ann)
		text.Sync()
		others.Say("/subscribe a " + bob)
		others.Sync()
		alone := connectAs(t, s, ann)
		ask(t, alone, `{"type":"subscribe","topics":["a","b"]}`, `"topics":{"a"`)
		idle := connectAs(t, s, ann)
		mixed := connectAs(t, s, ann)
		ask(t, mixed, `{"type":"subscribe","topics":["a"]}`, `"topics":{"a"`)
		ask(t, mixed, `{"type":"subscribe","topics":["b"],"token":"`+bob+`"}`, `"topics":{"b"`)
		renewed := connectAs(t, s, ann)
		ask(t, renewed, `{"type":"subscribe","topics":["a"]}`, `"topics":{"a"`)
		ask(t, renewed, `{"type":"subscribe","topics":["a"],"token":"`+bob+`"}`, `"topics":{"a"`)
		events, stream := lines(t, s, "/events?topic=a&topic=b", ann), lines(t, s, "/stream?topic=a", bob)
		events()
		stream()
		annPoll, bobPoll := poll(t, s, ann, "a"), poll(t, s, bob, "a")
		waitFor(t, s, 10)

		got, err := server.Control(s.Server).Sweep(t.Context(), revokedFor("ann"))
		if want := (control.Outcome{Connections: 5, Subscriptions: 1 + 2 + 1 + 2}); err != nil || got != want {
			t.Errorf("the sweep ended %+v, %v; want %+v", got, err, want)
		}
		text.ExpectClose(closeRevoked)
		for _, c := range []*servertest.Client{alone, idle} {
			expect(t, "bye", c.Next(), `{"type":"bye","code":"token_revoked","after":0}`)
			c.ExpectClose(closeRevoked)
		}
		expect(t, "mixed", mixed.Next(), `{"type":"unsubscribed","topics":["a"],"code":"token_revoked"}`)
		expect(t, "events", events(), `{"type":"unsubscribed","topics":["a","b"],"code":"token_revoked"}`)
		expect(t, "events", events(), `{"type":"bye","code":"token_revoked","after":0}`)
		if line := events(); line != "" {
			t.Errorf("after the bye: %s", line)
		}
		expect(t, "poll", <-annPoll, `401 Unauthorized`)

		s.Broadcast("a", "to a")
		s.Broadcast("b", "to b")
		others.Expect("to a")
		expect(t, "mixed", mixed.Next(), `"data":"to b"`)
		expect(t, "renewed", renewed.Next(), `"data":"to a"`)
		expect(t, "stream", stream(), `"data":"to a"`)
		expect(t, "poll", <-bobPoll, `"data":"to a"`)
	})
}

// If a token is revoked for some topics, the rest of the connection stays.
func TestSweepOfTopics(t *testing.T) {
	s := servertest.Start(t, nil)
	ann := tokenOf(s, "ann", "a", "b")
	text := s.Connect()
	text.Say("/subscribe a " + ann)
	text.Sync()
	json := connectAs(t, s, ann)
	ask(t, json, `{"type":"subscribe","topics":["a","b"]}`, `"topics":{"a"`)
	events := lines(t, s, "/events?topic=a&topic=b", ann)
	events()
	got, err := server.Control(s.Server).Sweep(t.Context(), revokedFor("ann", "a"))
	if want := (control.Outcome{Subscriptions: 3}); err != nil || got != want {
		t.Errorf("the sweep ended %+v, %v; want %+v", got, err, want)
	}
	s.Broadcast("a", "to a")
	s.Broadcast("b", "to b")
	text.Sync()
	expect(t, "JSON", json.Next(), `{"type":"unsubscribed","topics":["a"],"code":"token_revoked"}`)
	expect(t, "JSON", json.Next(), `"data":"to b"`)
	expect(t, "events", events(), `{"type":"unsubscribed","topics":["a"],"code":"token_revoked"}`)
	expect(t, "events", events(), `"data":"to b"`)
}

// An operator disconnects a user or a connection, in every dialect, and nobody else.
func TestDisconnect(t *testing.T) {
	onBothLoops(t, func(t *testing.T, start starter) {
		s := start(nil)
		operator := server.Control(s.Server)
		ann, bob := tokenOf(s, "ann", "a"), tokenOf(s, "bob", "a")
		isAnn := func(c *auth.Claims) bool { return c.Subject == "ann" }
		text, others := s.Connect(), s.Connect()
		text.Say("/subscribe a " + ann)
		text.Sync()
		others.Say("/subscribe a " + bob)
		others.Sync()
		json := connectAs(t, s, "")
		ask(t, json, `{"type":"subscribe","topics":["a"],"token":"`+bob+`"}`, `"topics":{"a"`)
		ask(t, json, `{"type":"auth","token":"`+ann+`"}`, `"authenticated"`)
		stream := lines(t, s, "/stream?topic=a", ann)
		stream()
		waiting := poll(t, s, ann, "a")
		waitFor(t, s, 5)
		got, err := operator.Disconnect(t.Context(), isAnn)
		if want := (control.Outcome{Connections: 4, Subscriptions: 3}); err != nil || got != want {
			t.Errorf("disconnected %+v, %v; want %+v", got, err, want)
		}
		text.ExpectClose(closeRevoked)
		expect(t, "JSON", json.Next(), `{"type":"bye","code":"token_revoked","after":0}`)
		json.ExpectClose(closeRevoked)
		expect(t, "stream", stream(), `{"type":"bye","code":"token_revoked","after":0}`)
		expect(t, "poll", <-waiting, `"code":"token_revoked"`)

		again := s.Connect() // Nothing is remembered.
		again.Say("/subscribe a " + ann)
		again.Sync()
		s.Broadcast("a", "on")
		others.Expect("on")
		again.Expect("on")

		named := lines(t, s, "/stream?topic=a", bob)
		_, rest, _ := strings.Cut(named(), `"connection":"`)
		name, err := pubsub.ParseConnection(rest[:16])
		if err != nil {
			t.Fatal(err)
		}
		if got, err := operator.DisconnectConnection(t.Context(), name); err != nil || got.Connections != 1 {
			t.Errorf("disconnected %+v, %v", got, err)
		}
		expect(t, "the connection", named(), `"bye"`)
		if got, err := operator.DisconnectConnection(t.Context(), name+1); err != nil || got.Connections != 0 {
			t.Errorf("disconnected %+v, %v", got, err)
		}
		again.Sync()
	})
}

// An operator ends and begins subscriptions of a user.
func TestSubscriptionsByTheOperator(t *testing.T) {
	onBothLoops(t, func(t *testing.T, start starter) {
		s := start(nil)
		operator := server.Control(s.Server)
		isAnn := func(c *auth.Claims) bool { return c.Subject == "ann" }
		ann := tokenOf(s, "ann", "a", "b")
		text := s.Connect()
		text.Say("/subscribe a " + ann)
		text.Sync()
		json := connectAs(t, s, ann)
		ask(t, json, `{"type":"subscribe","topics":["a","b"]}`, `"topics":{"a"`)
		bob := connectAs(t, s, tokenOf(s, "bob", "a"))
		ask(t, bob, `{"type":"subscribe","topics":["a"]}`, `"topics":{"a"`)
		events := lines(t, s, "/events?topic=a", ann)
		events()

		got, err := operator.Subscribe(t.Context(), isAnn, []pubsub.Topic{"a", "secret"})
		if want := (control.Outcome{Connections: 2, Subscriptions: 2}); err != nil || got != want {
			t.Errorf("subscribed %+v, %v; want %+v", got, err, want)
		}
		expect(t, "JSON", json.Next(), `{"type":"subscribed","topics":{"secret":{"position":"`)
		s.Broadcast("secret", "1")
		text.Expect("1")
		expect(t, "JSON", json.Next(), `"topic":"secret"`)
		ask(t, json, `{"type":"history","id":1,"topic":"secret"}`, `"code":"topic_denied"`)

		got, err = operator.Unsubscribe(t.Context(), isAnn, func(name pubsub.Topic) bool { return name != "b" })
		if want := (control.Outcome{Connections: 1, Subscriptions: 2 + 2 + 1}); err != nil || got != want {
			t.Errorf("unsubscribed %+v, %v; want %+v", got, err, want)
		}
		expect(t, "JSON", json.Next(), `{"type":"unsubscribed","topics":["a","secret"],"code":"token_revoked"}`)
		expect(t, "events", events(), `{"type":"unsubscribed","topics":["a"],"code":"token_revoked"}`)
		expect(t, "events", events(), `{"type":"bye","code":"token_revoked","after":0}`)
		for _, topic := range []pubsub.Topic{"a", "secret", "b"} {
			s.Broadcast(topic, topic)
		}
		expect(t, "JSON", json.Next(), `"data":"b"`)
		expect(t, "another user", bob.Next(), `"data":"a"`)
		text.Sync()

		// A revocation ends what the operator made, too.
		if _, err := operator.Subscribe(t.Context(), isAnn, []pubsub.Topic{"secret"}); err != nil {
			t.Fatal(err)
		}
		expect(t, "JSON", json.Next(), `"subscribed"`)
		if got, err := operator.Sweep(t.Context(), revokedFor("ann", "secret")); err != nil || got.Subscriptions != 1 {
			t.Errorf("the sweep ended %+v, %v", got, err)
		}
		expect(t, "JSON", json.Next(), `{"type":"unsubscribed","topics":["secret"],"code":"token_revoked"}`)
	})
}
