package session_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/session"
	"github.com/ikornaselur/notiflux/internal/topic"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// connectJSON returns a client of the JSON protocol that was welcomed.
func (w *world) connectJSON(t testing.TB, token string) *client {
	t.Helper()
	var credential session.Credential
	if token != "" {
		credential.Claims, credential.Err = w.verifier.Verify(auth.Token(token))
	}
	c := &client{w: w}
	c.s = w.group.Open(c, w.json, session.Request{Credential: credential})
	c.turn()
	welcome := strings.Join(c.messages(), "|")
	if !regexp.MustCompile(`^{"type":"welcome","connection":"[0-9a-f]{16}","version":"0.1.0","ping":25,"limits":{"message":65536,"command":81920,"topics":\d+,"topicsPerCommand":100,"commandsPerSecond":100}}$`).MatchString(welcome) {
		t.Fatalf("welcomed with %s", welcome)
	}
	return c
}

var times = regexp.MustCompile(`"time":\d+`)

// received returns the messages since the last call, with times replaced by 0.
func (c *client) received() []string {
	c.turn()
	all := c.messages()
	for i, m := range all {
		if !json.Valid([]byte(m)) {
			c.w.t.Fatalf("not JSON: %s", m)
		}
		all[i] = times.ReplaceAllString(m, `"time":0`)
	}
	return all
}

