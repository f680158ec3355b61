package session_test

import (
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/session"
	"github.com/ikornaselur/notiflux/internal/topic"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// A cursor left anywhere would keep all later messages of its topic in memory.
func TestNothingDeliveredIsKept(t *testing.T) {
	for name, meet := range map[string]func(w *world, c *client){
		"left after a message": func(w *world, c *client) {
			c.say("/subscribe a " + w.token("a"))
			w.publish("a", "the only one")
			c.turn()
			c.leave()
		},
		"unsubscribed after a message": func(w *world, c *client) {
			c.say("/subscribe a " + w.token("a"))
			w.publish("a", "the only one")
			c.turn()
			c.say("/unsubscribe a")
		},
		"read several topics at once, then one": func(w *world, c *client) {
			for _, topic := range []pubsub.Topic{"b", "a"} {
				c.subscribe(topic)
				w.publish(topic, "one of several")
			}
			c.turn()
			w.publish("b", "alone")
			c.turn()
		},
		"cut in a message": func(w *world, c *client) {
			c.say("/subscribe a " + w.token("a"))
			w.publish("a", "one")
			w.publish("a", "two")
			w.group.Collect()
			c.write(7)
			c.leave()
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, topic.Limits{Count: 1}, nil)
			c := w.connect()
			meet(w, c)
			later := []byte(strings.Repeat("x", 1000))
			kept := weak.Make(&later[0])
			w.order(pubsub.Publication{Topic: "a", Body: pubsub.Body{Data: later}})
			later = nil
			w.publish("a", "now the history has only this one")
			if !c.gone {
				c.turn()
				w.group.Collect() // as each further message does
			}
			runtime.GC()
			if kept.Value() != nil {
				t.Error("a message that everybody got and no history holds is still held")
			}
			runtime.KeepAlive(w)
			runtime.KeepAlive(c)
		})
	}
}

// The answer to a repeated subscribe has the current position of the client, not the one
// after the skip.
func TestSubscribingAgainWhileBehind(t *testing.T) {
	w := newWorld(t, topic.Limits{Count: 1}, nil)
	c := w.connectJSON(t, w.both("a"))
	c.exchange(t, []string{`{"type":"subscribe","topics":["a"],"mode":"latest"}`, `{"type":"subscribed","topics":{"a":{"position":"E:0","recovered":true,"replay":0}}}`})
	w.publish("a", "cut")
	w.group.Collect()
	c.write(5)
	for range 3 {
		w.publish("a", "skipped")
	}
	w.group.Collect()
	c.s.Tick(0) // The client is behind, and jumps.
	c.say(`{"type":"subscribe","topics":["a"],"mode":"latest"}`)
	c.gets(t,
		`{"type":"message","topic":"a","position":"E:1","time":0,"data":"cut"}`,
		`{"type":"subscribed","topics":{"a":{"position":"E:1","recovered":true,"replay":0}}}`,
		`{"type":"skipped","topic":"a","from":"E:1","to":"E:3"}`,
		`{"type":"message","topic":"a","position":"E:4","time":0,"data":"skipped"}`,
	)
}

// The cursor in an unsubscribed event also has the client's position in the topic that
// ended.
func TestTheCursorOfAnEnd(t *testing.T) {
	for blocked, want := range map[bool]uint64{false: 2, true: 1} {
		for _, topics := range [][]pubsub.Topic{{"a"}, {"a", "b"}} {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, topic.Limits{Count: 10}, nil)
				c := &client{w: w}
				c.openStream(ndjson, w.onTopicsUntil(time.Now().Add(time.Second), topics...))
				w.publish("a", "one")
				c.turn()
				w.publish("a", "two")
				w.group.Collect()
				c.s.Next()
				if blocked {
					c.s.Wrote(0)
				} else {
					c.turn()
				}
				time.Sleep(time.Second)
				synctest.Wait()
				w.loop.run()
				c.turn()
				_, end, _ := strings.Cut(string(c.sent), `"unsubscribed"`)
				_, end, _ = strings.Cut(end, `"cursor":"`)
				end, _, _ = strings.Cut(end, `"`)
				cursor, err := wire.ParseStreamCursor(end)
				if err != nil {
					t.Fatalf("%v in %s", err, c.sent)
				}
				if got, ok := cursor.Since("a"); !ok || got.Offset != want {
					t.Errorf("%d topics, blocked %t: the cursor is at %v, want offset %d", len(topics), blocked, got, want)
				}
			})
		}
	}
}

// A client that connects while the server drains is closed like the others. A client that
// waits for an answer gets it first.
func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, topic.Limits{}, nil)
		w.publisher.holds = true
		waits := w.connectJSON(t, w.both("a"))
		waits.s.Receive([]byte(`{"type":"broadcast","topic":"a","message":"x","id":7}`), false)
		w.group.Drain(0)
		time.Sleep(time.Second)
		synctest.Wait()
		w.loop.run()
		waits.turn()
		if waits.code != 0 {
			t.Fatal("closed before the answer")
		}
		w.publisher.release()
		waits.settle()
		waits.turn()
		all := waits.messages()
		if len(all) != 2 || all[0] != `{"type":"broadcasted","id":7,"topic":"a","position":"E:1"}` || !strings.HasPrefix(all[1], `{"type":"bye","code":"draining",`) {
			t.Errorf("answered with %q", all)
		}
		late := w.connect()
		w.loop.run()
		late.turn()
		for name, c := range map[string]*client{"waited": waits, "late": late} {
			if c.code != wire.CloseRestart {
				t.Errorf("%s: close code %d, want %d", name, c.code, wire.CloseRestart)
			}
		}
	})
}

// A broadcast that panics is answered, and the connection continues.
func TestABroadcastThatPanics(t *testing.T) {
	w := newWorld(t, topic.Limits{}, func(c *session.Config) { c.Broker = panicking{} })
	c := w.connectJSON(t, w.both("a"))
	c.s.Receive([]byte(`{"type":"broadcast","topic":"a","message":"x","id":1}`), false)
	got := c.received()
	if len(got) != 1 || !strings.Contains(got[0], `"code":"internal"`) || c.s.Busy() {
		t.Errorf("got %q, busy %t", got, c.s.Busy())
	}
	c.exchange(t, []string{`{"type":"ping"}`, `{"type":"pong"}`})
}

type panicking struct{ session.Broker }

func (panicking) Publish([]pubsub.Publication, func()) bool { panic("told to") }
