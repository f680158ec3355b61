package topic_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/topic"
)

// long returns Topics with a topic of n messages, the topic, and where a listener resumed
// before the first message. Every second message excludes connection 1.
func long(t testing.TB, n int) (*topic.Topics, *topic.Topic, topic.Resumed) {
	topics, c := newTopics(topic.Config{PerTopic: topic.Limits{Count: n}}), new(counter)
	joined, resumed, err := join(topics, "t", new(listener), topic.ResumePoint{})
	if err != nil {
		t.Fatal(err)
	}
	ps := make([]pubsub.Publication, n)
	for i := range ps {
		ps[i] = pubsub.Publication{Topic: "t", Body: body(1), Exclude: pubsub.Connection(i % 2)}
	}
	topics.Order(ps, c.next)
	return topics, joined, resumed
}

// Resuming in a long history, and counting from there, takes a few steps. If each call
// walked the history, this test would take a quarter of an hour.
func TestALongHistoryIsNotWalked(t *testing.T) {
	const n, times = 200_000, 200_000
	topics, joined, first := long(t, n)
	for i := range times {
		back := i%n + 1
		since := at(uint64(n - back))
		for name, point := range map[string]topic.ResumePoint{
			"since": {Since: since, Connection: 1},
			"last":  {Last: back, Connection: 1},
		} {
			p := again(topics, joined, point)
			if p.Position != since || p.Replay != back/2 || !p.Recovered {
				t.Fatalf("%s, %d before the head: %+v", name, back, p)
			}
		}
		if got := joined.Newest(first.Cursor).Position().Offset; got != n-1 {
			t.Fatalf("the newest message is behind %d, want %d", got, n-1)
		}
	}
}

// A long sweep drops messages in slices and lets others in between. This test observes a
// state in the middle of a sweep. It tries again if the scheduler did not let it run.
func TestSweepYieldsToOthers(t *testing.T) {
	const n, tries = 20_000, 50
	var now time.Time
	fill := map[string]func(topics *topic.Topics, c *counter){
		"messages of a topic": func(topics *topic.Topics, c *counter) {
			ps := make([]pubsub.Publication, n)
			for i := range ps {
				ps[i] = pubsub.Publication{Topic: "t", Body: body(1)}
			}
			topics.Order(ps, c.next)
		},
		"topics": func(topics *topic.Topics, c *counter) {
			for i := range n {
				_, _ = publish(topics, c, pubsub.Topic(fmt.Sprint(i)), 1)
			}
		},
		"tombstones": func(topics *topic.Topics, _ *counter) {
			for i := range n {
				topics.History(pubsub.Topic(fmt.Sprint(i)), pubsub.Position{}, 1)
			}
		},
	}
	for what, fill := range fill {
		seen := false // a state between the beginning and the end
		for try := 0; try < tries && !seen; try++ {
			now = time.Now()
			c, began := new(counter), make(chan struct{})
			sweeping := false
			topics := newTopics(topic.Config{PerTopic: topic.Limits{Age: time.Minute}, Now: func() time.Time {
				if sweeping {
					sweeping = false
					close(began)
				}
				return now
			}})
			fill(topics, c)
			var swept sync.WaitGroup
			var done atomic.Bool
			now, sweeping = now.Add(2*time.Hour), true
			swept.Go(func() { topics.Sweep(); done.Store(true) })
			<-began
			for !done.Load() && !seen {
				s := topics.Stats()
				left := s.Topics + s.Tombstones
				if what == "messages of a topic" {
					left = n - int(s.Evicted)
				} else if what == "topics" {
					left = s.Topics
				}
				seen = left > 0 && left < n
			}
			swept.Wait()
		}
		if !seen {
			t.Errorf("%s: no other call runs while a sweep drops %d of them", what, n)
		}
	}
}

func BenchmarkResume(b *testing.B) {
	for _, n := range []int{100, 10_000, 1_000_000} {
		topics, joined, _ := long(b, n)
		for name, point := range map[string]topic.ResumePoint{
			"since": {Since: at(uint64(n - 1))},
			"last":  {Last: 1},
		} {
			b.Run(fmt.Sprintf("start=%s/history=%d", name, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					again(topics, joined, point)
				}
			})
		}
	}
}
