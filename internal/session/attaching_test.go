package session_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ikornaselur/notiflux/internal/broker"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/session"
	"github.com/ikornaselur/notiflux/internal/topic"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// slowBroker attaches topics when the test says so.
type slowBroker struct {
	broker.Broker
	attacher *broker.Attacher
	held     []*broker.Attachment
}

func (b *slowBroker) Attach(a *broker.Attachment) (finished bool) {
	b.held = append(b.held, a)
	return false
}

// attach attaches the waiting topics, the last one first.
func (b *slowBroker) attach() {
	held := b.held
	b.held = nil
	for _, a := range slices.Backward(held) {
		b.Broker.Attach(a)
	}
}

// names returns the waiting topics.
func (b *slowBroker) names() string {
	var names []string
	for _, a := range b.held {
		names = append(names, string(a.Topic))
	}
	return strings.Join(names, " ")
}

func newSlowWorld(t tb, change func(*session.Config)) (*world, *slowBroker) {
	w := newWorld(t, topic.Limits{}, nil)
	b := &slowBroker{Broker: w.open(topic.Config{PerTopic: topic.Limits{Count: 100}})}
	b.attacher = broker.NewAttacher(b, broker.AttacherConfig{})
	c := session.Config{
		Topics: w.topics, Broker: &w.publisher, Attacher: b.attacher, Members: broker.Roster{Topics: w.topics, Presence: w.presence, Attacher: b.attacher}, Verifier: w.verifier,
		VerifyWorkers: &w.workers, WaitWorkers: &w.workers, Endpoints: w.endpoints(), Stats: &w.stats,
	}
	if change != nil {
		change(&c)
	}
	w.group = session.NewGroup(c, &w.loop)
	return w, b
}

// wantNothingLeft fails the test if anything of a subscription is left.
func (w *world) wantNothingLeft(t *testing.T, b *slowBroker) {
	t.Helper()
	if n := w.stats.Subscriptions.Load(); n != 0 {
		t.Errorf("%d subscriptions are left", n)
	}
	if n := w.topics.Stats().Topics; n != 0 {
		t.Errorf("%d topics are left", n)
	}
	if n := b.attacher.Waiting(); n != 0 {
		t.Errorf("%d attachments wait", n)
	}
}

// The session is busy until the topics are attached. Messages published meanwhile come
// once, after the answer.
func TestSubscribeWaitsForTheBroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, b := newSlowWorld(t, nil)
		c := w.connectJSON(t, w.token("a", "b"))
		since := w.order(pubsub.Publication{Topic: "a", Body: pubsub.Body{Data: []byte(`1`)}})
		c.say(`{"type":"subscribe","id":1,"topics":["a","b"],"since":{"a":"` + since.String() + `"}}`)
		w.publish("a", `2`)
		c.gets(t)
		if !c.s.Busy() || b.names() != "a b" {
			t.Fatalf("busy: %t, %s wait", c.s.Busy(), b.names())
		}
		b.attach()
		w.publish("a", `3`)
		w.publish("b", `before the answer`)
		c.gets(t) // the loop did not run
		c.resumed = false
		c.settle()
		if c.s.Busy() || !c.resumed {
			t.Errorf("busy: %t, resumed: %t", c.s.Busy(), c.resumed)
		}
		w.publish("b", `5`)
		got := c.received()
		if len(got) != 4 || got[0] != `{"type":"subscribed","id":1,"topics":{"a":{"position":"E:1","recovered":true,"replay":2},"b":{"position":"E:4","recovered":true,"replay":0}}}` {
			t.Fatalf("got %s", strings.Join(got, "\n"))
		}
		for _, data := range []string{`"2"`, `"3"`, `"5"`} {
			if n := strings.Count(strings.Join(got[1:], "\n"), `"data":`+data); n != 1 {
				t.Errorf("%s came %d times in %s", data, n, strings.Join(got, "\n"))
			}
		}
		c.exchange(t, []string{`{"type":"unsubscribe","id":2}`, `{"type":"unsubscribed","id":2,"topics":["a","b"]}`})
		c.leave()
	})
}

func TestTextSubscribeWaitsForTheBroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, b := newSlowWorld(t, nil)
		c := w.connect()
		c.subscribe("a")
		if !c.s.Busy() {
			t.Fatal("not busy")
		}
		b.attach()
		w.publish("a", `1`)
		c.settle()
		w.publish("a", `2`)
		c.expect(t, `2`)
		c.subscribe("b")
		b.held[0].Finish(pubsub.Errorf(pubsub.Unavailable, "the broker is away"))
		c.settle()
		c.expect(t, "Subscribe to b denied: the broker is away")
	})
}

// A session that ends at any time before its answer leaves nothing behind.
func TestEndWhileAttaching(t *testing.T) {
	ends := map[string]func(*client){
		"disconnect": (*client).leave,
		"abort":      func(c *client) { c.s.Stuck() },
		"end":        func(c *client) { c.s.End(session.End{CloseCode: wire.CloseRestart}) },
	}
	for name, end := range ends {
		for _, attached := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/attached=%t", name, attached), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w, b := newSlowWorld(t, nil)
					c := w.connectJSON(t, w.token("a", "b"))
					c.say(`{"type":"subscribe","topics":["a","b"]}`)
					if attached {
						b.attach()
					}
					end(c)
					if !attached {
						b.attach()
					}
					c.settle()
					w.wantNothingLeft(t, b)
					sent := len(c.sent)
					c.turn()
					if strings.Contains(string(c.sent[sent:])+string(c.s.Answers()), "subscribed") {
						t.Errorf("answered with %q", c.sent[sent:])
					}
					if !c.gone {
						c.leave()
					}
				})
			})
		}
	}
}

// The token is checked again when the topics are attached.
func TestTokenEndsWhileAttaching(t *testing.T) {
	for name, sign := range map[string]func(*world) string{
		"until": func(w *world) string { return w.ending("a", time.Now().Add(3*time.Second)) },
		"exp": func(w *world) string {
			w.expires = time.Now().Add(3*time.Second - time.Minute) // within the leeway
			return w.token("a")
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, b := newSlowWorld(t, nil)
				c := w.connectJSON(t, "")
				c.say(`{"type":"subscribe","topics":["a"],"token":"` + sign(w) + `"}`)
				time.Sleep(4 * time.Second)
				b.attach()
				c.settle()
				if got := strings.Join(c.received(), "\n"); !strings.HasPrefix(got, `{"type":"subscribed","topics":{},"refused":{"a":{"code":"token_expired",`) {
					t.Errorf("got %s", got)
				}
				w.wantNothingLeft(t, b)
				c.leave()
			})
		})
	}
}

// A topic that the client already has is not attached again. It keeps its cursor, and its
// messages continue.
func TestSubscribeAgainWhileAttaching(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, b := newSlowWorld(t, nil)
		c := w.connectJSON(t, "")
		both := w.token("a", "b")
		c.say(`{"type":"subscribe","topics":["a"],"token":"` + both + `"}`)
		b.attach()
		c.settle()
		c.gets(t, `{"type":"subscribed","topics":{"a":{"position":"E:0","recovered":true,"replay":0}}}`)
		c.say(`{"type":"subscribe","topics":["a","b"],"token":"` + both + `"}`)
		if b.names() != "b" {
			t.Errorf("%s wait", b.names())
		}
		w.publish("a", `1`)
		c.gets(t, `{"type":"message","topic":"a","position":"E:1","time":0,"data":"1"}`)
		w.publish("a", `2`)
		b.attach()
		c.settle()
		c.gets(t, `{"type":"subscribed","topics":{"a":{"position":"E:1","recovered":true,"replay":0},"b":{"position":"E:0","recovered":true,"replay":0}}}`,
			`{"type":"message","topic":"a","position":"E:2","time":0,"data":"2"}`)
		c.leave()
	})
}

