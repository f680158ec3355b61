package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ikornaselur/notiflux/client"
)

func TestEventsCannotBeConfused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		a := listen(t, f.dial(client.Options{}), wish{
			Topics: []string{"a", "two words", "c"},
			Since:  map[string]client.Position{"a": "E:42", "c": "D:1"},
			Last:   10,
			Latest: true,
		})
		p := f.accept()
		// A topic with a resume position does not request earlier messages.
		p.expect(`{"type":"subscribe","id":1,"topics":["a","c"],"since":{"a":"E:42","c":"D:1"},"mode":"latest"}`,
			`{"type":"subscribe","id":2,"topics":["two words"],"last":10,"mode":"latest"}`)
		for _, step := range []struct{ say, want string }{ // one by one: Latest leaves out what waits
			{`{"type":"subscribed","id":1,"topics":{"c":{"position":"E:9","recovered":false,"replay":0},"a":{"position":"E:42","recovered":true,"replay":1}}}`, "subscribed a E:42 1 resumed=false"},
			{message("a", 43, `{"x":1}`), "lost c D:1 E:9 expired"},
			{`{"type":"subscribed","id":2,"topics":{},"refused":{"two words":{"code":"topic_denied","message":"no"}}}`, `message a E:43 {"x":1}`},
			{`{"type":"skipped","topic":"a","from":"E:43","to":"E:60"}`, "refused two words topic_denied"},
			{message("a", 61, `"text"`), "skipped a E:43 E:60"},
			{`{"type":"gap","topic":"a","position":"E:70"}`, `message a E:61 "text"`},
			{message("a", 71, `null`), "lost a E:61 E:70 gap"},
			{message("two words", 72, `1`), "message a E:71 null"}, // not subscribed to
		} {
			p.say(step.say)
			a.expect(step.want)
		}
		p.say(`{"type":"of a later version","topic":["a"],"members":7,"code":{"data":null}}`, message("c", 73, `2`))
		a.expect("message c E:73 2")
	})
}

func TestMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		c := f.dial(client.Options{})
		go func() {
			p := f.accept()
			<-p.commands
			p.say(subscribedTo(1, "a"), message("a", 1, `"\"ü\u0000\n"`), message("a", 2, `["x"]`))
		}()
		var got []client.Message
		for event, err := range c.Subscribe("a", "a").Events(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			if m, ok := event.(client.Message); ok {
				if got = append(got, m); len(got) == 2 {
					break
				}
			}
		}
		if text := got[0].Text(); text != "\"ü\x00\n" || got[0].JSON {
			t.Errorf("Text() = %q, JSON %v", text, got[0].JSON)
		}
		if text := got[1].Text(); text != `["x"]` || !got[1].JSON {
			t.Errorf("Text() of a list = %q, JSON %v", text, got[1].JSON)
		}
		if want := time.UnixMilli(1790000000000); !got[0].Time.Equal(want) {
			t.Errorf("Time = %v, want %v", got[0].Time, want)
		}
	})
}

func TestPositionsIncrease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		log, written := logged()
		a := listen(t, f.dial(client.Options{Logger: log}), topics("a"))
		p := f.accept()
		p.expect(`{"type":"subscribe","id":1,"topics":["a"]}`)
		p.say(subscribedTo(1, "a"), message("a", 5, "1"), message("a", 5, "2"), message("a", 4, "3"), message("a", 6, "4"))
		a.expect("subscribed a E:0 0 resumed=false", "message a E:5 1", "message a E:6 4")
		synctest.Wait()
		if !strings.Contains(written.String(), "faults=2") {
			t.Errorf("two repeated messages were not counted:\n%s", written)
		}
	})
}

