package session_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/session"
	"github.com/ikornaselur/notiflux/internal/topic"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// lose puts a gap up to offset n into topic a.
func (w *world) lose(n uint64) {
	w.topics.Gap("a", pubsub.Position{Epoch: "E", Offset: n})
	w.offset = n
}

// events matches the events of topic a, in part.
var events = regexp.MustCompile(`"type":"(message|gap|skipped)","topic":"a","(?:position|from)":"E:(\d+)"(?:,"to":"E:(\d+)")?`)

func (c *client) told() string {
	var all []string
	for _, m := range events.FindAllStringSubmatch(string(c.sent), -1) {
		all = append(all, strings.TrimSpace(m[1]+" "+m[2]+" "+m[3]))
	}
	return strings.Join(all, ", ")
}

// Wherever its socket splits frames, a client gets a gap in the right place.
func TestGapsComeInTheirPlace(t *testing.T) {
	for name, connect := range map[string]func(w *world) *client{
		"JSON": func(w *world) *client {
			c := w.connectJSON(t, w.both("a"))
			c.say(`{"type":"subscribe","topics":["a"]}`)
			return c
		},
		"JSON, several topics": func(w *world) *client {
			c := w.connectJSON(t, w.both("a", "b"))
			c.say(`{"type":"subscribe","topics":["b","a"]}`)
			return c
		},
		"events":                 func(w *world) *client { return w.connectStream(sseChunk, "", false, "a") },
		"events, several topics": func(w *world) *client { return w.connectStream(sse, "", false, "a", "b") },
		"lines":                  func(w *world) *client { return w.connectStream(ndjson, "", false, "a") },
		"lines, several topics":  func(w *world) *client { return w.connectStream(ndjsonChunk, "", false, "a", "b") },
	} {
		t.Run(name, func(t *testing.T) {
			for cut := 0; cut < 700; cut += 3 {
				w := newWorld(t, topic.Limits{}, nil)
				c := connect(w)
				c.turn()
				w.publish("a", "1")
				w.publish("b", "2")
				w.publish("a", "3")
				w.group.Collect()
				c.write(cut)
				w.lose(10)
				w.lose(20)
				w.publish("b", "21")
				w.publish("a", "22")
				w.group.Collect()
				c.write(100)
				w.lose(30)
				w.publish("a", "31")
				c.turn()
				if got, want := c.told(), "message 1, message 3, gap 10, gap 20, message 22, gap 30, message 31"; got != want {
					t.Fatalf("cut at %d: got %s, want %s", cut, got, want)
				}
			}
		})
	}
}

// A stream that breaks after a gap resumes after the gap.
func TestTheCursorOfAGap(t *testing.T) {
	cursor := regexp.MustCompile(`"type":"gap".*"cursor":"([A-Za-z0-9_-]+)"`)
	for _, topics := range [][]pubsub.Topic{{"a"}, {"a", "b"}} {
		w := newWorld(t, topic.Limits{}, nil)
		c := w.connectStream(ndjson, "", false, topics...)
		w.publish("a", "1")
		w.lose(10)
		w.publish("a", "11")
		c.turn()
		c.leave()
		again := w.connectStream(ndjson, cursor.FindStringSubmatch(string(c.sent))[1], false, topics...)
		again.turn()
		if got := again.told(); got != "message 11" || !strings.Contains(string(again.sent), `"a":{"position":"E:10","recovered":true,"replay":1}`) {
			t.Errorf("%d topics: got %s in %s", len(topics), got, again.sent)
		}
	}
}

// A topic with many unread messages does not delay a gap in another topic.
func TestAGapDoesNotWaitForOtherTopics(t *testing.T) {
	w := newWorld(t, topic.Limits{}, nil)
	c := w.connectJSON(t, w.both("a", "b"))
	c.say(`{"type":"subscribe","topics":["a","b"]}`)
	c.turn()
	for range 100 {
		w.publish("b", strings.Repeat("x", 10_000))
	}
	w.lose(1000)
	w.group.Collect()
	c.write(150_000)
	if got := c.told(); got != "gap 1000" {
		t.Errorf("got %q in the first %d bytes", got, len(c.sent))
	}
}

// The text protocol cannot express a gap: its clients are closed, at different times, so
// that they load their state again.
func TestTextClientsAreClosedAtAGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, topic.Limits{}, nil)
		var clients []*client
		for range 100 {
			c := w.connect()
			c.subscribe("a")
			clients = append(clients, c)
		}
		other := w.connect()
		other.subscribe("b")
		w.publish("a", "1")
		w.lose(10)
		w.lose(20)
		w.publish("a", "21")
		w.publish("b", "22")
		for _, c := range clients {
			c.turn()
		}
		closed := func() (n int) {
			synctest.Wait()
			w.loop.run()
			for _, c := range clients {
				if c.code == wire.CloseRestart {
					n++
				}
			}
			return n
		}
		if n := closed(); n > 5 {
			t.Errorf("%d clients are closed at once", n)
		}
		time.Sleep(1500 * time.Millisecond)
		if n := closed(); n < 20 || n > 80 {
			t.Errorf("%d of 100 clients are closed after half the time", n)
		}
		time.Sleep(1500 * time.Millisecond)
		if n := closed(); n != len(clients) {
			t.Errorf("%d clients are closed in the end", n)
		}
		for _, c := range clients {
			if got := fmt.Sprint(c.messages()); got != "[1 21]" {
				t.Fatalf("a client got %s", got)
			}
			c.leave()
		}
		other.expect(t, "22")
		if other.code != 0 {
			t.Errorf("a client of another topic is closed with %d", other.code)
		}
	})
}

// A client in mode latest that skips a gap gets the gap first, and then the skip after it.
func TestLatestSkipsNoGapSilently(t *testing.T) {
	for after, want := range map[int]string{
		1: "message 1, gap 10, message 11",
		3: "message 1, gap 10, skipped 10 12, message 13",
	} {
		w := newWorld(t, topic.Limits{Count: 3}, func(c *session.Config) { c.MaxLagBytes = 1000 })
		c := w.connectStream(ndjson, "", true, "a", "b")
		c.turn()
		w.publish("a", "1")
		w.group.Collect()
		c.write(10)
		for range 3 {
			w.publish("a", "skipped")
		}
		w.lose(10)
		for range after {
			w.publish("a", "new")
		}
		w.group.Collect()
		c.s.Tick(0)
		c.turn()
		if got := c.told(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
