package topic_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/topic"
)

// A topic without a history delivers to the readers that have joined, and keeps nothing.
func TestATopicWithoutHistory(t *testing.T) {
	topics, c := newTopics(topic.Config{PerTopic: topic.Limits{Count: 5}, Limits: someLimits}), new(counter)
	l := new(listener)
	joined, r, err := join(topics, "b", l, topic.ResumePoint{Last: 10})
	if err != nil || !r.Recovered || r.Replay != 0 {
		t.Fatalf("joined with %+v, %v", r, err)
	}
	first := appendTo(t, topics, c, "b", 1)
	last := appendTo(t, topics, c, "b", 1)
	if got := offsets(r.Cursor); fmt.Sprint(got) != fmt.Sprint([]uint64{first, last}) || l.woken.Load() == 0 {
		t.Errorf("the reader gets %v after %d wake-ups, want %d and %d", got, l.woken.Load(), first, last)
	}
	if lag := joined.Lag(r.Cursor); lag != 2*(1+topic.Overhead) {
		t.Errorf("the lag of the reader is %d", lag)
	}
	if newest := joined.Newest(r.Cursor); newest.Position() != at(first) {
		t.Errorf("the newest message comes after %v, want after %v", newest.Position(), at(first))
	}
	if y := topics.History("b", pubsub.Position{}, 10); y.Count != 0 || y.Position != at(last) || !y.Recovered {
		t.Errorf("History = %+v", y)
	}
	for since, want := range map[uint64]bool{0: false, first: false, last: true, last + 1: false} {
		r := again(topics, joined, topic.ResumePoint{Since: at(since)})
		if r.Recovered != want || len(offsets(r.Cursor)) != 0 || r.Position != at(last) && !want {
			t.Errorf("since %d: %+v; want recovered: %v", since, r, want)
		}
	}
	if s := topics.Stats(); s.Bytes != 0 || s.FrameBytes != 0 || s.Evicted != 2 {
		t.Errorf("%+v, want nothing held and two messages evicted", s)
	}
	topics.Leave(joined, l)
	if s := topics.Stats(); s.Topics != 0 || s.Tombstones != 1 {
		t.Errorf("after the last reader left: %+v, want a tombstone", s)
	}
}

// Topics without a history leave memory although no message expires. Their heads stay.
func TestTopicsWithoutHistoryAreSwept(t *testing.T) {
	now := time.Now()
	topics, c := newTopics(topic.Config{
		PerTopic: topic.Limits{Age: time.Minute},
		Limits:   func(pubsub.Topic) *topic.Limits { return &topic.Limits{Off: true} },
		Now:      func() time.Time { return now },
	}), new(counter)
	heads := map[string]uint64{}
	for i := range 300 {
		name := fmt.Sprint(i % 100)
		heads[name] = appendTo(t, topics, c, name, 1)
	}
	if s := topics.Stats(); s.Topics != 100 {
		t.Errorf("before the sweep: %+v", s)
	}
	topics.Sweep()
	if s := topics.Stats(); s.Topics != 0 || s.Tombstones != 100 {
		t.Errorf("after the sweep: %+v, want 100 tombstones", s)
	}
	for name, head := range heads {
		if y := topics.History(pubsub.Topic(name), at(head), 1); !y.Recovered || y.Position != at(head) {
			t.Errorf("%s since its head %d: %+v", name, head, y)
		}
	}
}

// Each topic drops messages by its own limits. If memory is short, those go first that would
// expire first.
func TestTopicsWithLimitsOfTheirOwn(t *testing.T) {
	now := time.Now()
	limits := map[pubsub.Topic]*topic.Limits{
		"few": {Count: 2, Age: time.Hour}, "small": {Bytes: 2 * (100 + topic.Overhead), Age: time.Hour},
		"short": {Age: 10 * time.Second}, "long": {Age: time.Hour},
	}
	topics, c := newTopics(topic.Config{
		PerTopic:   topic.Limits{Count: 4, Age: time.Minute},
		Limits:     func(name pubsub.Topic) *topic.Limits { return limits[name] },
		TotalBytes: 17 * (100 + topic.Overhead),
		Now:        func() time.Time { return now },
	}), new(counter)
	expect := func(when string, want map[pubsub.Topic]int) {
		t.Helper()
		for name, n := range want {
			if got := topics.History(name, pubsub.Position{}, 100).Count; got != n {
				t.Errorf("%s, %s has %d messages, want %d", when, name, got, n)
			}
		}
	}
	for _, name := range []string{"few", "small", "short", "long", "other"} {
		for range 5 {
			appendTo(t, topics, c, name, 100)
		}
	}
	expect("at first", map[pubsub.Topic]int{"few": 2, "small": 2, "short": 4, "long": 5, "other": 4}) // 17 fit: one of short had to go.
	appendTo(t, topics, c, "long", 100)
	expect("with another message", map[pubsub.Topic]int{"few": 2, "small": 2, "short": 3, "long": 6, "other": 4})
	now = now.Add(10 * time.Second)
	topics.Sweep()
	expect("after 10 s", map[pubsub.Topic]int{"few": 2, "small": 2, "short": 0, "long": 6, "other": 4})
	now = now.Add(50 * time.Second)
	topics.Sweep()
	expect("after a minute", map[pubsub.Topic]int{"few": 2, "small": 2, "short": 0, "long": 6, "other": 0})
	now = now.Add(time.Hour)
	topics.Sweep()
	expect("after an hour", map[pubsub.Topic]int{"few": 0, "small": 0, "short": 0, "long": 0, "other": 0})
	if s := topics.Stats(); s.Topics != 0 || s.Bytes != 0 {
		t.Errorf("at the end: %+v", s)
	}
}
