package topic_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/topic"
)

// openPattern makes the topic of a pattern live, and keeps it.
func openPattern(t interface{ Fatal(...any) }, topics *topic.Topics, p string) topic.Pin {
	pin, err := topics.Open(pubsub.Pattern(p).Topic(), pubsub.Position{}, topic.ResumePoint{})
	if err != nil {
		t.Fatal(err)
	}
	return pin
}

// A message counts once in the total, however many patterns match it.
func TestMessagesOfPatternsCountOnce(t *testing.T) {
	const messages, size = 20, 10_000
	topics, c := newTopics(topic.Config{PerTopic: topic.Limits{Count: 5}, TotalBytes: 4 << 20}), new(counter)
	appendTo(t, topics, c, "other", 1)
	for i := range 200 {
		openPattern(t, topics, strings.Repeat("p", i+1)+"*")
	}
	name := strings.Repeat("p", 200)
	for range messages {
		appendTo(t, topics, c, name, size)
	}
	if got, want := topics.Stats().Bytes, int64(messages*size+(200*messages+5+1)*topic.Overhead+1); got != want {
		t.Errorf("%d bytes count, want %d", got, want)
	}
	if y := topics.History("other", pubsub.Position{}, 10); y.Count != 1 {
		t.Errorf("the history of another topic has %d messages, want 1", y.Count)
	}
}

// Whatever the logs hold and drop, the total is what they hold, with the data of each message once.
func TestTotalOfCopiesAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Now()
		topics, c := newTopics(topic.Config{
			PerTopic: topic.Limits{Count: 3, Age: time.Minute}, MaxPatterns: 4,
			Limits: func(name pubsub.Topic) *topic.Limits {
				if name == "abc" {
					return &topic.Limits{Off: true}
				}
				return nil
			},
			Now: func() time.Time { return now },
		}), new(counter)
		pins := make(map[string]topic.Pin)
		t.Repeat(map[string]func(*rapid.T){
			"publish": func(t *rapid.T) {
				p := []pubsub.Publication{{Topic: rapid.SampledFrom([]pubsub.Topic{"a", "ab", "abc"}).Draw(t, "topic"), Body: pubsub.Body{Data: make([]byte, rapid.IntRange(1, 1000).Draw(t, "size"))}}}
				topics.Order(p, c.next)
				if p[0].Err != nil {
					t.Fatal(p[0].Err)
				}
			},
			"open": func(t *rapid.T) {
				p := rapid.SampledFrom([]string{"a*", "ab*", "abc*", "abcd*"}).Draw(t, "pattern")
				if _, ok := pins[p]; !ok {
					pins[p] = openPattern(t, topics, p)
				}
			},
			"close": func(t *rapid.T) {
				for _, p := range slices.Sorted(maps.Keys(pins)) {
					pin := pins[p]
					pin.Release()
					delete(pins, p)
					return
				}
			},
			"wait": func(*rapid.T) {
				now = now.Add(30 * time.Second)
				topics.Sweep()
			},
			"": func(t *rapid.T) {
				if got, want := topics.Stats().Bytes, topics.HeldForTest(); got != want {
					t.Fatalf("%d bytes count, and the logs hold %d", got, want)
				}
			},
		})
		for _, pin := range pins {
			pin.Release()
		}
		now = now.Add(time.Hour)
		topics.Sweep()
		if got := topics.Stats().Bytes; got != 0 {
			t.Fatalf("%d bytes count at the end", got)
		}
	})
}

// Publishers and expiry work at the same time.
func TestTotalOfCopiesUnderConcurrency(t *testing.T) {
	topics, c := newTopics(topic.Config{PerTopic: topic.Limits{Count: 2}, TotalBytes: 100_000}), new(counter)
	for i := range 8 {
		openPattern(t, topics, strings.Repeat("p", i+1)+"*")
	}
	done := make(chan bool)
	for i := range 4 {
		go func() {
			defer func() { done <- true }()
			for range 500 {
				p := []pubsub.Publication{{Topic: pubsub.Topic(fmt.Sprint(strings.Repeat("p", 6), i)), Body: pubsub.Body{Data: make([]byte, 300)}}}
				topics.Order(p, c.next)
			}
		}()
	}
	for range 4 {
		<-done
	}
	if got, want := topics.Stats().Bytes, topics.HeldForTest(); got != want {
		t.Errorf("%d bytes count, and the logs hold %d", got, want)
	}
}

// The patterns of one user that match the same topics are limited: those in use, and others for a
// while.
func TestNestedPatternsOfAUserAreLimited(t *testing.T) {
	topics := newTopics(topic.Config{})
	open := func(user, p string) (topic.Pin, error) {
		return topics.Open(pubsub.Pattern(p+"*").Topic(), pubsub.Position{}, topic.ResumePoint{User: user})
	}
	var pins []topic.Pin
	for i := range 16 {
		pin, err := open("u", strings.Repeat("p", i+2))
		if err != nil {
			t.Fatal(err)
		}
		pins = append(pins, pin)
	}
	refused := func(p string) {
		t.Helper()
		if _, err := open("u", p); err == nil || pubsub.Refusal(err).Code != pubsub.TooMany {
			t.Errorf("%s: %v", p, err)
		}
	}
	refused("p")
	refused(strings.Repeat("p", 18))
	for _, other := range []struct{ user, pattern string }{{"v", "p"}, {"", "ppppppppppppppppppppp"}, {"u", "ppp"}, {"u", "p"}, {"u", "px"}, {"u", "q"}} {
		if _, err := open(other.user, other.pattern); err != nil {
			t.Errorf("%+v: %v", other, err)
		}
	}
	pins[7].Release()
	if _, err := open("u", strings.Repeat("p", 18)); err != nil {
		t.Errorf("with one that is not in use: %v", err)
	}
	if _, live := topics.Pin(pubsub.Pattern(strings.Repeat("p", 9)+"*").Topic(), topic.ResumePoint{}); live {
		t.Error("the unused one is still there")
	}
	refused(strings.Repeat("p", 19))
}

func TestPatternsOfAUserAreLimited(t *testing.T) {
	topics := newTopics(topic.Config{})
	for i := range 1001 {
		_, err := topics.Open(pubsub.Pattern(fmt.Sprintf("p%d:*", i)).Topic(), pubsub.Position{}, topic.ResumePoint{User: "u"})
		if (err != nil) != (i == 1000) {
			t.Fatalf("pattern %d: %v", i, err)
		}
	}
}
