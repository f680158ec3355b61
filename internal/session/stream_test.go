package session_test

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"

	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/session"
	"github.com/ikornaselur/notiflux/internal/topic"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// connectStream returns a client of a stream of topics that resumes at a cursor. An empty
// cursor means that it begins now.
func (w *world) connectStream(e form, cursor string, latest bool, topics ...pubsub.Topic) *client {
	var r session.Request
	var since wire.StreamCursor
	if cursor != "" {
		var err error
		if since, err = wire.ParseStreamCursor(cursor); err != nil {
			w.t.Fatalf("cursor %q: %v", cursor, err)
		}
	}
	for _, name := range topics {
		position, _ := since.Since(name)
		r.Subscriptions = append(r.Subscriptions, session.Subscription{Topic: name, From: topic.ResumePoint{Since: position}, Latest: latest})
	}
	c := &client{w: w}
	c.openStream(e, r)
	return c
}

var (
	connections = regexp.MustCompile(`"connection":"[0-9a-f]{16}"`)
	retries     = regexp.MustCompile(`retry: \d+`)
	cursors     = regexp.MustCompile(`(id: |"cursor":")[A-Za-z0-9_-]+`)
)

// stream returns the bytes since the last call, with random values and times replaced by 0.
func (c *client) stream() string {
	c.turn()
	got := string(c.sent[c.read:])
	c.read = len(c.sent)
	got = connections.ReplaceAllString(times.ReplaceAllString(got, `"time":0`), `"connection":"0"`)
	return cursors.ReplaceAllString(retries.ReplaceAllString(got, "retry: 0"), "${1}0")
}

func TestEventStream(t *testing.T) {
	w := newWorld(t, topic.Limits{Count: 10}, nil)
	c := w.connectStream(sse, "", false, "b", "a")
	w.publish("a", "line\nfeed")
	w.publish("b", "data: x")
	want := `retry: 0
event: hello
data: {"type":"hello","connection":"0","topics":{"a":{"position":"E:0","recovered":true,"replay":0},"b":{"position":"E:0","recovered":true,"replay":0}}}
id: 0

event: message
data: {"type":"message","topic":"a","position":"E:1","time":0,"data":"line\nfeed"}
id: 0

event: message
data: {"type":"message","topic":"b","position":"E:2","time":0,"data":"data: x"}
id: 0

`
	if got := c.stream(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestStreamSaysGoodbye(t *testing.T) {
	bye := "retry: N\nevent: bye\ndata: {\"type\":\"bye\",\"code\":\"draining\",\"after\":N}\n\n"
	for e, want := range map[form]string{sse: bye, sseChunk: "N\r\n" + bye + "\r\nN\r\n\r\n"} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, topic.Limits{}, nil)
			c := w.connectStream(e, "", false, "a")
			c.stream()
			w.group.Drain(0)
			synctest.Wait()
			w.loop.run()
			c.turn()
			got := regexp.MustCompile(`\d[0-9a-f]*`).ReplaceAllString(string(c.sent[c.read:]), "N")
			if got != want || c.code != wire.CloseRestart {
				t.Errorf("ended with %d: %q, want %q", c.code, got, want)
			}
		})
	}
}

func TestNDJSONStream(t *testing.T) {
	w := newWorld(t, topic.Limits{Count: 10}, nil)
	one := w.connectStream(ndjson, "", false, "a")
	two := w.connectStream(ndjson, "", false, "a", "b")
	w.publish("a", "x")
	for topics, c := range map[string]*client{
		`"a":{"position":"E:0","recovered":true,"replay":0}`:                                                    one,
		`"a":{"position":"E:0","recovered":true,"replay":0},"b":{"position":"E:0","recovered":true,"replay":0}`: two,
	} {
		want := `{"type":"hello","connection":"0","topics":{` + topics + `},"cursor":"0"}
{"type":"message","topic":"a","position":"E:1","time":0,"data":"x","cursor":"0"}
`
		if got := c.stream(); got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	}
}

