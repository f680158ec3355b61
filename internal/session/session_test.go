package session_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/session"
	"github.com/ikornaselur/notiflux/internal/topic"
	"github.com/ikornaselur/notiflux/internal/wire"
)

func TestTextProtocol(t *testing.T) {
	w := newWorld(t, topic.Limits{Count: 10}, nil)
	c := w.connect()
	const (
		invalid = "Invalid subscribe command, it should be: /subscribe <topic> <token>"
		unknown = "Unknown command"
	)
	for _, test := range []struct{ say, answer string }{
		{"hello", ""},
		{"", ""},
		{"  \n ", ""},
		{"subscribe a b", ""},
		{"/subscribe", invalid},
		{"/subscribe a", invalid},
		{"/subscribe a b c", invalid},
		{" /subscribe a \n", invalid},
		{"/subscribe  a b", invalid},
		{"/unsubscribe", unknown},
		{"/unsubscribe ", unknown},
		{"/unsubscribe-all now", unknown},
		{"/unsubscribe-all", ""},
		{"/unsubscribe never subscribed", ""},
		{"/", unknown},
		{"/subscribes a b", unknown},
		{"/SUBSCRIBE a b", unknown},
		{"/subscribe\ta\tb", unknown},
		{"/subscribe a rubbish", "Subscribe to a denied: the token is not three parts separated by dots"},
		{"/subscribe a " + w.token("b"), "Subscribe to a denied: the token does not allow this topic"},
	} {
		c.say(test.say)
		c.turn()
		got := strings.Join(c.messages(), "|")
		if strings.HasPrefix(test.answer, "Subscribe to") {
			// Package auth chooses the words of the reason.
			got, test.answer = got[:min(len(got), 22)], test.answer[:22]
		}
		if got != test.answer {
			t.Errorf("%q is answered %q, want %q", test.say, got, test.answer)
		}
	}
	c.s.Receive([]byte("/subscribe"), true)
	c.expect(t)
}

func TestSubscribeDeliverUnsubscribe(t *testing.T) {
	w := newWorld(t, topic.Limits{Count: 10}, nil)
	a, b := w.connect(), w.connect()
	w.publish("t", "before")
	a.subscribe("t")
	a.subscribe("t")
	b.subscribe("t")
	b.subscribe("a topic with spaces is refused by its own form")
	b.turn()
	b.messages()
	w.publish("t", "one")
	w.publish("other", "not for them")
	a.expect(t, "one")
	b.expect(t, "one")
	a.say("/unsubscribe t")
	w.publish("t", "two")
	a.expect(t)
	b.expect(t, "two")
	a.subscribe("t")
	w.publish("t", "three")
	a.expect(t, "three")
	a.say("/unsubscribe-all")
	w.publish("t", "four")
	a.expect(t)
	b.leave()
	a.leave()
	if n := w.stats.Subscriptions.Load(); n != 0 || w.stats.Sessions.Load() != 0 {
		t.Errorf("%d subscriptions left, want none", n)
	}
}

func TestCommandsWaitForTheTokenBeforeThem(t *testing.T) {
	w := newWorld(t, topic.Limits{Count: 10}, nil)
	c := w.connect()
	c.s.Receive([]byte("/subscribe t "+w.token("t")), false)
	if !c.s.Busy() {
		t.Error("a session whose token is being verified is not busy")
	}
	w.publish("t", "before it holds")
	w.workers.work(t.Context())
	w.loop.run()
	if c.s.Busy() || !c.resumed {
		t.Error("a session does not continue after its token was verified")
	}
	w.publish("t", "after")
	c.expect(t, "after")

	c.s.Receive([]byte("/subscribe u "+w.token("u")), false)
	c.leave()
	w.workers.work(t.Context())
	w.loop.run()
	if n := w.stats.Subscriptions.Load(); n != 0 {
		t.Errorf("a session that has ended has %d subscriptions", n)
	}
}

func TestFullQueueIsReported(t *testing.T) {
	w := newWorld(t, topic.Limits{}, nil)
	w.workers.full = true
	c := w.connect()
	c.subscribe("t")
	c.expect(t, "Subscribe to t denied: the server is overloaded: try again later")
}

func TestTopicsPerConnection(t *testing.T) {
	w := newWorld(t, topic.Limits{}, func(c *session.Config) { c.MaxTopics = 2 })
	c := w.connect()
	for _, topic := range []pubsub.Topic{"a", "b", "a", "c"} {
		c.subscribe(topic)
	}
	c.expect(t, "Subscribe to c denied: topic limit of this connection reached (2): unsubscribe from a topic, or open another connection")
	w.publish("a", "still here")
	c.expect(t, "still here")
}

