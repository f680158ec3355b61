package session_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/session"
	"github.com/ikornaselur/notiflux/internal/topic"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// A custom dialect does what the test defines. It counts the entries that its encoder got,
// and cannot express any of them.
type custom struct {
	open    func(*session.Session)
	gap     func(*session.Session, pubsub.Topic)
	encoded *int
}

func (custom) Receive(*session.Session, []byte, bool) {}
func (d custom) Gap(s *session.Session, name pubsub.Topic, _ pubsub.Position) {
	if d.gap != nil {
		d.gap(s, name)
	}
}
func (custom) Skipped(*session.Session, pubsub.Topic, pubsub.Position, pubsub.Position) {}
func (custom) Unsubscribed(*session.Session, []pubsub.Topic, pubsub.Code)               {}
func (custom) AppendWithCursor(dst, frame, _ []byte) []byte                             { return append(dst, frame...) }
func (custom) Goodbye(_ *session.Session, e session.End) ([]byte, wire.CloseCode, string) {
	return wire.AppendText(nil, []byte("bye")), e.CloseCode, e.Reason
}

func (d custom) Encode(*topic.Entry) []byte {
	if d.encoded != nil {
		*d.encoded++
	}
	return nil
}

// connectCustom returns a client of a custom dialect in a new world.
func connectCustom(t *testing.T, d custom, change func(*session.Config), names ...pubsub.Topic) (*world, *client) {
	t.Helper()
	e := &session.Endpoint{
		Subprotocol: "custom",
		Encoding:    session.Encoding{Name: "custom", New: func() session.Encoder { return d }},
		Open: func(s *session.Session, _ session.Request) session.Dialect {
			if d.open != nil {
				d.open(s)
			}
			return d
		},
	}
	var r session.Request
	if len(names) > 0 {
		e.Subprotocol, e.Path, r = "", "/custom", onTopics(names...)
	}
	w := newWorld(t, topic.Limits{Count: 1 << 20}, func(c *session.Config) {
		c.Endpoints = append(c.Endpoints, e)
		if change != nil {
			change(c)
		}
	})
	c := &client{w: w}
	for _, name := range names {
		pin, err := w.topics.Open(name, pubsub.Position{}, topic.ResumePoint{})
		if err != nil {
			t.Fatal(err)
		}
		r.Pins = append(r.Pins, pin)
	}
	r.Claims = w.claims()
	c.s = w.group.Open(c, e, r)
	return w, c
}

// credential returns the credential of a token for topics.
func (w *world) credential(topics ...pubsub.Topic) session.Credential {
	w.t.Helper()
	claims, err := w.verifier.Verify(auth.Token(w.both(topics...)))
	if err != nil {
		w.t.Fatal(err)
	}
	return session.Credential{Claims: claims}
}

// subscribeAll subscribes c without a command, and returns the outcomes.
func (c *client) subscribeAll(credential session.Credential, names ...pubsub.Topic) (all []session.Subscribed) {
	c.w.t.Helper()
	subs := make([]session.Subscription, len(names))
	for i, name := range names {
		subs[i].Topic = name
	}
	c.s.Subscribe(credential, subs, func(_ *session.Session, results []session.Subscribed) {
		all = append(all, results...)
	})
	return all
}

// If a dialect ends a session in Open, the client gets the goodbye after the queued bytes.
func TestEndInOpen(t *testing.T) {
	refusal := session.End{CloseCode: 4001, Reason: "no such app"}
	for name, open := range map[string]func(*session.Session){
		"End": func(s *session.Session) { s.End(refusal) },
		"twice": func(s *session.Session) {
			s.End(refusal)
			s.End(session.End{CloseCode: 4002})
			s.EndWhenDelivered(&session.End{CloseCode: 4003})
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, c := connectCustom(t, custom{open: open}, nil)
			if c.code != 4001 || len(c.messages()) != 1 {
				t.Errorf("closed with %d, %q; want 4001 and the goodbye", c.code, c.sent)
			}
			if all := c.subscribeAll(w.credential("a"), "a"); len(all) != 0 {
				t.Errorf("subscribed to %v after the end", all)
			}
		})
	}
}

func TestTooManyCommandsInOpen(t *testing.T) {
	open := func(s *session.Session) {
		for s.Allow() {
		}
	}
	_, c := connectCustom(t, custom{open: open}, func(c *session.Config) { c.CommandBurst = 1 })
	if c.code != wire.CloseTooMany {
		t.Errorf("closed with %d, want %d", c.code, wire.CloseTooMany)
	}
}

// A dialect that ends subscriptions inside Gap gets no further gap for them, and all other
// topics get their turn.
func TestDialectUnsubscribesAtAGap(t *testing.T) {
	for name, end := range map[string]func(*session.Session, pubsub.Topic){
		"one": func(s *session.Session, name pubsub.Topic) { s.Unsubscribe(name) },
		"all": func(s *session.Session, _ pubsub.Topic) { s.UnsubscribeAll() },
	} {
		t.Run(name, func(t *testing.T) {
			var gaps []pubsub.Topic
			w, c := connectCustom(t, custom{gap: func(s *session.Session, name pubsub.Topic) {
				gaps = append(gaps, name)
				end(s, name)
			}}, nil)
			other := w.connect() // It keeps the topics in memory.
			for _, name := range []pubsub.Topic{"a", "b"} {
				other.subscribe(name)
			}
			c.subscribeAll(w.credential("a", "b"), "a", "b")
			w.publish("a", "x")
			w.publish("b", "x")
			c.turn()
			for range 2 {
				for _, name := range []pubsub.Topic{"a", "b"} {
					w.offset += 5
					w.topics.Gap(name, pubsub.Position{Epoch: "E", Offset: w.offset})
				}
			}
			for w.group.Collect() {
			}
			c.s.Next() // One call is enough.
			want := "[a b]"
			if name == "all" {
				want = "[a]"
			}
			if fmt.Sprint(gaps) != want || len(c.s.Topics()) != 0 {
				t.Errorf("gaps of %v, left %v; want %s and no topic", gaps, c.s.Topics(), want)
			}
		})
	}
}

