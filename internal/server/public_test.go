package server_test

import (
	"fmt"
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

// Everyone may subscribe to public topics, in every protocol, and to nothing else.
func TestPublicTopics(t *testing.T) {
	onBothLoops(t, func(t *testing.T, start starter) {
		s := start(func(c *config.Serve) { c.PublicTopics = []string{"status", "news:*"} })
		for _, topic := range []string{"status", "news:1", "private"} {
			s.Broadcast(pubsub.Topic(topic), "old")
		}
		const wrong = "Invalid subscribe command, it should be: /subscribe <topic> <token>"

		text := s.Connect()
		for _, line := range []string{"/subscribe private", "/subscribe news", "/subscribe status news:1 x"} {
			text.Say(line)
			text.Expect(wrong)
		}
		text.Say("/subscribe status")
		text.Say("/subscribe private " + s.Token(auth.Subscribe, "other"))
		text.Next()
		text.Say("/subscribe news:2 " + s.Token(auth.Subscribe, "other"))
		text.Sync()
		for topic, message := range map[pubsub.Topic]string{"status": "up", "news:2": "new"} {
			s.Broadcast(topic, message)
			text.Expect(message) // Between topics there is no order.
		}

		for _, header := range []string{"", "Basic x", "Bearer"} {
			o := &websocket.DialOptions{Subprotocols: []string{"notiflux.v1.json"}, HTTPHeader: http.Header{"Authorization": {header}}}
			conn, _, err := websocket.Dial(t.Context(), s.URL+"/ws", o)
			if err != nil {
				t.Fatal(err)
			}
			json := s.Client(conn)
			json.Next() // welcome
			for _, c := range []struct{ command, want string }{
				{`{"type":"subscribe","id":1,"topics":["status","private","news:1"],"last":1}`, `"refused":{"private":{"code":"token_missing"`},
				{`{"type":"subscribe","id":2,"topics":["news:3"],"presence":true}`, `"refused":{"news:3":{"code":"token_missing","message":"a token is required to see the members`},
				{`{"type":"subscribe","id":3,"topics":["news:3"],"token":"` + s.TokenUntil(time.Now().Add(-time.Hour), auth.Subscribe, "other") + `"}`, `"code":"token_expired"`},
				{`{"type":"history","id":4,"topic":"status"}`, `"data":"up"`},
				{`{"type":"history","id":5,"topic":"private"}`, `"code":"token_missing"`},
				{`{"type":"presence","id":6,"topic":"status"}`, `"code":"token_missing"`},
				{`{"type":"broadcast","id":7,"topic":"status","message":1}`, `"code":"token_missing"`},
				{`{"type":"presence","id":8,"topic":"status","token":"` + s.Token(auth.Subscribe, "other") + `"}`, `"members":[]`},
			} {
				json.Say(c.command)
				got := json.Next()
				for strings.HasPrefix(got, `{"type":"message"`) {
					got = json.Next()
				}
				if !strings.Contains(got, c.want) {
					t.Errorf("with %q, %s: %s, want %s", header, c.command, got, c.want)
				}
			}
			conn.CloseNow()
		}

		other := s.Token(auth.Subscribe, "other")
		for _, c := range []struct {
			path, body, header string
			status             int
		}{
			{"/history?topic=status", "", "", 200},
			{"/history?topic=status", "", "Basic x", 200},
			{"/history?topic=status", "", "Bearer x", 401},
			{"/history?topic=status", "", "Bearer " + other, 200},
			{"/history?topic=private", "", "", 401},
			{"/history?topic=private", "", "Bearer " + other, 403},
			{"/poll?topic=status&topic=news:1&last=1&wait=0", "", "", 200},
			{"/poll?topic=status&topic=private&wait=0", "", "", 401},
			{"/poll?topic=status&topic=other&wait=0", "", "Bearer " + other, 200},
			{"/presence?topic=status", "", "", 401},
			{"/presence?topic=status", "", "Bearer " + other, 200},
			{"/poll", `{"topics":["news:1"],"wait":0}`, "", 200},
			{"/poll", `{"topics":["news:1"],"wait":0,"token":"x"}`, "", 401},
			{"/stream?topic=status", "", "", 200},
			{"/events?topic=news:7", "", "", 200},
			{"/events?topic=private", "", "", 401},
			{"/broadcast", `{"topic":"status","message":1}`, "", 401},
		} {
			method := "GET"
			if c.body != "" {
				method = "POST"
			}
			r, err := http.NewRequestWithContext(t.Context(), method, s.URL+c.path, strings.NewReader(c.body))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Authorization", c.header)
			name := fmt.Sprintf("%s %s with %.8q", method, c.path, c.header)
			response, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if response.StatusCode != c.status {
				body, _ := io.ReadAll(response.Body)
				t.Errorf("%s: %d %s, want %d", name, response.StatusCode, body, c.status)
			}
			_ = response.Body.Close()
		}
	})
}
