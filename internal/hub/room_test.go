package hub_test

import (
	"sync"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux"
	"github.com/ikornaselur/notiflux/internal/hub"
	"github.com/ikornaselur/notiflux/internal/topiclog"
)

// rounds is how often what depends on chance is tried.
const rounds = 3000

// together calls all of fs at the same time and waits for them.
func together(fs ...func()) {
	var wg sync.WaitGroup
	start := make(chan struct{})
	for _, f := range fs {
		wg.Go(func() { <-start; f() })
	}
	close(start)
	wg.Wait()
}

// Topics that come at the same moment do not exceed the limit together.
func TestMaxTopicsHoldsForTopicsThatComeAtOnce(t *testing.T) {
	const most = 2
	for range rounds {
		h, c := hub.New(hub.Config{Epoch: "E", MaxTopics: most}), new(counter)
		join := func(topic notiflux.Topic) func() {
			return func() { _, _, _ = h.Join(topic, new(listener), hub.Start{}) }
		}
		publish := func(topic notiflux.Topic) func() { return func() { _, _ = publish(h, c, topic, 1) } }
		history := func(topic notiflux.Topic) func() {
			return func() { h.History(topic, notiflux.Position{}, 1) }
		}
		together(join("a"), publish("b"), publish("c"), history("d"), join("e"))
		if got := h.Stats(); got.Topics+got.Remembered > most {
			t.Fatalf("%d topics and %d memories, want at most %d", got.Topics, got.Remembered, most)
		}
	}
}

// A topic that is read while the hub is full, and others come and go, is not called
// recovered when a message is missing.
func TestAFullHubForgetsNothingUnnoticed(t *testing.T) {
	for range rounds {
		now := time.Now()
		h, c := hub.New(hub.Config{
			Epoch: "E", MaxTopics: 1, PerTopic: topiclog.Limits{Age: time.Minute}, Now: func() time.Time { return now },
		}), new(counter)
		var l listener
		var b *hub.Topic
		var seen notiflux.Position
		var refused error
		together(
			func() { b, _, _ = h.Join("b", &l, hub.Start{}) },
			func() { seen, refused = publish(h, c, "a", 1) },
		)
		if refused != nil {
			continue
		}
		if _, err := publish(h, c, "a", 1); err != nil { // What a subscriber that is away misses.
			continue
		}
		now = now.Add(2 * time.Minute)
		h.Sweep()
		h.History("a", notiflux.Position{}, 0)
		if b != nil {
			h.Leave(b, &l)
		}
		if _, err := publish(h, c, "a", 1); err != nil {
			t.Fatal(err)
		}
		_, p, err := h.Join("a", &l, hub.Start{Since: seen})
		if err != nil || p.Recovered {
			t.Fatalf("since %v, with a message missing: %+v, %v; want it not to be recovered", seen, p, err)
		}
	}
}