func TestInvalidTopicsAreNamed(t *testing.T) {
	w := newWorld(t, topic.Limits{}, nil)
	c := w.connect()
	for topic, want := range map[string]string{
		strings.Repeat("x", 256): "the topic has 256 bytes; the limit is 255",
		"a\x00b":                 `"a\x00b" denied: the topic has the control character U+0000 at byte 1`,
		"a\nb":                   `"a\nb" denied: the topic has the control character U+000A at byte 1`,
		"":                       `"" denied: the topic is empty`,
	} {
		c.say("/subscribe " + topic + " token")
		c.turn()
		if got := strings.Join(c.messages(), "|"); !strings.HasSuffix(got, want) || strings.ContainsAny(got, "\n\x00") {
			t.Errorf("topic %q is answered %q, want %q", topic, got, want)
		}
	}
}

func TestTooManyCommands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, topic.Limits{}, nil)
		c := w.connect()
		for range 1000 {
			c.say("/unsubscribe-all")
		}
		time.Sleep(time.Second)
		for range 100 {
			c.say("/unsubscribe-all")
			c.say("chatter does not count")
		}
		if c.code != 0 {
			t.Fatalf("closed with %d within the rate", c.code)
		}
		c.say("/unsubscribe-all")
		if c.code != wire.CloseTooMany {
			t.Errorf("one command too many: close code %d, want %d", c.code, wire.CloseTooMany)
		}
	})
}

func TestUnreadAnswersStopReading(t *testing.T) {
	w := newWorld(t, topic.Limits{}, func(c *session.Config) { c.CommandBurst = 1e6 })
	c := w.connect()
	said := 0
	for ; !c.s.Busy(); said++ {
		c.say("/")
	}
	if said > 4000 {
		t.Errorf("%d answers wait", said)
	}
	c.turn()
	if got := len(c.messages()); got != said || c.s.Busy() || !c.resumed {
		t.Errorf("%d answers for %d commands, busy %v, resumed %v", got, said, c.s.Busy(), c.resumed)
	}
}

func TestSlowSessionIsClosedOnlyBeyondTheLimit(t *testing.T) {
	w := newWorld(t, topic.Limits{Count: 4}, func(c *session.Config) { c.MaxLagBytes = 10 * (100 + topic.Overhead) })
	slow, fast := w.connect(), w.connect()
	slow.subscribe("t")
	fast.subscribe("t")
	data := strings.Repeat("x", 100)
	for i := range 14 {
		w.publish("t", data)
		slow.refuse()
		slow.s.Tick(0)
		if slow.code != 0 {
			t.Fatalf("cut after %d messages, with 10 allowed beyond a history of 4", i+1)
		}
		fast.expect(t, data)
	}
	w.publish("t", data)
	slow.refuse()
	slow.s.Tick(0)
	if n := w.stats.Subscriptions.Load(); n != 1 {
		t.Errorf("%d subscriptions hold messages after the cut, want that of the other session", n)
	}
	if slow.code != wire.CloseTooSlow || fast.code != 0 {
		t.Errorf("close codes %d and %d, want %d and none", slow.code, fast.code, wire.CloseTooSlow)
	}
}

// Messages that the loop had no time to offer are not the client's lag, however many they
// are.
func TestLateLoopClosesNoClient(t *testing.T) {
	for name, offer := range map[string]func(c *client){
		"nothing was offered":            func(*client) {},
		"all that was offered was taken": func(c *client) { c.w.group.Collect(); c.write(1000) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, topic.Limits{Count: 4}, func(c *session.Config) { c.MaxLagBytes = 10 * (100 + topic.Overhead) })
			c := w.connect()
			c.subscribe("t")
			w.publish("t", "first")
			offer(c)
			c.refuses = false
			c.read = len(c.sent)
			var want []string
			for i := range 100 {
				want = append(want, fmt.Sprint(strings.Repeat("x", 100), i))
				w.publish("t", want[i])
			}
			w.group.Collect()
			c.s.Tick(0)
			if c.code != 0 {
				t.Fatalf("cut with %d", c.code)
			}
			if name == "nothing was offered" {
				want = append([]string{"first"}, want...)
			}
			c.expect(t, want...)
		})
	}
}

func TestAFrameUnderWayIsFinishedAfterUnsubscribing(t *testing.T) {
	w := newWorld(t, topic.Limits{}, nil)
	c := w.connect()
	c.subscribe("t")
	w.publish("t", "a message of some length")
	w.publish("t", "never")
	w.group.Collect()
	c.write(5)
	if len(c.s.Rest()) == 0 {
		t.Fatal("no frame is under way after a short write")
	}
	c.say("/unsubscribe t")
	c.say("/nonsense")
	c.expect(t, "a message of some length", "Unknown command")
}

func TestAnswersGoAheadOfMessages(t *testing.T) {
	w := newWorld(t, topic.Limits{}, nil)
	c := w.connect()
	c.subscribe("t")
	w.publish("t", "published before the command")
	w.group.Collect()
	c.say("/nonsense")
	c.expect(t, "Unknown command", "published before the command")
}

func TestDrainDeliversThenCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, topic.Limits{}, nil)
		c := w.connect()
		c.subscribe("t")
		w.publish("t", "accepted")
		w.group.Collect()
		w.group.Drain(3 * time.Second)
		time.Sleep(3 * time.Second)
		synctest.Wait()
		w.loop.run()
		c.write(3)
		if c.code != 0 {
			t.Error("closed before everything was delivered")
		}
		c.expect(t, "accepted")
		if c.code != wire.CloseRestart {
			t.Errorf("close code %d, want %d", c.code, wire.CloseRestart)
		}
	})
}