func TestRefusedTopics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		c := f.dial(client.Options{})
		a := listen(t, c, topics("a", "b"))
		p := f.accept()
		p.expect(`{"type":"subscribe","id":1,"topics":["a","b"]}`)
		p.say(`{"type":"subscribed","id":1,"topics":{"b":{"position":"E:0","recovered":true,"replay":0}},"refused":{"a":{"code":"token_expired","message":"no"}}}`,
			message("b", 1, "1"),
			`{"type":"unsubscribed","topics":["b"],"code":"token_revoked"}`)
		a.expect("refused a token_expired", "subscribed b E:0 0 resumed=false", "message b E:1 1", "refused b token_revoked")
		a.over()

		// A command that is refused as a whole, and one that may succeed later.
		a = listen(t, c, topics("a"))
		p.expect(`{"type":"subscribe","id":2,"topics":["a"]}`)
		p.say(`{"type":"error","id":2,"code":"malformed","message":"no","retry":false}`)
		a.expect("refused a malformed")
		a.over()
		a = listen(t, c, topics("a"))
		for id := 3; id < 6; id++ {
			p.expect(fmt.Sprintf(`{"type":"subscribe","id":%d,"topics":["a"]}`, id))
			p.say(fmt.Sprintf(`{"type":"subscribed","id":%d,"topics":{},"refused":{"a":{"code":"over_capacity","message":"later"}}}`, id))
		}
		p.expect(`{"type":"subscribe","id":6,"topics":["a"]}`)
		p.say(subscribedTo(6, "a"))
		a.expect("subscribed a E:0 0 resumed=false")
	})
}

func TestErrorsTellTheCode(t *testing.T) {
	for _, tt := range []struct {
		err  client.Error
		want string
	}{
		{client.Error{Topic: "a", Code: "topic_denied", Message: "no"}, `subscribe to "a": topic_denied: no`},
		{client.Error{Status: 403, Code: "topic_denied", Message: "no"}, `topic_denied: no`},
		{client.Error{Status: 502}, `the server answered with status 502`},
		{client.Error{Close: 1012, Code: "draining", Message: "restart"}, `the server closed the connection: 1012 restart`},
	} {
		if tt.err.Error() != tt.want {
			t.Errorf("got  %v\nwant %s", &tt.err, tt.want)
		}
	}
}

func TestTopicsComeAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		c := f.dial(client.Options{})
		a := listen(t, c, topics("a"))
		p := f.accept()
		p.expect(`{"type":"subscribe","id":1,"topics":["a"]}`)
		p.say(subscribedTo(1, "a"))
		a.expect("subscribed a E:0 0 resumed=false")
		a.leave()
		a.expect("end context canceled")
		a.over()
		p.expect(`{"type":"unsubscribe","id":2,"topics":["a"]}`)

		// A message in flight must not reach the next subscriber.
		again := listen(t, c, topics("a"))
		p.expect(`{"type":"subscribe","id":3,"topics":["a"]}`)
		p.say(message("a", 1, "1"), `{"type":"unsubscribed","id":2,"topics":["a"]}`, subscribedTo(3, "a"), message("a", 2, "2"))
		again.expect("subscribed a E:0 0 resumed=false", "message a E:2 2")
		close(again.stop)
		p.say(message("a", 3, "3"))
		p.expect(`{"type":"unsubscribe","id":4,"topics":["a"]}`)
		again.over()
	})
}

func TestManyTopicsAreAskedForInParts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		c := f.dial(client.Options{})
		var s wish
		for n := range 150 {
			s.Topics = append(s.Topics, string(fmt.Sprint(n, strings.Repeat(`"`, 250))))
		}
		a := listen(t, c, s)
		p := f.accept()
		for asked := 0; asked < len(s.Topics); {
			text := <-p.commands
			var command struct{ Topics []string }
			if err := json.Unmarshal([]byte(text), &command); err != nil {
				t.Fatal(err)
			}
			if n := len(command.Topics); len(text) > 81920 || n == 0 || n > 100 {
				t.Errorf("a command of %d bytes and %d topics, the most are 81920 and 100", len(text), n)
			}
			asked += len(command.Topics)
		}
		a.leave()
	})
}