func TestStreamLatest(t *testing.T) {
	w := newWorld(t, topic.Limits{Count: 3}, func(c *session.Config) { c.MaxLagBytes = 1000 })
	c := w.connectStream(ndjson, "", true, "a", "b")
	c.stream()
	w.publish("a", "cut here")
	w.group.Collect()
	c.write(10)
	for range 50 {
		w.publish("a", "skipped")
		w.publish("b", "skipped too")
		w.group.Collect()
		c.s.Tick(0)
	}
	want := `{"type":"message","topic":"a","position":"E:1","time":0,"data":"cut here","cursor":"0"}
{"type":"skipped","topic":"a","from":"E:1","to":"E:98","cursor":"0"}
{"type":"skipped","topic":"b","from":"E:0","to":"E:99","cursor":"0"}
{"type":"message","topic":"a","position":"E:100","time":0,"data":"skipped","cursor":"0"}
{"type":"message","topic":"b","position":"E:101","time":0,"data":"skipped too","cursor":"0"}
`
	if got := c.stream(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// nextFrame returns the first event or line in sent, and its size, which is 0 if the frame
// is not complete. In a chunked stream each frame is one chunk.
func nextFrame(t tb, e form, sent string) (frame string, taken int) {
	end := "\n"
	if e == sse || e == sseChunk {
		end = "\n\n"
	}
	if e == sse || e == ndjson {
		frame, _, whole := strings.Cut(sent, end)
		if !whole {
			return "", 0
		}
		return frame, len(frame) + len(end)
	}
	head, rest, whole := strings.Cut(sent, "\r\n")
	if !whole {
		return "", 0
	}
	size, err := strconv.ParseUint(head, 16, 32)
	if err != nil {
		t.Fatalf("a chunk begins with %q", head)
	}
	if len(rest) < int(size)+len("\r\n") {
		return "", 0
	}
	frame = strings.TrimSuffix(rest[:size], end)
	if rest[size:size+2] != "\r\n" || strings.Contains(frame, end) || len(frame)+len(end) != int(size) {
		t.Fatalf("a chunk is %q, want one frame and its end", rest[:size+2])
	}
	return frame, len(head) + int(size) + 2*len("\r\n")
}

// A stream of patterns has the cursors of the patterns, whoever else has encoded the messages.
func TestPatternStream(t *testing.T) {
	w := newWorld(t, topic.Limits{Count: 10}, nil)
	ab, ax := pubsub.Pattern("ab*").Topic(), pubsub.Pattern("ax*").Topic()
	literal := w.connectStream(ndjson, "", false, "abc")
	one := w.connectStream(ndjson, "", false, ab)
	two := w.connectStream(ndjson, "", false, ab, ax)
	w.publish("abc", "1")
	w.publish("other", "2")
	w.publish("axe", "3")
	w.publish("ab*", "4")
	for _, c := range []*client{literal, one, two} {
		c.turn()
	}
	message := func(name string, offset int, text string, at string) string {
		return fmt.Sprintf(`{"type":"message","topic":%q,"position":"E:%d","time":0,"data":%q,"cursor":%q}`+"\n", name, offset, text, at)
	}
	begin := func(pattern string) string { return `"` + pattern + `":{"position":"E:0","recovered":true,"replay":0}` }
	cursor := func(places ...wire.CursorPlace) string { return string(wire.AppendStreamCursor(nil, places)) }
	place := func(name pubsub.Topic, offset uint64) wire.CursorPlace {
		return wire.CursorPlace{Hash: wire.TopicHash(name), Position: pubsub.Position{Epoch: "E", Offset: offset}}
	}
	for c, want := range map[*client]string{
		literal: `{"type":"hello","connection":"0","topics":{` + begin("abc") + `},"cursor":"` + cursor(place("abc", 0)) + "\"}\n" +
			message("abc", 1, "1", cursor(place("abc", 1))),
		one: `{"type":"hello","connection":"0","topics":{},"patterns":{` + begin("ab*") + `},"cursor":"` + cursor(place(ab, 0)) + "\"}\n" +
			message("abc", 1, "1", cursor(place(ab, 1))) + message("ab*", 4, "4", cursor(place(ab, 4))),
		two: `{"type":"hello","connection":"0","topics":{},"patterns":{` + begin("ab*") + "," + begin("ax*") + `},"cursor":"` + cursor(place(ab, 0), place(ax, 0)) + "\"}\n" +
			message("abc", 1, "1", cursor(place(ab, 1), place(ax, 0))) + message("ab*", 4, "4", cursor(place(ab, 4), place(ax, 0))) + message("axe", 3, "3", cursor(place(ab, 4), place(ax, 3))),
	} {
		if got := connections.ReplaceAllString(times.ReplaceAllString(string(c.sent), `"time":0`), `"connection":"0"`); got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	}
}

// Wherever a stream breaks off, its last complete cursor leads to the next message of each
// topic: nothing is missing, and nothing comes twice. The same holds for patterns.
func TestStreamsResumeAgainstModel(t *testing.T) {
	cursor := regexp.MustCompile(`(?m)(?:^id: |"cursor":")([A-Za-z0-9_-]+)`)
	message := regexp.MustCompile(`"topic":"(\w)","position":"E:(\d+)"`)
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t, topic.Limits{}, nil)
		e := rapid.SampledFrom([]form{sse, sseChunk, ndjson, ndjsonChunk}).Draw(t, "encoding")
		topics := []pubsub.Topic{"a", "b", "c", "d"}[:rapid.IntRange(1, 4).Draw(t, "topics")]
		reads := topics
		if n := rapid.IntRange(0, 2).Draw(t, "patterns"); n > 0 {
			reads = []pubsub.Topic{pubsub.Pattern("*").Topic()}
			if n == 2 {
				reads = nil
				for _, name := range topics {
					reads = append(reads, pubsub.Pattern(name+"*").Topic())
				}
			}
		}
		c := w.connectStream(e, "", false, reads...)
		last := ""
		var want, got [4][]string // by topic
		read := func(t *rapid.T) {
			for {
				frame, n := nextFrame(t, e, string(c.sent[c.read:]))
				if n == 0 {
					return
				}
				c.read += n
				last = cursor.FindStringSubmatch(frame)[1]
				if m := message.FindStringSubmatch(frame); m != nil && !strings.Contains(frame, "hello") {
					got[m[1][0]-'a'] = append(got[m[1][0]-'a'], m[2])
				}
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"publish": func(t *rapid.T) {
				i := rapid.IntRange(0, len(topics)-1).Draw(t, "topic")
				p := w.order(pubsub.Publication{Topic: topics[i], Body: pubsub.Body{Data: []byte(strings.Repeat("x", rapid.SampledFrom([]int{0, 100, 3000}).Draw(t, "size")))}})
				want[i] = append(want[i], fmt.Sprint(p.Offset))
			},
			"collect": func(*rapid.T) { w.group.Collect() },
			"write": func(t *rapid.T) {
				c.write(rapid.SampledFrom([]int{1, 7, 100, 5000, 70_000, 1 << 20}).Draw(t, "bytes"))
				read(t)
			},
			"cut": func(t *rapid.T) {
				if last != "" {
					c.leave()
					c = w.connectStream(e, last, false, reads...)
				}
			},
		})
		c.turn()
		read(t)
		for i, topic := range topics {
			if fmt.Sprint(got[i]) != fmt.Sprint(want[i]) {
				t.Fatalf("topic %s: got %v, want %v", topic, got[i], want[i])
			}
		}
	})
}