// Whatever sockets take, and whenever, each subscription receives exactly the messages
// published during it, in order.
func TestDeliveryAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		topics := []pubsub.Topic{"a", "b", "c"}
		w := newWorld(t, topic.Limits{Count: 3}, nil)
		clients := []*client{w.connect(), w.connect(), w.connect()}
		want := make([]map[pubsub.Topic][]string, len(clients)) // by client and topic: the expected messages
		subscribed := make([]map[pubsub.Topic]bool, len(clients))
		got := make([]map[pubsub.Topic][]string, len(clients))
		tokens := map[pubsub.Topic]string{}
		for i := range clients {
			want[i], subscribed[i], got[i] = map[pubsub.Topic][]string{}, map[pubsub.Topic]bool{}, map[pubsub.Topic][]string{}
		}
		for _, topic := range topics {
			tokens[topic] = w.token(topic)
		}
		pick := func(t *rapid.T) (int, pubsub.Topic) {
			return rapid.IntRange(0, len(clients)-1).Draw(t, "client"), rapid.SampledFrom(topics).Draw(t, "topic")
		}
		published := 0
		check := func(t *rapid.T, i int) {
			for _, m := range clients[i].messages() {
				topic := pubsub.Topic(m[:1])
				n := len(got[i][topic])
				if n >= len(want[i][topic]) || want[i][topic][n] != m {
					t.Fatalf("client %d got %.10q as number %d of topic %q, want %.10q", i, m, n, topic, want[i][topic])
				}
				got[i][topic] = append(got[i][topic], m)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"publish": func(t *rapid.T) {
				topic := rapid.SampledFrom(topics).Draw(t, "topic")
				published++
				data := fmt.Sprintf("%s%d %s", topic, published, strings.Repeat("x", rapid.SampledFrom([]int{0, 10, 200, 40_000, 70_000}).Draw(t, "size")))
				w.publish(topic, data)
				for i := range clients {
					if subscribed[i][topic] {
						want[i][topic] = append(want[i][topic], data)
					}
				}
			},
			"subscribe": func(t *rapid.T) {
				i, topic := pick(t)
				clients[i].say("/subscribe " + string(topic) + " " + tokens[topic])
				subscribed[i][topic] = true
			},
			"unsubscribe": func(t *rapid.T) {
				i, topic := pick(t)
				if rapid.IntRange(0, 3).Draw(t, "all") == 0 {
					topic = ""
					clients[i].say("/unsubscribe-all")
				} else {
					clients[i].say("/unsubscribe " + string(topic))
				}
				// A frame in progress is finished. Nothing else of an ended subscription
				// comes.
				clients[i].write(len(clients[i].s.Rest()))
				check(t, i)
				for _, ended := range topics {
					if topic == "" || topic == ended {
						subscribed[i][ended] = false
						want[i][ended] = want[i][ended][:len(got[i][ended])]
					}
				}
			},
			"collect": func(*rapid.T) { w.group.Collect() },
			"write": func(t *rapid.T) {
				i, _ := pick(t)
				clients[i].write(rapid.SampledFrom([]int{1, 7, 100, 5000, 70_000, 1 << 20}).Draw(t, "bytes"))
				check(t, i)
			},
		})
		for i, c := range clients {
			c.turn()
			check(t, i)
			for _, topic := range topics {
				if subscribed[i][topic] && len(got[i][topic]) != len(want[i][topic]) {
					t.Fatalf("client %d got %d messages of topic %q, want %d", i, len(got[i][topic]), topic, len(want[i][topic]))
				}
			}
		}
	})
}

// A session that ends writes its answers before the close frame, unless its client does not
// read.
func TestAnswersOfASessionThatEnds(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(c *client)
		want int // answers
	}{
		"closed by somebody else": {func(*client) {}, 1},
		"too many commands": {func(c *client) {
			for range 5 {
				c.s.Receive([]byte("/"), false)
			}
		}, 2},
		"reads nothing": {func(c *client) { c.s.Stuck() }, 0},
	} {
		w := newWorld(t, topic.Limits{}, func(c *session.Config) { c.CommandBurst, c.CommandRate = 3, 0.001 })
		client := w.connect()
		client.subscribe("a")
		w.publish("a", "not an answer")
		w.group.Collect()
		client.s.Receive([]byte("/dance"), false)
		c.end(client)
		client.sent = append(client.sent, client.s.Answers()...)
		client.s.Wrote(len(client.sent))
		got := client.messages()
		for len(got) > 0 && got[0] == "Unknown command" {
			got, c.want = got[1:], c.want-1
		}
		if len(got) > 0 || c.want != 0 {
			t.Errorf("%s: also got %q, %d answers are missing", name, got, c.want)
		}
		if more := client.s.Answers(); len(more) > 0 {
			t.Errorf("%s: %q again", name, more)
		}
	}
}
