package memory_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/ikornaselur/notiflux/internal/broker"
	"github.com/ikornaselur/notiflux/internal/broker/memory"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/topic"
)

type nobody struct{ _ byte }

func (*nobody) Wake() {}

// A patternNode is a memory broker with its topics, and a model of it: the messages published so far, and
// what the pattern topics must hold.
type patternNode struct {
	broker *memory.Broker
	topics *topic.Topics
	now    time.Time
	all    []pubsub.Publication // in the order of their offsets
	live   map[pubsub.Pattern]*livePattern
}

type livePattern struct {
	floor   uint64 // offsets after it are covered
	opened  uint64
	held    []pubsub.Publication
	readers int
	unused  time.Time
}

// A patternReader reads a pattern topic.
type patternReader struct {
	listener nobody
	pattern  pubsub.Pattern
	topic    *topic.Topic
	cursor   topic.Cursor
	last     uint64 // offset up to which it has everything
}

const messageBytes = 150_000 // seven of them fill a pattern topic

func (n *patternNode) publish(t *rapid.T, name pubsub.Topic) {
	ps := []pubsub.Publication{{Topic: name, Body: pubsub.Body{Data: fmt.Appendf(make([]byte, messageBytes), "%d", len(n.all))}}}
	if n.broker.Publish(ps, nil); ps[0].Err != nil {
		t.Fatal(ps[0].Err)
	}
	n.all = append(n.all, ps[0])
	for p, l := range n.live {
		if !p.Matches(name) {
			continue
		}
		for l.held = append(l.held, ps[0]); len(l.held) > 6; l.held = l.held[1:] {
			l.floor = l.held[0].Position.Offset
		}
	}
}

func (n *patternNode) newest() uint64 {
	if len(n.all) == 0 {
		return 0
	}
	return n.all[len(n.all)-1].Position.Offset
}

func (n *patternNode) subscribe(t *rapid.T, p pubsub.Pattern, since pubsub.Position) *patternReader {
	a := broker.Attachment{Topic: p.Topic(), From: topic.ResumePoint{Since: since}}
	n.broker.Attach(&a)
	pin, err := a.Take()
	if err != nil {
		t.Fatal(err)
	}
	l := n.live[p]
	if l == nil {
		l = &livePattern{floor: n.newest(), opened: n.newest()}
		n.live[p] = l
	}
	l.readers++
	r := &patternReader{pattern: p}
	var resumed topic.Resumed
	r.topic, resumed = pin.Join(&r.listener)
	r.cursor, r.last = resumed.Cursor, resumed.Position.Offset
	head := l.opened
	if len(l.held) > 0 {
		head = l.held[len(l.held)-1].Position.Offset
	}
	head = max(head, l.floor)
	if since == (pubsub.Position{}) {
		since.Offset = head
	}
	want := since.Offset >= l.floor && since.Offset <= head
	if resumed.Recovered != want {
		t.Fatalf("%s after %d: recovered = %v; the topic begins after %d and ends with %d", p, since.Offset, resumed.Recovered, l.floor, head)
	}
	if !want {
		since.Offset = head
	}
	after := 0
	for _, x := range n.all {
		if x.Position.Offset > since.Offset && p.Matches(x.Topic) {
			after++
		}
	}
	if r.last != since.Offset || resumed.Replay != after {
		t.Fatalf("%s after %d: %+v; %d messages follow", p, since.Offset, resumed, after)
	}
	return r
}

// read reads up to most messages, and compares them with everything that was published.
func (n *patternNode) read(t *rapid.T, r *patternReader, most int) {
	for _, want := range n.all {
		if want.Position.Offset <= r.last || !r.pattern.Matches(want.Topic) {
			continue
		}
		if most--; most < 0 {
			return
		}
		entry, next, ok := r.cursor.Next()
		if !ok {
			t.Fatalf("%s: nothing follows %d; want %v", r.pattern, r.last, want.Position)
		}
		m := entry.Message()
		if m.Topic != want.Topic || m.Position != want.Position || &m.Body.Data[0] != &want.Body.Data[0] {
			t.Fatalf("%s: got %s %v after %d, want %s %v", r.pattern, m.Topic, m.Position, r.last, want.Topic, want.Position)
		}
		r.cursor, r.last = next, m.Position.Offset
		if next.Position() != m.Position {
			t.Fatalf("%s: the position after %v is %v", r.pattern, m.Position, next.Position())
		}
	}
	if !r.cursor.AtTail() {
		t.Fatalf("%s: more than was published follows %d", r.pattern, r.last)
	}
}

func TestPatternTopicsAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := &patternNode{now: time.Now(), live: make(map[pubsub.Pattern]*livePattern)}
		n.broker, n.topics = memory.New(memory.Config{Epoch: "E"}, topic.Config{PerTopic: topic.Limits{Count: 2}, Now: func() time.Time { return n.now }})
		names := rapid.SampledFrom([]pubsub.Topic{"a", "ab", "abc", "abd", "b", "*"})
		patterns := rapid.SampledFrom([]pubsub.Pattern{"a*", "ab*", "abc*", "abcd*", "b*", "**"})
		var readers []*patternReader
		any := func(t *rapid.T) int {
			if len(readers) == 0 {
				t.Skip("no readers")
			}
			return rapid.IntRange(0, len(readers)-1).Draw(t, "reader")
		}
		t.Repeat(map[string]func(*rapid.T){
			"publish": func(t *rapid.T) { n.publish(t, names.Draw(t, "topic")) },
			"subscribe": func(t *rapid.T) {
				readers = append(readers, n.subscribe(t, patterns.Draw(t, "pattern"), pubsub.Position{}))
			},
			"read": func(t *rapid.T) { n.read(t, readers[any(t)], rapid.IntRange(0, 3).Draw(t, "most")) },
			"resume": func(t *rapid.T) {
				i := any(t)
				r, l := readers[i], n.live[readers[i].pattern]
				n.topics.Leave(r.topic, &r.listener)
				if l.readers--; l.readers == 0 {
					l.unused = n.now
				}
				away := rapid.SampledFrom([]time.Duration{0, time.Second, 6 * time.Minute}).Draw(t, "away")
				n.now = n.now.Add(away)
				n.topics.Sweep()
				for p, l := range n.live {
					if l.readers == 0 && n.now.Sub(l.unused) > 5*time.Minute {
						delete(n.live, p)
					}
				}
				for range rapid.IntRange(0, 9).Draw(t, "meanwhile") {
					n.publish(t, names.Draw(t, "topic"))
				}
				readers[i] = n.subscribe(t, r.pattern, pubsub.Position{Epoch: "E", Offset: r.last})
			},
			"": func(t *rapid.T) {
				if stats := n.topics.Stats(); int(stats.Appended) != len(n.all) {
					t.Fatalf("%d messages are counted, %d were published", stats.Appended, len(n.all))
				}
			},
		})
		for _, r := range readers {
			n.read(t, r, len(n.all))
		}
	})
}

// While messages are published, a pattern topic has every message after the moment when it
// became live, in order.
func TestPatternTopicsMissNothingWhilePublishersRun(t *testing.T) {
	b, topics := memory.New(memory.Config{Epoch: "E"}, topic.Config{})
	var publishers sync.WaitGroup
	const each = 2000
	all := make([][]pubsub.Publication, 4)
	for i := range all {
		publishers.Go(func() {
			for k := range each {
				ps := []pubsub.Publication{{Topic: pubsub.Topic(fmt.Sprintf("t%d:%d", k%3, i)), Body: pubsub.Body{Data: []byte{1}}}}
				b.Publish(ps, nil)
				all[i] = append(all[i], ps[0])
			}
		})
	}
	type reading struct {
		pattern pubsub.Pattern
		resumed topic.Resumed
	}
	var readings []reading
	for i := range 40 {
		p := pubsub.Pattern(fmt.Sprintf("t%d:*", i%3))
		if i%4 == 3 {
			p = pubsub.Pattern(fmt.Sprintf("t%d:%d*", i%3, i%4))
		}
		pin, err := topics.Open(p.Topic(), pubsub.Position{}, topic.ResumePoint{})
		if err != nil {
			t.Fatal(err)
		}
		_, resumed := pin.Join(new(nobody))
		readings = append(readings, reading{p, resumed})
	}
	publishers.Wait()
	published := slices.Concat(all...)
	slices.SortFunc(published, func(a, b pubsub.Publication) int { return int(a.Position.Offset) - int(b.Position.Offset) })
	for _, r := range readings {
		c := r.resumed.Cursor
		for _, want := range published {
			if want.Position.Offset <= r.resumed.Position.Offset || !r.pattern.Matches(want.Topic) {
				continue
			}
			entry, next, ok := c.Next()
			if !ok || entry.Message().Position != want.Position || entry.Message().Topic != want.Topic {
				t.Fatalf("%s after %v: got %v, %v, want %s %v", r.pattern, c.Position(), ok, entry, want.Topic, want.Position)
			}
			c = next
		}
		if !c.AtTail() {
			t.Errorf("%s: more messages than were published", r.pattern)
		}
	}
}

func TestPatternLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, topics := memory.New(memory.Config{Epoch: "E"}, topic.Config{MaxPatterns: 2})
		open := func(p pubsub.Pattern) (topic.Pin, error) {
			return topics.Open(p.Topic(), pubsub.Position{}, topic.ResumePoint{})
		}
		a, errA := open("a*")
		b, errB := open("b*")
		if _, err := open("c*"); errA != nil || errB != nil || err == nil || pubsub.Refusal(err).Code != pubsub.OverCapacity {
			t.Errorf("got %v, %v, %v; want the third one to be over capacity", errA, errB, err)
		}
		a.Release()
		time.Sleep(time.Second)
		b.Release()
		if c, err := open("c*"); err != nil { // instead of a*, which has been unused for longer
			t.Error(err)
		} else {
			defer c.Release()
		}
		if _, live := topics.Pin(pubsub.Pattern("a*").Topic(), topic.ResumePoint{}); live {
			t.Error("the unused a* is still there")
		}
		if b, live := topics.Pin(pubsub.Pattern("b*").Topic(), topic.ResumePoint{}); !live {
			t.Error("b* was dropped although there was room")
		} else {
			b.Release()
		}
		time.Sleep(5*time.Minute + time.Second)
		topics.Sweep()
		if n := topics.Stats().Topics; n != 1 {
			t.Errorf("%d topics remain after five minutes, want only c*", n)
		}
	})
}

// BenchmarkPublishBesidePatterns publishes to a topic that none of the patterns matches.
func BenchmarkPublishBesidePatterns(b *testing.B) {
	for _, patterns := range []int{0, 1, 10_000} {
		b.Run(fmt.Sprintf("patterns=%d", patterns), func(b *testing.B) {
			br, topics := memory.New(memory.Config{Epoch: "E"}, topic.Config{PerTopic: topic.Limits{Count: 100}})
			for i := range patterns {
				pin, err := topics.Open(pubsub.Pattern(fmt.Sprintf("room:%d:*", i)).Topic(), pubsub.Position{}, topic.ResumePoint{})
				if err != nil {
					b.Fatal(err)
				}
				pin.Join(new(nobody))
			}
			names := make([]pubsub.Topic, 1000)
			for i := range names {
				names[i] = pubsub.Topic(fmt.Sprintf("other:%d", i))
			}
			ps := make([]pubsub.Publication, 1)
			data := []byte("hello")
			i := 0
			b.ReportAllocs()
			for b.Loop() {
				ps[0] = pubsub.Publication{Topic: names[i%len(names)], Body: pubsub.Body{Data: data}}
				br.Publish(ps, nil)
				i++
			}
			b.StopTimer()
			_ = br.Close(context.Background())
		})
	}
}

// BenchmarkPublishToPatterns publishes to a topic that some patterns match.
func BenchmarkPublishToPatterns(b *testing.B) {
	for _, patterns := range []int{0, 1, 16, 64, 250} {
		b.Run(fmt.Sprintf("patterns=%d", patterns), func(b *testing.B) {
			br, topics := memory.New(memory.Config{Epoch: "E"}, topic.Config{PerTopic: topic.Limits{Count: 100}})
			for i := range patterns {
				pin, err := topics.Open(pubsub.Pattern(strings.Repeat("p", i+1)+"*").Topic(), pubsub.Position{}, topic.ResumePoint{})
				if err != nil {
					b.Fatal(err)
				}
				pin.Join(new(nobody))
			}
			name := pubsub.Topic(strings.Repeat("p", 251))
			ps := make([]pubsub.Publication, 1)
			data := []byte("hello")
			b.ReportAllocs()
			for b.Loop() {
				ps[0] = pubsub.Publication{Topic: name, Body: pubsub.Body{Data: data}}
				br.Publish(ps, nil)
			}
			b.StopTimer()
			_ = br.Close(context.Background())
		})
	}
}
