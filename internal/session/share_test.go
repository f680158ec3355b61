package session_test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/topic"
)

// The first bytes that a socket takes include messages of each topic, even if each topic
// alone has more.
func TestTopicsShareASlowSocket(t *testing.T) {
	topics := []pubsub.Topic{"a", "b", "c"}
	for name, connect := range map[string]func(w *world) *client{
		"text": func(w *world) *client {
			c := w.connect()
			for _, topic := range topics {
				c.subscribe(topic)
			}
			return c
		},
		"events": func(w *world) *client { return w.connectStream(sseChunk, "", false, topics...) },
	} {
		for _, size := range []int{100, 5_000} {
			w := newWorld(t, topic.Limits{}, nil)
			c := connect(w)
			for _, topic := range topics {
				for range 30_000/size + 1 {
					w.publish(topic, "of "+string(topic)+strings.Repeat("x", size))
				}
			}
			w.group.Collect()
			c.write(20_000)
			for _, topic := range topics {
				if !strings.Contains(string(c.sent), "of "+string(topic)) {
					t.Errorf("%s, messages of %d bytes: nothing of %s in %d bytes", name, size, topic, len(c.sent))
				}
			}
		}
	}
}

// However topics share a socket, and wherever it splits frames, a client gets each message
// that does not exclude it, in order and once.
func TestSharedWritesAgainstModel(t *testing.T) {
	named := regexp.MustCompile(`"connection":"([0-9a-f]{16})"`)
	message := regexp.MustCompile(`{"type":"message","topic":"(\w)","position":"[^"]*","time":\d+,"data":"(\d+) x*"`)
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(rt, topic.Limits{}, nil)
		topics := []pubsub.Topic{"a", "b", "c", "d"}[:rapid.IntRange(1, 4).Draw(rt, "topics")]
		var c *client
		if rapid.Bool().Draw(rt, "JSON") {
			c = w.connectJSON(t, w.both(topics...))
			names, _ := json.Marshal(topics)
			c.say(fmt.Sprintf(`{"type":"subscribe","topics":%s}`, names))
		} else {
			c = w.connectStream(ndjson, "", false, topics...)
		}
		c.turn()
		connection, err := pubsub.ParseConnection(string(named.FindSubmatch(c.sent)[1]))
		if err != nil {
			rt.Fatal(err)
		}
		published, want := 0, make(map[string][]string)
		rt.Repeat(map[string]func(*rapid.T){
			"publish": func(rt *rapid.T) {
				topic := rapid.SampledFrom(topics).Draw(rt, "topic")
				size := rapid.SampledFrom([]int{0, 100, 3000, 50_000}).Draw(rt, "size")
				p := pubsub.Publication{Topic: topic, Body: pubsub.Body{Data: fmt.Appendf(nil, "%d %s", published, strings.Repeat("x", size))}}
				if rapid.IntRange(0, 2).Draw(rt, "excluded") == 0 {
					p.Exclude = connection
				} else {
					want[string(topic)] = append(want[string(topic)], fmt.Sprint(published))
				}
				w.order(p)
				published++
			},
			"collect": func(*rapid.T) { w.group.Collect() },
			"write": func(rt *rapid.T) {
				c.write(rapid.SampledFrom([]int{1, 7, 100, 5000, 20_000, 100_000}).Draw(rt, "bytes"))
			},
		})
		c.turn()
		got := make(map[string][]string)
		for _, m := range message.FindAllStringSubmatch(string(c.sent), -1) {
			got[m[1]] = append(got[m[1]], m[2])
		}
		for _, topic := range topics {
			if !slices.Equal(got[string(topic)], want[string(topic)]) {
				rt.Fatalf("of %s came %v, want %v", topic, got[string(topic)], want[string(topic)])
			}
		}
	})
}