// A subscription that ends while another topic is attached is refused in the answer.
func TestExistingSubscriptionEndsWhileAttaching(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, b := newSlowWorld(t, nil)
		c := w.connectJSON(t, "")
		c.say(`{"type":"subscribe","topics":["a"],"token":"` + w.token("a") + `"}`)
		b.attach()
		c.settle()
		c.turn()
		c.messages()
		c.say(`{"type":"subscribe","topics":["a"],"token":"` + w.ending("a", time.Now().Add(3*time.Second)) + `"}`)
		c.messages()
		c.say(`{"type":"subscribe","topics":["a","b"],"token":"` + w.user("s", "", time.Now().Add(2*time.Second)) + `"}`)
		time.Sleep(4 * time.Second)
		c.settle()
		got := strings.Join(c.received(), "\n")
		if !strings.Contains(got, `{"type":"unsubscribed","topics":["a"],"code":"token_expired"}`) {
			t.Errorf("got %s", got)
		}
		b.attach()
		c.settle()
		if got := strings.Join(c.received(), "\n"); !strings.HasPrefix(got, `{"type":"subscribed","topics":{},"refused":{`) {
			t.Errorf("got %s", got)
		}
		w.wantNothingLeft(t, b)
		c.leave()
	})
}

// All topics of a command are attached at once and answered once. Those that the broker
// does not attach in time are refused.
func TestManyTopicsAttachAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, b := newSlowWorld(t, nil)
		var names []pubsub.Topic
		for i := range 100 {
			names = append(names, pubsub.Topic(fmt.Sprintf("t%02d", i)))
		}
		c := w.connectJSON(t, w.token(names...))
		subscribe := `{"type":"subscribe","topics":["` + strings.Join(strings.Fields(strings.Trim(fmt.Sprint(names), "[]")), `","`) + `"]}`
		c.say(subscribe)
		if len(b.held) != 100 || b.attacher.Waiting() != 100 {
			t.Fatalf("%d wait", len(b.held))
		}
		late := b.held[:30]
		b.held = b.held[30:]
		b.attach()
		c.settle()
		c.gets(t)
		time.Sleep(broker.Timeout - time.Nanosecond)
		c.settle()
		c.gets(t)
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		c.settle()
		got := c.received()
		if len(got) != 1 || strings.Count(got[0], `"recovered":true`) != 70 || strings.Count(got[0], `"code":"unavailable"`) != 30 {
			t.Fatalf("got %s", got)
		}
		for _, a := range late {
			b.Broker.Attach(a)
		}
		if n := w.topics.Stats().Topics; n != 70 || b.attacher.Waiting() != 0 {
			t.Errorf("%d topics, %d attachments wait", n, b.attacher.Waiting())
		}
		c.leave()
		w.wantNothingLeft(t, b)
	})
}

// The topic limit of the connection also limits attaching topics.
func TestTopicLimitWhileAttaching(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, b := newSlowWorld(t, func(c *session.Config) { c.MaxTopics = 3 })
		c := w.connectJSON(t, w.token("a", "b", "c", "d"))
		c.say(`{"type":"subscribe","topics":["a"],"presence":true}`)
		b.attach()
		c.settle()
		c.received()
		c.say(`{"type":"subscribe","topics":["b","c","a"]}`)
		if b.names() != "b" {
			t.Errorf("%s wait", b.names())
		}
		b.attach()
		c.settle()
		if got := strings.Join(c.received(), "\n"); !strings.Contains(got, `"refused":{"c":{"code":"too_many",`) || !strings.Contains(got, `"b":{"position":`) || !strings.Contains(got, `"a":{"position":`) {
			t.Errorf("got %s", got)
		}
		c.leave()
	})
}

