package topic_test

import (
	"sync"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/topic"
)

// rounds is how often a test repeats an attempt that depends on scheduling.
const rounds = 3000

// together calls all of fs concurrently and waits for them.
func together(fs ...func()) {
	var wg sync.WaitGroup
	start := make(chan struct{})
	for _, f := range fs {
		wg.Go(func() { <-start; f() })
	}
	close(start)
	wg.Wait()
}

// Topics that are created concurrently do not exceed the limit together.
func TestMaxTopicsHoldsForConcurrentTopics(t *testing.T) {
	const most = 2
	for range rounds {
		topics, c := newTopics(topic.Config{MaxTopics: most}), new(counter)
		join := func(name pubsub.Topic) func() {
			return func() { _, _, _ = join(topics, name, new(listener), topic.ResumePoint{}) }
		}
		publish := func(topic pubsub.Topic) func() { return func() { _, _ = publish(topics, c, topic, 1) } }
		history := func(topic pubsub.Topic) func() {
			return func() { topics.History(topic, pubsub.Position{}, 1) }
		}
		together(join("a"), publish("b"), publish("c"), history("d"), join("e"))
		if got := topics.Stats(); got.Topics+got.Tombstones > most {
			t.Fatalf("%d topics and %d tombstones, want at most %d", got.Topics, got.Tombstones, most)
		}
	}
}

// At the topic limit, where topics come and go, a client never recovers a topic if it
// missed a message.
func TestNoFalseRecoveryAtTheTopicLimit(t *testing.T) {
	for range rounds {
		now := time.Now()
		topics, c := newTopics(topic.Config{
			MaxTopics: 1, PerTopic: topic.Limits{Age: time.Minute}, Now: func() time.Time { return now },
		}), new(counter)
		var l listener
		var b *topic.Topic
		var seen pubsub.Position
		var refused error
		together(
			func() { b, _, _ = join(topics, "b", &l, topic.ResumePoint{}) },
			func() { seen, refused = publish(topics, c, "a", 1) },
		)
		if refused != nil {
			continue
		}
		if _, err := publish(topics, c, "a", 1); err != nil { // A disconnected subscriber misses this message.
			continue
		}
		now = now.Add(2 * time.Minute)
		topics.Sweep()
		topics.History("a", pubsub.Position{}, 0)
		if b != nil {
			topics.Leave(b, &l)
		}
		if _, err := publish(topics, c, "a", 1); err != nil {
			t.Fatal(err)
		}
		_, p, err := join(topics, "a", &l, topic.ResumePoint{Since: seen})
		if err != nil || p.Recovered {
			t.Fatalf("since %v, with a message missing: %+v, %v; want not recovered", seen, p, err)
		}
	}
}
