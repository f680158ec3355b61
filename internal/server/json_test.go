package server_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/config"
	"github.com/ikornaselur/notiflux/internal/internaltest/delivery"
	"github.com/ikornaselur/notiflux/internal/internaltest/servertest"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// The token of a connection comes from its subprotocol, or else from its header, but never
// from its cookie or address. The handshake succeeds with any token.
func TestTokensOfConnections(t *testing.T) {
	onBothLoops(t, func(t *testing.T, start starter) {
		s := start(nil)
		good, foreign := both(s, "u", "t"), both(servertest.Start(t, nil), "u", "t")
		subscribed := fmt.Sprintf(`{"type":"subscribed","topics":{"t":{"position":"E:%d","recovered":true,"replay":0}}}`, s.Head("t").Offset)
		refused := func(code string) string {
			return `{"type":"subscribed","topics":{},"refused":{"t":{"code":"` + code + `"`
		}
		for _, c := range []struct {
			name, subprotocol, header, query string
			want                             string
		}{
			{"none", "", "", "", refused("token_missing")},
			{"subprotocol", good, "", "", subscribed},
			{"header", "", "Bearer " + good, "", subscribed},
			{"subprotocol before header", good, "Bearer " + foreign, "", subscribed},
			{"a bad subprotocol is not saved by the header", foreign, "Bearer " + good, "", refused("token_invalid")},
			{"a bad header", "", "Basic x", "", refused("token_invalid")},
			{"another key", "", "Bearer " + foreign, "", refused("token_invalid")},
			{"cookie and address", "", "", "?token=" + good, refused("token_missing")},
		} {
			o := &websocket.DialOptions{Subprotocols: []string{"notiflux.v1.json"}, HTTPHeader: http.Header{"Cookie": {"notiflux_token=" + good}}}
			if c.subprotocol != "" {
				o.Subprotocols = append(o.Subprotocols, "notiflux.token."+c.subprotocol)
			}
			if c.header != "" {
				o.HTTPHeader.Set("Authorization", c.header)
			}
			conn, answer, err := websocket.Dial(t.Context(), s.URL+"/ws"+c.query, o)
			if err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
			if got := answer.Header.Get("Sec-WebSocket-Protocol"); got != "notiflux.v1.json" {
				t.Errorf("%s: negotiated %q", c.name, got)
			}
			client := s.Client(conn)
			client.Next() // the welcome
			client.Say(`{"type":"subscribe","topics":["t"]}`)
			if got := times.ReplaceAllString(client.Next(), `"position":"E:`); !strings.HasPrefix(got, c.want) {
				t.Errorf("%s: %s, want %s", c.name, got, c.want)
			}
			client.Say(`{"type":"auth","token":"` + good + `"}`)
			client.Next()
			client.Say(`{"type":"subscribe","topics":["t"]}`)
			if got := times.ReplaceAllString(client.Next(), `"position":"E:`); got != subscribed {
				t.Errorf("%s, and auth: %s", c.name, got)
			}
			conn.CloseNow()
		}
	})
}

// Clients of the JSON protocol get bye before they are disconnected, with the time to
// reconnect.
func TestShutdownSaysBye(t *testing.T) {
	onBothLoops(t, func(t *testing.T, start starter) {
		s := start(nil)
		var clients []*speaker
		for range 5 {
			clients = append(clients, connectJSON(t, s, both(s, "u", "t")))
		}
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
		for _, c := range clients {
			var bye struct {
				Type, Code string
				After      int
			}
			if err := json.Unmarshal([]byte(c.Next()), &bye); err != nil || bye.Type != "bye" || bye.Code != "draining" || bye.After < 500 || bye.After > 3000 {
				t.Errorf("bye: %+v, %v", bye, err)
			}
			c.ExpectClose(websocket.StatusServiceRestart)
		}
	})
}

// A stream is excluded by the name in its hello.
func TestStreamsAreExcluded(t *testing.T) {
	onBothLoops(t, func(t *testing.T, start starter) {
		s := start(nil)
		token := both(s, "u", "a", "b")
		r, err := s.HTTP.Get(s.URL + "/stream?topic=a&topic=b&token=" + token)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		lines := bufio.NewScanner(r.Body)
		lines.Scan()
		name := regexp.MustCompile(`^{"type":"hello","connection":"([0-9a-f]{16})"`).FindStringSubmatch(lines.Text())
		if name == nil {
			t.Fatalf("first came %s, %v", lines.Text(), lines.Err())
		}
		for i := range 4 {
			body := fmt.Sprintf(`{"topics":["a","b"],"message":%d}`, i)
			if i%2 == 0 {
				body = fmt.Sprintf(`{"topics":["a","b"],"message":%d,"exclude":%q}`, i, name[1])
			}
			if status, answer := broadcast(t, s, body, "Authorization", "Bearer "+token); status != 200 {
				t.Fatalf("%d %s", status, answer)
			}
		}
		got := make(map[string][]int) // topics have no order among each other
		for range 4 {
			var message struct {
				Topic string
				Data  int
			}
			if lines.Scan(); json.Unmarshal(lines.Bytes(), &message) != nil {
				t.Fatalf("got %s, %v", lines.Text(), lines.Err())
			}
			got[message.Topic] = append(got[message.Topic], message.Data)
		}
		if want := map[string][]int{"a": {1, 3}, "b": {1, 3}}; !maps.EqualFunc(got, want, slices.Equal) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}

// Subscriptions end at the time in their token, and later messages do not arrive.
func TestUntilEndsSubscriptionsAmongMessages(t *testing.T) {
	seeded()
	onBothLoops(t, func(t *testing.T, start starter) {
		s := start(func(c *config.Serve) { c.PresenceGrace = testGrace })
		testUntil(t, s, s)
	})
}

// testUntil lets subscriptions on a server end while messages are published to another one,
// which may be the same.
func testUntil(t *testing.T, s, publisher *servertest.Server) {
	recorder := new(delivery.Recorder)
	all, stay := invite(t, []*servertest.Server{s}, recorder, 5)
	until := time.Now().Truncate(time.Second).Add(3 * time.Second)
	for _, g := range all {
		g.until = until
	}
	p := newPress(t, publisher, recorder)
	p.begin()
	gatherAll(t, s, all, func() {
		<-time.After(time.Until(until.Add(1500 * time.Millisecond)))
		p.end()
		close(stay)
	})
	log := recorder.Log(0)
	log.GracePeriod = testGrace
	log.Behind = servertest.Remote() || s != publisher
	delivery.Report(t, *seed, log)
	ended, received := 0, 0
	for _, c := range log.Clients {
		for _, e := range c.Events {
			switch e.Kind {
			case delivery.Message:
				received++
			case delivery.Unsubscribed:
				ended++
			}
		}
	}
	if ended != len(all)*len(guestTopics) || received < 100 {
		t.Errorf("%d subscriptions ended, want %d, and %d messages came before", ended, len(all)*len(guestTopics), received)
	}
	token := s.Sign(auth.Grant{Subject: "u", Scopes: []auth.Scope{auth.Subscribe}, Topics: []pubsub.Topic{"left"}, Until: until})
	for _, path := range []string{"/events", "/stream", "/poll", "/history", "/presence"} {
		if a := read(s.HTTP, s.URL, "GET", path+"?topic=left", "Authorization", "Bearer "+token); a.status != 401 || a.Code != pubsub.TokenExpired {
			t.Errorf("GET %s after it: %d %s", path, a.status, a.Code)
		}
	}
}