func (c *client) gets(t *testing.T, want ...string) {
	t.Helper()
	if got := c.received(); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Fatalf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// exchange sends each command and expects the messages that follow it in the step. TOKEN is
// replaced by a token for topics a and b with both scopes.
func (c *client) exchange(t *testing.T, steps ...[]string) {
	t.Helper()
	token := c.w.both("a", "b")
	for _, step := range steps {
		if broadcast, ok := strings.CutPrefix(step[0], "PUBLISH "); ok {
			c.w.publish(pubsub.Topic(broadcast[:1]), broadcast[2:])
		} else {
			c.say(strings.ReplaceAll(step[0], "TOKEN", token))
		}
		c.gets(t, step[1:]...)
	}
}

func TestJSONSubscriptions(t *testing.T) {
	w := newWorld(t, topic.Limits{Count: 3}, nil)
	c := w.connectJSON(t, "")
	for _, data := range []string{"1", "2", "3", "4"} {
		w.publish("a", data)
	}
	c.exchange(t,
		[]string{`{"type":"subscribe","id":1,"topics":["a"],"token":"TOKEN"}`,
			`{"type":"subscribed","id":1,"topics":{"a":{"position":"E:4","recovered":true,"replay":0}}}`},
		[]string{"PUBLISH a five", `{"type":"message","topic":"a","position":"E:5","time":0,"data":"five"}`},
		[]string{`{"type":"subscribe","id":2,"topics":["a"],"token":"TOKEN","since":{"a":"E:3"}}`,
			`{"type":"subscribed","id":2,"topics":{"a":{"position":"E:5","recovered":true,"replay":0}}}`},
		[]string{`{"type":"unsubscribe","id":3,"topics":["a","never"]}`, `{"type":"unsubscribed","id":3,"topics":["a","never"]}`},
		[]string{"PUBLISH a 6"},
		[]string{`{"type":"subscribe","id":4,"topics":["a"],"token":"TOKEN","since":{"a":"E:5","b":"E:1"},"last":3}`,
			`{"type":"subscribed","id":4,"topics":{"a":{"position":"E:5","recovered":true,"replay":1}}}`,
			`{"type":"message","topic":"a","position":"E:6","time":0,"data":"6"}`},
		[]string{`{"type":"unsubscribe"}`, `{"type":"unsubscribed","topics":["a"]}`},
		[]string{`{"type":"subscribe","topics":["a"],"token":"TOKEN","since":{"a":"E:2"}}`,
			`{"type":"subscribed","topics":{"a":{"position":"E:6","recovered":false,"replay":0}}}`},
		[]string{"PUBLISH a 7", `{"type":"message","topic":"a","position":"E:7","time":0,"data":"7"}`},
		[]string{`{"type":"unsubscribe","topics":["a"]}`, `{"type":"unsubscribed","topics":["a"]}`},
		[]string{`{"type":"subscribe","topics":["a"],"token":"TOKEN","since":{"a":"OTHER:7"}}`,
			`{"type":"subscribed","topics":{"a":{"position":"E:7","recovered":false,"replay":0}}}`},
		[]string{`{"type":"subscribe","id":5,"topics":["b","a","c","b",""],"token":"TOKEN","last":2}`,
			`{"type":"subscribed","id":5,"topics":{"b":{"position":"E:0","recovered":true,"replay":0},"a":{"position":"E:7","recovered":true,"replay":0}},` +
				`"refused":{"c":{"code":"topic_denied","message":"the token does not allow this topic: its claim ` + "`topic` or `topics`" + ` must contain exactly this name"},` +
				`"":{"code":"topic_invalid","message":"the topic is empty"}}}`},
		[]string{`{"type":"unsubscribe","id":6}`, `{"type":"unsubscribed","id":6,"topics":["a","b"]}`},
		[]string{`{"type":"subscribe","topics":["a"],"token":"TOKEN","last":2}`,
			`{"type":"subscribed","topics":{"a":{"position":"E:5","recovered":true,"replay":2}}}`,
			`{"type":"message","topic":"a","position":"E:6","time":0,"data":"6"}`,
			`{"type":"message","topic":"a","position":"E:7","time":0,"data":"7"}`},
	)
	c.leave()
	if n := w.stats.Subscriptions.Load(); n != 0 {
		t.Errorf("%d subscriptions left", n)
	}
}

func TestJSONCommands(t *testing.T) {
	w := newWorld(t, topic.Limits{Count: 3}, nil)
	c := w.connectJSON(t, "")
	missing := `"code":"token_missing","message":"a token is required: send it in ` + "`token`" + `, or once for the connection with the command ` + "`auth`" + `"`
	c.exchange(t,
		[]string{`{"type":"ping","id":7}`, `{"type":"pong","id":7}`},
		[]string{`{"type":"dance","id":8}`, `{"type":"error","id":8,"code":"unknown_type","message":"the type must be one of subscribe, unsubscribe, broadcast, auth, history, presence, ping","retry":false}`},
		[]string{`{"type":"subscribe","id":9,"topics":"a"}`, `{"type":"error","id":9,"code":"malformed","message":"` + "`topics`" + ` must be an array of strings","retry":false}`},
		[]string{`{"type":"subscribe","id":1,"topics":["a"]}`, `{"type":"subscribed","id":1,"topics":{},"refused":{"a":{` + missing + `}}}`},
		[]string{`{"type":"broadcast","id":2,"topic":"a","message":1}`, `{"type":"error","id":2,` + missing + `,"retry":false}`},
		[]string{`{"type":"history","id":3,"topic":"a"}`, `{"type":"error","id":3,` + missing + `,"retry":false}`},
		[]string{`{"type":"auth","id":4,"token":"x"}`, `{"type":"error","id":4,"code":"token_invalid","message":"the token is not a JWT: a JWT has three parts in base64url without padding, separated by dots","retry":false}`},
		[]string{`{"type":"auth","id":4,"token":"TOKEN"}`, fmt.Sprintf(`{"type":"authenticated","id":4,"expires":%d}`, w.expires.Unix())},
		[]string{`{"type":"broadcast","id":5,"topic":"a","message":{"x": [1, "é"]},"echo":true}`, `{"type":"broadcasted","id":5,"topic":"a","position":"E:1"}`},
		[]string{`{"type":"subscribe","id":6,"topics":["a"],"last":9}`,
			`{"type":"subscribed","id":6,"topics":{"a":{"position":"E:0","recovered":true,"replay":1}}}`,
			`{"type":"message","topic":"a","position":"E:1","time":0,"data":{"x":[1,"é"]}}`},
		[]string{`{"type":"broadcast","topic":"c","message":"no"}`, `{"type":"error","code":"topic_denied","message":"the token does not allow this topic: its claim ` + "`topic` or `topics`" + ` must contain exactly this name","retry":false}`},
		[]string{`{"type":"broadcast","topic":"a","message":"two"}`,
			`{"type":"broadcasted","topic":"a","position":"E:2"}`,
			`{"type":"message","topic":"a","position":"E:2","time":0,"data":"two"}`},
		[]string{`{"type":"history","id":8,"topic":"a","limit":1,"since":"E:0"}`,
			`{"type":"history","id":8,"topic":"a","messages":[{"type":"message","topic":"a","position":"E:1","time":0,"data":{"x":[1,"é"]}}],"position":"E:1","recovered":true,"more":true}`},
	)
	w.publisher.err = errors.New("disk /dev/secret")
	c.exchange(t, []string{`{"type":"broadcast","id":9,"topic":"a","message":1}`, `{"type":"error","id":9,"code":"internal","message":"the server failed to handle this request: try again later","retry":true}`})
	w.workers.full = true
	c.exchange(t, []string{`{"type":"history","id":9,"topic":"a"}`, `{"type":"error","id":9,"code":"over_capacity","message":"the server is overloaded: try again later","retry":true}`})
	c.s.Receive([]byte("x"), true)
	if c.code != wire.CloseUnsupported {
		t.Errorf("a binary message: close code %d, want %d", c.code, wire.CloseUnsupported)
	}
}

// An excluded connection does not get a message, live or replayed. Every other connection
// gets it, even one with the same cursor.
func TestJSONExclude(t *testing.T) {
	w := newWorld(t, topic.Limits{}, nil)
	c, other := w.connectJSON(t, w.both("a")), w.connectJSON(t, w.both("a"))
	text, stream := w.connect(), w.connectStream(ndjson, "", false, "a", "b")
	text.subscribe("a")
	for _, c := range []*client{c, other} {
		c.exchange(t, []string{`{"type":"subscribe","topics":["a"]}`, `{"type":"subscribed","topics":{"a":{"position":"E:0","recovered":true,"replay":0}}}`})
	}
	stream.stream()
	message := func(offset int, data string) string {
		return fmt.Sprintf(`{"type":"message","topic":"a","position":"E:%d","time":0,"data":"%s"}`, offset, data)
	}
	c.exchange(t,
		[]string{`{"type":"broadcast","topic":"a","message":"1","key":"k"}`, `{"type":"broadcasted","topic":"a","position":"E:1"}`, message(1, "1")},
		[]string{`{"type":"broadcast","topic":"a","message":"2","echo":false}`, `{"type":"broadcasted","topic":"a","position":"E:2"}`},
		[]string{`{"type":"broadcast","topic":"a","message":"3","echo":false}`, `{"type":"broadcasted","topic":"a","position":"E:3"}`},
		[]string{"PUBLISH a 4", message(4, "4")},
	)
	other.gets(t, message(1, "1"), message(2, "2"), message(3, "3"), message(4, "4"))
	text.expect(t, "1", "2", "3", "4")
	if got := strings.Count(stream.stream(), `"message"`); got != 4 {
		t.Errorf("a stream got %d messages, want 4", got)
	}
	c.exchange(t,
		[]string{`{"type":"unsubscribe","topics":["a"]}`, `{"type":"unsubscribed","topics":["a"]}`},
		[]string{`{"type":"subscribe","topics":["a"],"since":{"a":"E:0"}}`, `{"type":"subscribed","topics":{"a":{"position":"E:0","recovered":true,"replay":2}}}`, message(1, "1"), message(4, "4")},
	)
	c.leave()
	later := w.connectJSON(t, w.both("a"))
	later.exchange(t, []string{`{"type":"subscribe","topics":["a"],"last":3}`,
		`{"type":"subscribed","topics":{"a":{"position":"E:1","recovered":true,"replay":3}}}`, message(2, "2"), message(3, "3"), message(4, "4")})
}

// An excluded stream continues after the messages that it does not get, wherever it is cut.
func TestStreamExclude(t *testing.T) {
	for cut := 1; cut < 400; cut++ {
		w := newWorld(t, topic.Limits{}, nil)
		c := w.connectStream(ndjson, "", false, "a", "b")
		c.turn()
		name := regexp.MustCompile(`"connection":"([0-9a-f]{16})"`).FindSubmatch(c.sent)
		connection, err := pubsub.ParseConnection(string(name[1]))
		if err != nil {
			t.Fatal(err)
		}
		c.read = len(c.sent)
		for i := range 4 {
			p := pubsub.Publication{Topic: "a", Body: pubsub.Body{Data: fmt.Append(nil, i)}}
			if i%2 == 1 {
				p.Exclude = connection
			}
			w.order(p)
		}
		w.group.Collect()
		c.write(cut)
		got := c.stream()
		if strings.Count(got, "\n") != 2 || !strings.Contains(got, `"data":"0"`) || !strings.Contains(got, `"data":"2"`) {
			t.Fatalf("cut at %d: got %s", cut, got)
		}
	}
}

// Commands take effect in order, including those that wait.
func TestJSONWaitsForTheCommandBefore(t *testing.T) {
	w := newWorld(t, topic.Limits{Count: 10}, nil)
	w.publisher.holds = true
	c := w.connectJSON(t, w.both("a"))
	c.s.Receive([]byte(`{"type":"broadcast","id":1,"topic":"a","message":"x"}`), false)
	if !c.s.Busy() {
		t.Error("not busy while a broadcast is under way")
	}
	w.publisher.release()
	w.loop.run()
	c.gets(t, `{"type":"broadcasted","id":1,"topic":"a","position":"E:1"}`)
	if c.s.Busy() || !c.resumed {
		t.Error("still busy after the answer")
	}
	c.resumed = false
	c.s.Receive([]byte(`{"type":"history","id":1,"topic":"a"}`), false)
	if !c.s.Busy() {
		t.Error("not busy while a history is read")
	}
	late, cancel := context.WithCancel(t.Context())
	cancel()
	w.workers.work(late)
	w.loop.run()
	c.gets(t, `{"type":"error","id":1,"code":"unavailable","message":"the server is shutting down: connect again","retry":true}`)
	if c.s.Busy() || !c.resumed {
		t.Error("still busy after the answer")
	}
	c.s.Receive([]byte(`{"type":"broadcast","id":1,"topic":"a","message":"x"}`), false)
	c.leave()
	w.publisher.release()
	c.settle()
	if len(c.received()) != 0 {
		t.Error("a session that has ended has an answer")
	}
}

// The token of the connection is verified when it arrives, and checked at each command.
func TestJSONConnectionToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, topic.Limits{}, nil)
		bad := w.connectJSON(t, "eyJ.x.y")
		bad.exchange(t, []string{`{"type":"subscribe","topics":["a"]}`,
			`{"type":"subscribed","topics":{},"refused":{"a":{"code":"token_invalid","message":"the token is not a JWT: a JWT has three parts in base64url without padding, separated by dots"}}}`})
		c := w.connectJSON(t, w.both("a"))
		c.exchange(t, []string{`{"type":"subscribe","topics":["a"]}`, `{"type":"subscribed","topics":{"a":{"position":"E:0","recovered":true,"replay":0}}}`})
		time.Sleep(time.Hour + auth.Leeway - time.Second)
		c.exchange(t, []string{`{"type":"history","topic":"a"}`, `{"type":"history","topic":"a","messages":[],"position":"E:0","recovered":true,"more":false}`})
		time.Sleep(time.Second)
		expired := fmt.Sprintf(`"code":"token_expired","message":"the token expired at %s"`, w.expires.UTC().Format(time.RFC3339))
		c.exchange(t,
			[]string{`{"type":"history","topic":"a"}`, `{"type":"error",` + expired + `,"retry":false}`},
			[]string{"PUBLISH a it outlives its token", `{"type":"message","topic":"a","position":"E:1","time":0,"data":"it outlives its token"}`},
		)
	})
}

