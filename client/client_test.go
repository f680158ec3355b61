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
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

func TestEventsCannotBeConfused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		a := listen(t, f.dial(client.Options{}), client.Subscription{
			Topics: []pubsub.Topic{"a", "two words", "c"},
			Since:  map[pubsub.Topic]pubsub.Position{"a": {Epoch: "E", Offset: 42}, "c": {Epoch: "D", Offset: 1}},
			Last:   10,
			Latest: true,
		})
		p := f.accept()
		// What has a position to go on from asks for no earlier messages.
		p.expect(`{"type":"subscribe","id":1,"topics":["a","c"],"since":{"a":"E:42","c":"D:1"},"mode":"latest"}`,
			`{"type":"subscribe","id":2,"topics":["two words"],"last":10,"mode":"latest"}`)
		p.say(`{"type":"subscribed","id":1,"topics":{"c":{"position":"E:9","recovered":false,"replay":0},"a":{"position":"E:42","recovered":true,"replay":1}}}`,
			message("a", 43, `{"x":1}`),
			`{"type":"subscribed","id":2,"topics":{},"refused":{"two words":{"code":"topic_denied","message":"no"}}}`,
			`{"type":"skipped","topic":"a","from":"E:43","to":"E:60"}`,
			message("a", 61, `"text"`),
			`{"type":"gap","topic":"a","position":"E:70"}`,
			message("a", 71, `null`),
			message("two words", 72, `1`), // not subscribed to
			`{"type":"of a later version","topic":["a"],"members":7,"code":{"data":null}}`,
			message("c", 73, `2`))
		a.expect("subscribed a E:42 1 resumed=false",
			"lost c D:1 E:9 gap=false",
			`message a E:43 {"x":1}`,
			"refused two words topic_denied",
			"skipped a E:43 E:60",
			`message a E:61 "text"`,
			"lost a E:61 E:70 gap=true",
			"message a E:71 null",
			"message c E:73 2")
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
		for event, err := range c.Subscribe(t.Context(), topics("a", "a")) {
			if err != nil {
				t.Fatal(err)
			}
			if m, ok := event.(client.Message); ok {
				if got = append(got, m); len(got) == 2 {
					break
				}
			}
		}
		if text, ok := got[0].Text(); !ok || text != "\"ü\x00\n" {
			t.Errorf("Text() = %q, %v", text, ok)
		}
		if text, ok := got[1].Text(); ok || text != "" {
			t.Errorf("Text() of a list = %q, %v", text, ok)
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
	refusal := pubsub.Errorf(pubsub.TopicDenied, "no")
	for err, want := range map[error]string{
		&client.RefusedError{Topic: "a", Err: refusal}: `subscribe to "a": topic_denied: no`,
		&client.StatusError{Status: 403, Err: refusal}: `topic_denied: no`,
	} {
		if err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
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
		second := listen(t, c, topics("b", "a"))
		second.expect(`end subscribe: the client is subscribed to "a" already`)
		second.over()
		a.leave()
		a.expect("end context canceled")
		a.over()
		p.expect(`{"type":"unsubscribe","id":2,"topics":["a"]}`)

		// A message that was under way belongs to nobody, not to who comes next.
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
		var s client.Subscription
		for n := range 150 {
			s.Topics = append(s.Topics, pubsub.Topic(fmt.Sprint(n, strings.Repeat(`"`, 250))))
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
			s    client.Subscription
			want string
		}{
			{client.Subscription{}, "subscribe: there is no topic"},
			{topics("a", ""), "subscribe: the topic is empty"},
			{client.Subscription{Topics: []pubsub.Topic{"a"}, Last: -1}, "subscribe: Last is -1: give the number of messages"},
			{client.Subscription{Topics: []pubsub.Topic{"a"}, Since: map[pubsub.Topic]pubsub.Position{"b": {Epoch: "E"}}}, `subscribe: Since names "b", which is not in Topics`},
			{client.Subscription{Topics: []pubsub.Topic{"a"}, Since: map[pubsub.Topic]pubsub.Position{"a": {}}}, `subscribe: Since of "a": a position looks like epoch:offset`},
		}
		for _, tt := range tests {
			a := listen(t, c, tt.s)
			a.expect("end " + tt.want)
			a.over()
		}
	})
}

func TestSlowReaderHoldsTheServerBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		a := listen(t, f.dial(client.Options{}), topics("a"))
		p := f.accept()
		p.expect(`{"type":"subscribe","id":1,"topics":["a"]}`)
		p.say(subscribedTo(1, "a"))
		a.expect("subscribed a E:0 0 resumed=false")
		const n = 1000
		said := make(chan int, n)
		go func() {
			for offset := range n {
				if !p.send(message("a", offset+1, `"`+strings.Repeat("x", 10000)+`"`)) {
					return
				}
				said <- offset
			}
		}()
		time.Sleep(10 * time.Minute) // far beyond what silence would be
		if len(said) > 5 {
			t.Errorf("%d messages were read that nobody took", len(said))
		}
		// Meanwhile the server hears that the client lives.
		if n := len(p.commands); n < 20 {
			t.Errorf("%d signs of life in 10 minutes, want one every 25 s", n)
		}
		for offset := range n {
			if got, want := <-a.events, fmt.Sprintf("message a E:%d ", offset+1); !strings.HasPrefix(got, want) {
				t.Fatalf("got %.40q, want %q", got, want)
			}
		}
		if got := len(f.dials()); got != 1 {
			t.Errorf("%d connections, want 1", got)
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
		a.expect("subscribed a E:0 0 resumed=false", "end the client is closed")
		b.expect("end the client is closed")
		c.Close()
		after := listen(t, c, topics("c"))
		after.expect("end the client is closed")
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
					if got != "disconnected" && got != "end the client is closed" {
						t.Errorf("got event %q", got)
					}
				}
			})
		})
	}
}

func TestDialTellsWhatIsWrong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		f.refuseNext(503, "7")
		_, err := client.Dial(t.Context(), base, client.Options{HTTPClient: f.client(), Token: "secret"})
		refused, ok := errors.AsType[*client.StatusError](err)
		if !ok || refused.Status != 503 || refused.Err.Code != pubsub.OverCapacity || refused.After != 7*time.Second {
			t.Errorf("Dial = %#v, want a StatusError with what the server said", err)
		}
		if want := `Dial "http://notiflux.test": over_capacity: it is full`; err == nil || err.Error() != want {
			t.Errorf("Dial = %v, want %s", err, want)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := client.Dial(ctx, base, client.Options{HTTPClient: f.client()}); !errors.Is(err, context.Canceled) {
			t.Errorf("Dial = %v, want that its context has ended", err)
		}
		for _, address := range []string{"", "notiflux.test:80", "ws://notiflux.test", "http://user@notiflux.test", "http://notiflux.test?x", "http://%"} {
			if _, err := client.Dial(t.Context(), address, client.Options{HTTPClient: f.client()}); err == nil {
				t.Errorf("Dial(%q) succeeded", address)
			}
		}
	})
}