func TestWrongSubscriptions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		c := f.dial(client.Options{})
		tests := []struct {
			w    wish
			want string
		}{
			{wish{}, "subscribe: no topics were given"},
			{topics("a", ""), "subscribe: the topic is empty"},
			{wish{Topics: []string{"a"}, Last: -1}, "subscribe: Last is -1; use 0 or a larger number"},
			{wish{Topics: []string{"a"}, Buffer: -1}, "subscribe: Buffer is -1; use 0 or a larger number"},
			{wish{Topics: []string{"a"}, Since: map[string]client.Position{"a": "5"}}, `subscribe: Since of "a": this is not a position: use one that the server sent`},
		}
		for _, tt := range tests {
			a := listen(t, c, tt.w)
			a.expect("end " + tt.want)
			a.over()
			if err := a.subscription.Add("a"); err != client.ErrClosed {
				t.Errorf("Add to a subscription that is over = %v", err)
			}
		}
	})
}

func TestCloseEndsEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		c := f.dial(client.Options{})
		a := listen(t, c, topics("a"))
		p := f.accept()
		<-p.commands
		b := listen(t, c, topics("b"))
		<-p.commands
		// One loop is busy, and a message waits for it.
		p.say(subscribedTo(1, "a"), message("a", 1, "1"))
		synctest.Wait()
		if err := c.Close(); err != nil {
			t.Errorf("Close() = %v", err)
		}
		a.expect("subscribed a E:0 0 resumed=false", "end the client or the subscription is closed")
		b.expect("end the client or the subscription is closed")
		c.Close()
		after := listen(t, c, topics("c"))
		after.expect("end the client or the subscription is closed")
	})
}

func TestCloseWaitsForNobodyLong(t *testing.T) {
	for name, prepare := range map[string]func(*fake, *client.Client){
		"deaf server":   func(f *fake, c *client.Client) { f.accept() },
		"connecting":    func(f *fake, c *client.Client) { f.accept().cut() },
		"nothing to do": func(f *fake, c *client.Client) { f.accept().end(4009, "") },
		"waiting to dial": func(f *fake, c *client.Client) {
			f.accept().end(1012, `{"type":"bye","code":"draining","after":60000}`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t)
				c := f.dial(client.Options{})
				a := listen(t, c, topics("a"))
				prepare(f, c)
				began := time.Now()
				c.Close()
				if took := time.Since(began); took > 5*time.Second {
					t.Errorf("Close took %v", took)
				}
				for got := range a.events {
					if got != "disconnected" && got != "end the client or the subscription is closed" {
						t.Errorf("got event %q", got)
					}
				}
			})
		})
	}
}

func TestConnectTellsWhatIsWrong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		c := f.new(client.Options{Token: "secret"})
		f.refuseNext(503, "7")
		err := c.Connect(t.Context())
		refused, ok := errors.AsType[*client.Error](err)
		if !ok || refused.Status != 503 || refused.Code != "over_capacity" || refused.RetryAfter != 7*time.Second {
			t.Errorf("Connect = %#v, want an Error with what the server said", err)
		}
		if want := `connect "http://notiflux.test": over_capacity: it is full`; err == nil || err.Error() != want {
			t.Errorf("Connect = %v, want %s", err, want)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := c.Connect(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("Connect = %v, want that its context has ended", err)
		}
		// It may be tried again, and a final refusal ends nothing that does not exist.
		f.refuseNext(401, "")
		time.Sleep(time.Minute)
		if err := c.Connect(t.Context()); err != nil {
			t.Errorf("Connect = %v", err)
		}
		c.Close()
		if err := c.Connect(t.Context()); err != client.ErrClosed {
			t.Errorf("Connect of a closed client = %v", err)
		}
		for _, address := range []string{"", "notiflux.test:80", "ws://notiflux.test", "http://user@notiflux.test", "http://notiflux.test?x", "http://%"} {
			if _, err := client.New(address, client.Options{}); err == nil {
				t.Errorf("New(%q) succeeded", address)
			}
		}
		for _, o := range []client.Options{{Timeout: -1}, {Token: "t", TokenSource: func(context.Context, client.TokenRequest) (string, error) { return "", nil }}} {
			if _, err := client.New(base, o); err == nil {
				t.Errorf("New(%+v) succeeded", o)
			}
		}
	})
}