func TestJSONEnds(t *testing.T) {
	bye := func(c *client) string {
		return regexp.MustCompile(`"after":\d+`).ReplaceAllString(strings.Join(c.messages(), "|"), `"after":N`)
	}
	t.Run("no valid command", func(t *testing.T) {
		w := newWorld(t, topic.Limits{}, nil)
		c := w.connectJSON(t, "")
		if c.armed != 60*time.Second {
			t.Errorf("wants a tick at %v", c.armed)
		}
		c.say("{")
		c.turn()
		c.messages()
		c.s.Tick(59 * time.Second)
		if c.code != 0 {
			t.Fatal("closed too early")
		}
		c.s.Tick(60 * time.Second)
		if got := bye(c); c.code != wire.CloseIdle || got != `{"type":"bye","code":"idle","after":N}` {
			t.Errorf("close code %d, %s", c.code, got)
		}
	})
	t.Run("a valid command", func(t *testing.T) {
		w := newWorld(t, topic.Limits{}, nil)
		c := w.connectJSON(t, "")
		c.say(`{"type":"ping"}`)
		c.s.Tick(time.Hour)
		if c.code != 0 {
			t.Errorf("closed with %d", c.code)
		}
	})
	t.Run("too many commands", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { // so that no time passes
			w := newWorld(t, topic.Limits{}, nil)
			c := w.connectJSON(t, "")
			for range 1001 {
				c.say("{}")
				c.turn()
				if c.code == 0 {
					c.messages()
				}
			}
			if got := bye(c); c.code != wire.CloseTooMany || got != `{"type":"bye","code":"too_many","after":N}` {
				t.Errorf("close code %d, %s", c.code, got)
			}
		})
	})
	t.Run("too slow", func(t *testing.T) {
		w := newWorld(t, topic.Limits{Count: 1}, func(c *session.Config) { c.MaxLagBytes = 1000 })
		c := w.connectJSON(t, w.both("a"))
		c.exchange(t, []string{`{"type":"subscribe","topics":["a"]}`, `{"type":"subscribed","topics":{"a":{"position":"E:0","recovered":true,"replay":0}}}`})
		for range 10 {
			w.publish("a", "x")
		}
		c.refuse()
		c.s.Tick(0)
		if got := bye(c); c.code != wire.CloseTooSlow || got != `{"type":"bye","code":"too_slow","after":N}` {
			t.Errorf("close code %d, %s", c.code, got)
		}
	})
}

