package session_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/topic"
)

// A session passes messages that it does not get in parts, so that other sessions of its
// loop get their turn in between. It gets the messages after them.
func TestExcludedMessagesArePassedInParts(t *testing.T) {
	for name, connect := range map[string]func(w *world) *client{
		"JSON": func(w *world) *client {
			c := w.connectJSON(t, w.both("a"))
			c.say(`{"type":"subscribe","topics":["a"]}`)
			return c
		},
		"JSON, several topics": func(w *world) *client {
			c := w.connectJSON(t, w.both("a", "b"))
			c.say(`{"type":"subscribe","topics":["a","b"]}`)
			return c
		},
		"events":                 func(w *world) *client { return w.connectStream(sse, "", false, "a") },
		"events, several topics": func(w *world) *client { return w.connectStream(sse, "", false, "a", "b") },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, topic.Limits{}, nil)
			c := connect(w)
			c.turn()
			connection, err := pubsub.ParseConnection(regexp.MustCompile(`"connection":"([0-9a-f]{16})"`).FindStringSubmatch(string(c.sent))[1])
			if err != nil {
				t.Fatal(err)
			}
			for range 10_000 {
				for _, topic := range []pubsub.Topic{"a", "b"} {
					w.order(pubsub.Publication{Topic: topic, Body: pubsub.Body{Data: []byte("x")}, Exclude: connection})
				}
			}
			w.publish("a", "for everybody")
			before := len(c.sent)
			turns := 0
			for c.dirty = true; c.dirty; turns++ {
				c.dirty = false
				c.turn()
			}
			if turns < 5 || turns > 50 {
				t.Errorf("10,000 messages were passed in %d parts", turns)
			}
			if got := string(c.sent[before:]); strings.Count(got, "for everybody") != 1 || strings.Contains(got, `"x"`) {
				t.Errorf("got %q, want one message", got)
			}
		})
	}
}