// A server that shuts down answers commands that wait for the broker, then tells the client
// to reconnect.
func TestDrainWhileAttaching(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, b := newSlowWorld(t, nil)
		c := w.connectJSON(t, w.token("a"))
		c.say(`{"type":"subscribe","topics":["a"]}`)
		w.group.Drain(0)
		synctest.Wait()
		c.settle()
		c.turn()
		if c.code != 0 {
			t.Fatalf("closed with %d before the answer", c.code)
		}
		b.attach()
		c.settle()
		w.publish("a", `1`)
		c.turn()
		got := strings.Join(c.messages(), "\n")
		order := []string{`"subscribed"`, `"message"`, `"bye"`}
		at := -1
		for _, kind := range order {
			next := strings.Index(got, kind)
			if next <= at {
				t.Fatalf("got %s", got)
			}
			at = next
		}
		if c.code != wire.CloseRestart {
			t.Errorf("closed with %d", c.code)
		}
		c.leave()
	})
}

// The token of a stream may expire before its session begins. Then no message is delivered.
func TestStreamBeginsAfterItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, topic.Limits{Count: 10}, nil)
		since := w.order(pubsub.Publication{Topic: "a", Body: pubsub.Body{Data: []byte("1")}})
		w.publish("a", "2")
		r := w.onTopicsUntil(time.Now(), "a", "b")
		r.Subscriptions[0].From.Since = since
		c := &client{w: w}
		c.openStream(ndjson, r)
		w.publish("b", "3")
		got := c.stream()
		if strings.Contains(got, `"message"`) || !strings.Contains(got, `{"type":"unsubscribed","topics":["a","b"],"code":"token_expired","cursor":"0"}`) || !strings.Contains(got, `"bye"`) {
			t.Errorf("got %s", got)
		}
		if n := w.stats.Subscriptions.Load(); n != 0 {
			t.Errorf("%d subscriptions are left", n)
		}
		c.leave()
	})
}

// If the broker finishes at once, nothing is posted, and subscribing allocates no more than
// without a broker that may wait.
func TestSubscribeAtOnceAllocates(t *testing.T) {
	w := newWorld(t, topic.Limits{Count: 100}, nil)
	var names []pubsub.Topic
	for i := range 13 {
		names = append(names, pubsub.Topic(fmt.Sprint(i)))
	}
	other := w.connect()
	for _, name := range names {
		other.subscribe(name)
	}
	measure := func(c *client, subscribe, unsubscribe string) (least float64) {
		c.say(subscribe)
		c.say(unsubscribe)
		c.turn()
		c.sent = nil
		first, second, clients := []byte(subscribe), []byte(unsubscribe), []*client{c}
		least = math.Inf(1)
		for range 100 { // Pools may drop their contents at any time, especially under the race detector.
			least = min(least, testing.AllocsPerRun(1, func() {
				c.s.Receive(first, false)
				c.s.Receive(second, false)
				takeAll(w, clients)
			}))
		}
		return least
	}
	quoted := func(names []pubsub.Topic) string {
		return `"` + strings.Join(strings.Fields(strings.Trim(fmt.Sprint(names), "[]")), `","`) + `"`
	}
	token := w.token(names...)
	if got := measure(w.connect(), "/subscribe 1 "+token, "/unsubscribe 1"); got > 4 {
		t.Errorf("text: %v allocations", got)
	}
	for n, most := range map[int]float64{1: 24, 3: 33, 13: 54} {
		c := w.connectJSON(t, "")
		got := measure(c, `{"type":"subscribe","id":1,"topics":[`+quoted(names[:n])+`],"last":5,"token":"`+token+`"}`, `{"type":"unsubscribe","id":2}`)
		if got > most {
			t.Errorf("JSON, %d topics: %v allocations, want at most %v", n, got, most)
		}
	}
	if w.loop.run() {
		t.Error("something was posted")
	}
}