// In mode latest a client that is behind gets the newest message, and a report of the
// skipped ones.
func TestJSONLatest(t *testing.T) {
	for cut := 1; cut < 150; cut++ {
		w := newWorld(t, topic.Limits{Count: 3}, func(c *session.Config) { c.MaxLagBytes = 1000 })
		c := w.connectJSON(t, w.both("a", "b"))
		c.exchange(t, []string{`{"type":"subscribe","topics":["a"],"mode":"latest"}`, `{"type":"subscribed","topics":{"a":{"position":"E:0","recovered":true,"replay":0}}}`},
			[]string{`{"type":"subscribe","topics":["b"]}`, `{"type":"subscribed","topics":{"b":{"position":"E:0","recovered":true,"replay":0}}}`})
		w.publish("a", "together with")
		w.publish("a", "the next, as the client is not behind")
		c.gets(t, `{"type":"message","topic":"a","position":"E:1","time":0,"data":"together with"}`,
			`{"type":"message","topic":"a","position":"E:2","time":0,"data":"the next, as the client is not behind"}`)
		w.publish("a", "this is cut somewhere")
		w.group.Collect()
		c.write(cut)
		done := len(c.s.Rest()) == 0
		for i := range 100 {
			w.publish("a", fmt.Sprint("skipped ", i))
			w.group.Collect()
			c.s.Tick(0)
		}
		if c.code != 0 {
			t.Fatalf("closed with %d: a client in mode latest skips instead", c.code)
		}
		w.publish("b", "other topics lose nothing")
		w.publish("a", "newest")
		if done {
			return // The socket took all of it: the client was not behind.
		}
		c.gets(t, `{"type":"message","topic":"a","position":"E:3","time":0,"data":"this is cut somewhere"}`,
			`{"type":"skipped","topic":"a","from":"E:3","to":"E:103"}`,
			`{"type":"message","topic":"a","position":"E:105","time":0,"data":"newest"}`,
			`{"type":"message","topic":"b","position":"E:104","time":0,"data":"other topics lose nothing"}`)
	}
	t.Error("a frame of more than 150 bytes")
}