func TestSubscribeToATopicTwice(t *testing.T) {
	w := newWorld(t, topic.Limits{Count: 100}, nil)
	c := w.connect()
	all := c.subscribeAll(w.credential("a", "b"), "a", "b", "a")
	if len(all) != 3 || all[0].Err != nil || all[2].Err != nil {
		t.Fatalf("subscribed: %v, want no error", all)
	}
	w.publish("a", "x")
	c.expect(t, "x")
	if n := w.stats.Subscriptions.Load(); n != 2 {
		t.Errorf("%d subscriptions, want 2", n)
	}
	c.s.Unsubscribe("a")
	w.publish("a", "y")
	c.expect(t)
}

func TestSubscribeToATopicTwiceWaitsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, b := newSlowWorld(t, nil)
		c := w.connect()
		var errs []error
		c.s.Subscribe(w.credential("a"), []session.Subscription{{Topic: "a"}, {Topic: "a"}}, func(_ *session.Session, results []session.Subscribed) {
			for _, r := range results {
				errs = append(errs, r.Err)
			}
		})
		b.attach()
		c.settle()
		if fmt.Sprint(errs) != "[<nil> <nil>]" || w.stats.Subscriptions.Load() != 1 {
			t.Errorf("outcomes %v, %d subscriptions; want no error and 1", errs, w.stats.Subscriptions.Load())
		}
		c.leave()
		w.wantNothingLeft(t, b)
	})
}

// A command that waits when the session ends is not answered.
func TestNoAnswerAfterTheEnd(t *testing.T) {
	for name, command := range map[string]string{
		"auth":      `{"type":"auth","id":1,"token":%q}`,
		"broadcast": `{"type":"broadcast","id":1,"topic":"a","message":"m","token":%q}`,
		"subscribe": `{"type":"subscribe","id":1,"topics":["a"],"token":%q}`,
		"history":   `{"type":"history","id":1,"topic":"a","token":%q}`,
		"presence":  `{"type":"presence","id":1,"topic":"a","token":%q}`,
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, topic.Limits{Count: 100}, nil)
			c := w.connectJSON(t, "")
			c.turn()
			c.s.Receive(fmt.Appendf(nil, command, w.both("a")), false)
			c.s.End(session.End{Code: pubsub.Draining, CloseCode: wire.CloseRestart})
			c.settle()
			if p := c.s.Answers(); len(p) > 0 {
				t.Errorf("answered with %q", p)
			}
			if c.s.Busy() {
				t.Error("the session stays busy")
			}
		})
	}
}

// A call of Next encodes no more than about a batch of messages, even if none of them has a
// frame.
func TestStreamOfInexpressibleMessagesTakesTurns(t *testing.T) {
	encoded := 0
	w, c := connectCustom(t, custom{encoded: &encoded}, nil, "a", "b")
	data := strings.Repeat("x", 1000)
	for range 1000 {
		w.publish("a", data)
	}
	for w.group.Collect() {
	}
	turns := 0
	for ; ; turns++ {
		c.dirty = false
		before := encoded
		if p := c.s.Next(); len(p) > 0 {
			t.Fatalf("wrote %q", p)
		}
		if n := encoded - before; n > 2*topic.MaxBatch/len(data) {
			t.Fatalf("one call encoded %d messages", n)
		}
		if !c.dirty {
			break
		}
	}
	if encoded != 1000 || turns < 10 {
		t.Errorf("encoded %d messages in %d turns, want all 1000 in many", encoded, turns)
	}
}

// A message to a stream of several topics costs no extra allocation.
func TestStreamOfSeveralTopicsAllocatesPerMessageOnly(t *testing.T) {
	w := newWorld(t, topic.Limits{Count: 100}, nil)
	var clients []*client
	for range 50 {
		c := w.connectStream(sse, "", false, "a", "b")
		c.turn()
		clients = append(clients, c)
	}
	got := testing.AllocsPerRun(100, func() {
		w.publish("a", "x")
		takeAll(w, clients)
	})
	// As for one topic: see TestDeliveryAllocatesPerMessageOnly.
	if got > 5 {
		t.Errorf("%v allocations for a message to 50 streams, want at most 5", got)
	}
}

// Every subscribe command chooses the topic that is written first, if the connection has a
// name.
func TestSubscribeRotates(t *testing.T) {
	orders := map[bool]int{}
	for range 40 {
		w := newWorld(t, topic.Limits{Count: 100}, nil)
		c := w.connectJSON(t, w.both("a", "b", "c"))
		c.say(`{"type":"subscribe","topics":["a","b"]}`)
		c.turn()
		w.publish("a", "1")
		w.publish("b", "2")
		w.group.Collect()
		c.say(`{"type":"subscribe","topics":["c"]}`)
		c.turn()
		all := strings.Join(c.messages(), "")
		orders[strings.Index(all, `"data":"1"`) < strings.Index(all, `"data":"2"`)]++
	}
	if len(orders) != 2 {
		t.Errorf("the order of two topics was always the same: %v", orders)
	}
}
