package topic_test

import (
	"fmt"
	"runtime"
	"testing"
	"time"
	"weak"

	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/topic"
)

// A dropped topic is freed, even if its messages would expire only later.
func TestDroppedTopicsAreFreed(t *testing.T) {
	var topics *topic.Topics
	topics = topic.New(topic.Config{
		PerTopic:   topic.Limits{Age: time.Hour},
		TotalBytes: 1 << 30,
		Detach:     func(name pubsub.Topic) { topics.Close(name) },
	})
	var gone []weak.Pointer[topic.Topic]
	for i := range 100 {
		name := pubsub.Topic(fmt.Sprint(i))
		pin, err := topics.Open(name, at(0), topic.ResumePoint{})
		if err != nil {
			t.Fatal(err)
		}
		l := new(listener)
		joined, _ := pin.Join(l)
		topics.Append([]pubsub.Message{{Topic: name, Position: at(1), Time: time.Now().Add(time.Duration(i*37%100) * time.Second)}})
		gone = append(gone, weak.Make(joined))
		if i%2 == 0 {
			topics.Leave(joined, l)
		}
	}
	runtime.GC()
	for i := range gone {
		if kept := gone[i].Value() != nil; kept != (i%2 != 0) {
			t.Errorf("topic %d is kept: %v", i, kept)
		}
	}
	if got := topics.Stats().Topics; got != 50 {
		t.Errorf("%d topics are live, want 50", got)
	}
	runtime.KeepAlive(topics)
}

// Prepended messages are the oldest ones, and are dropped first.
func TestPrependedMessagesGoFirst(t *testing.T) {
	now := time.Now()
	topics := topic.New(topic.Config{PerTopic: topic.Limits{Age: time.Minute}, Now: func() time.Time { return now }})
	openAt(t, topics, at(10))
	pin := pinSince(t, topics, at(8))
	last := message(11, 1, now)
	topics.Append([]pubsub.Message{last})
	topics.Prepend(&pin, at(8), []pubsub.Message{message(9, 1, now.Add(-50*time.Second)), message(10, 1, now.Add(-20*time.Second))})
	for _, want := range []int{3, 2, 1, 0} {
		if got := topics.History("t", pubsub.Position{}, 9).Count; got != want {
			t.Errorf("%v after the last message, %d messages are held; want %d", now.Sub(last.Time), got, want)
		}
		now = now.Add(25 * time.Second)
		topics.Sweep()
	}
}
