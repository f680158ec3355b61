package topic_test

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/topic"
)

func at(offset uint64) pubsub.Position { return pubsub.Position{Epoch: "E", Offset: offset} }

func read(t *testing.T, topics *topic.Topics, name pubsub.Topic, point topic.ResumePoint) topic.Resumed {
	t.Helper()
	var l listener
	joined, p, err := join(topics, name, &l, point)
	if err != nil {
		t.Fatal(err)
	}
	if again := again(topics, joined, point); again != p {
		t.Errorf("Resume = %+v, Join returned %+v", again, p)
	}
	topics.Leave(joined, &l)
	return p
}

// Messages between the pin and the join are read, but no more than the resume point asks
// for.
func TestMessagesSinceThePin(t *testing.T) {
	for _, test := range []struct {
		point    topic.ResumePoint
		position uint64
		read     []uint64
	}{
		{topic.ResumePoint{}, 5, nil},
		{topic.ResumePoint{Last: 1}, 4, []uint64{5}},
		{topic.ResumePoint{Last: 3}, 2, []uint64{3, 4, 5}},
		{topic.ResumePoint{Last: 9}, 0, []uint64{1, 2, 3, 4, 5}},
		{topic.ResumePoint{Since: at(2)}, 2, []uint64{3, 4, 5}},
	} {
		topics, c := newTopics(topic.Config{}), new(counter)
		for range 3 {
			appendTo(t, topics, c, "t", 1)
		}
		p, err := topics.Open("t", pubsub.Position{}, test.point)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			appendTo(t, topics, c, "t", 1)
		}
		_, r := p.Join(new(listener))
		if got := offsets(r.Cursor); r.Position.Offset != test.position || !slices.Equal(got, test.read) || r.Replay != len(got) || !r.Recovered {
			t.Errorf("from %+v: %+v, and %v are read; want %d, %v", test.point, r, got, test.position, test.read)
		}
	}
}

func TestJoinBeginsAtTheResumePoint(t *testing.T) {
	topics, c := newTopics(topic.Config{PerTopic: topic.Limits{Count: 4}}), new(counter)
	for range 3 {
		appendTo(t, topics, c, "other", 1)
		appendTo(t, topics, c, "t", 1) // 2, 4, 6
	}
	for range 3 {
		appendTo(t, topics, c, "t", 1) // 7, 8, 9: 2 and 4 are evicted
	}
	for _, test := range []struct {
		name     string
		start    topic.ResumePoint
		position uint64
		read     []uint64
		lost     bool
	}{
		{"live", topic.ResumePoint{}, 9, nil, false},
		{"the last", topic.ResumePoint{Last: 2}, 7, []uint64{8, 9}, false},
		{"more than there are", topic.ResumePoint{Last: 9}, 4, []uint64{6, 7, 8, 9}, false},
		{"since the head", topic.ResumePoint{Since: at(9)}, 9, nil, false},
		{"since a message", topic.ResumePoint{Since: at(7)}, 7, []uint64{8, 9}, false},
		{"since a hole", topic.ResumePoint{Since: at(5)}, 5, []uint64{6, 7, 8, 9}, false},
		{"since what was evicted last", topic.ResumePoint{Since: at(4)}, 4, []uint64{6, 7, 8, 9}, false},
		{"since before that", topic.ResumePoint{Since: at(3)}, 9, nil, true},
		{"since the future", topic.ResumePoint{Since: at(10)}, 9, nil, true},
		{"since another epoch", topic.ResumePoint{Since: pubsub.Position{Epoch: "F", Offset: 9}}, 9, nil, true},
		{"since overrides the last", topic.ResumePoint{Since: at(8), Last: 4}, 8, []uint64{9}, false},
	} {
		p := read(t, topics, "t", test.start)
		got := offsets(p.Cursor)
		if p.Position != at(test.position) || fmt.Sprint(got) != fmt.Sprint(test.read) || p.Replay != len(test.read) || p.Recovered == test.lost {
			t.Errorf("%s: %+v reads %v; want position %d, %v, lost %v", test.name, p, got, test.position, test.read, test.lost)
		}
	}
}

func TestHistory(t *testing.T) {
	topics, c := newTopics(topic.Config{PerTopic: topic.Limits{Count: 4}}), new(counter)
	for range 6 {
		appendTo(t, topics, c, "t", 1) // The log holds 3 to 6.
	}
	for _, test := range []struct {
		name            string
		since           pubsub.Position
		limit           int
		read            []uint64
		position        uint64
		recovered, more bool
	}{
		{"the last", pubsub.Position{}, 2, []uint64{5, 6}, 6, true, false},
		{"all", pubsub.Position{}, 100, []uint64{3, 4, 5, 6}, 6, true, false},
		{"none", pubsub.Position{}, 0, nil, 6, true, false},
		{"a page", at(3), 2, []uint64{4, 5}, 5, true, true},
		{"the last page", at(5), 2, []uint64{6}, 6, true, false},
		{"behind the head", at(6), 2, nil, 6, true, false},
		{"none of some", at(3), 0, nil, 3, true, true},
		{"not covered", at(1), 2, []uint64{3, 4}, 4, false, true},
		{"another epoch", pubsub.Position{Epoch: "F", Offset: 6}, 9, []uint64{3, 4, 5, 6}, 6, false, false},
	} {
		y := topics.History("t", test.since, test.limit)
		var got []uint64
		for _, m := range y.Messages() {
			got = append(got, m.Position.Offset)
		}
		if fmt.Sprint(got) != fmt.Sprint(test.read) || y.Position != at(test.position) || y.Recovered != test.recovered || y.More != test.more {
			t.Errorf("%s: %v, %+v; want %+v", test.name, got, y, test)
		}
	}
	y := topics.History("never", pubsub.Position{}, 9)
	if y.Position != at(0) || !y.Recovered || y.Count != 0 {
		t.Errorf("history of an unused topic: %+v", y)
	}
	if got := topics.Stats(); got.Topics != 1 || got.Tombstones != 1 {
		t.Errorf("%+v after reading an unused topic, want a tombstone", got)
	}
}

// A tombstone holds the head of its topic, and expires.
func TestPositionsOutliveTheirMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		topics, c := newTopics(topic.Config{PerTopic: topic.Limits{Age: time.Minute}}), new(counter)
		quiet := read(t, topics, "quiet", topic.ResumePoint{}).Position
		last := at(appendTo(t, topics, c, "t", 1))
		time.Sleep(2 * time.Minute)
		topics.Sweep()
		if got := topics.Stats(); got.Topics != 0 || got.Tombstones != 2 {
			t.Fatalf("%+v, want two tombstones", got)
		}
		appendTo(t, topics, c, "busy", 1)
		for name, since := range map[pubsub.Topic]pubsub.Position{"t": last, "quiet": quiet} {
			if p := read(t, topics, name, topic.ResumePoint{Since: since}); !p.Recovered || p.Replay != 0 {
				t.Errorf("%s since %v, without a message since: %+v, want recovered", name, since, p)
			}
			if p := read(t, topics, name, topic.ResumePoint{Since: at(last.Offset - 1)}); p.Recovered == (name == "t") {
				t.Errorf("%s since before: recovered %v", name, p.Recovered)
			}
		}
		for range 2 { // A topic that the first sweep drops has a tombstone until the second.
			time.Sleep(25 * time.Hour)
			topics.Sweep()
		}
		if got := topics.Stats(); got.Topics+got.Tombstones != 0 {
			t.Fatalf("%+v after a day, want nothing", got)
		}
		for _, name := range []pubsub.Topic{"t", "never"} {
			if p := read(t, topics, name, topic.ResumePoint{Since: last}); p.Recovered && name == "never" {
				t.Errorf("%s since %v, which is unknown: recovered", name, last)
			}
		}
	})
}

func TestTombstonesGoBeforeTopics(t *testing.T) {
	topics, c := newTopics(topic.Config{MaxTopics: 3}), new(counter)
	for i := range 10 {
		read(t, topics, pubsub.Topic(fmt.Sprint("seen", i)), topic.ResumePoint{})
	}
	appendTo(t, topics, c, "a", 1)
	appendTo(t, topics, c, "b", 1)
	for i := range 10 {
		topics.History(pubsub.Topic(fmt.Sprint("asked", i)), pubsub.Position{}, 1)
	}
	if got := topics.Stats(); got.Topics != 2 || got.Tombstones != 1 {
		t.Errorf("%+v, want two topics and one tombstone", got)
	}
}

// someLimits are those of topics that differ: b has no history, and c a short one.
func someLimits(name pubsub.Topic) *topic.Limits {
	switch name {
	case "b":
		return &topic.Limits{Off: true}
	case "c":
		return &topic.Limits{Count: 2, Age: 20 * time.Second}
	}
	return nil
}

// given is a position that a client received, and when.
type given struct {
	position pubsub.Position
	at       time.Time
}

// Recovered is exact: if it is true, no message is missing. Within the limits it is always
// true.
func TestRecoveryAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Now()
		config := topic.Config{
			PerTopic:  topic.Limits{Count: rapid.IntRange(1, 5).Draw(t, "count"), Age: time.Minute},
			Limits:    someLimits,
			MaxTopics: rapid.SampledFrom([]int{0, 3}).Draw(t, "most"),
			Now:       func() time.Time { return now },
		}
		topics, c := newTopics(config), new(counter)
		published := make(map[pubsub.Topic][]uint64)
		places := make(map[pubsub.Topic][]given)
		join := func(name pubsub.Topic, point topic.ResumePoint) topic.Resumed {
			var l listener
			joined, p, err := join(topics, name, &l, point)
			if err != nil {
				t.Fatal(err)
			}
			topics.Leave(joined, &l)
			return p
		}
		anyTopic := rapid.SampledFrom([]pubsub.Topic{"a", "b", "c", "d", "e"})
		give := func(topic pubsub.Topic, p pubsub.Position) { places[topic] = append(places[topic], given{p, now}) }
		t.Repeat(map[string]func(*rapid.T){
			"publish": func(t *rapid.T) {
				topic := anyTopic.Draw(t, "topic")
				p, err := publish(topics, c, topic, 1)
				if err != nil {
					t.Fatal(err)
				}
				published[topic] = append(published[topic], p.Offset)
				give(topic, p)
			},
			"subscribe": func(t *rapid.T) {
				name := anyTopic.Draw(t, "topic")
				give(name, join(name, topic.ResumePoint{}).Position)
			},
			"read": func(t *rapid.T) {
				topic := anyTopic.Draw(t, "topic")
				give(topic, topics.History(topic, pubsub.Position{}, 1).Position)
			},
			"wait": func(t *rapid.T) {
				now = now.Add(time.Duration(rapid.IntRange(1, 40).Draw(t, "seconds")) * time.Second)
				topics.Sweep()
			},
			"resume": func(t *rapid.T) {
				name := anyTopic.Draw(t, "topic")
				for _, g := range places[name] {
					var missed []uint64
					for _, offset := range published[name] {
						if offset > g.position.Offset {
							missed = append(missed, offset)
						}
					}
					p := join(name, topic.ResumePoint{Since: g.position})
					if read := offsets(p.Cursor); p.Recovered && fmt.Sprint(read) != fmt.Sprint(missed) {
						t.Fatalf("%s since %v is recovered and reads %v, want %v", name, g.position, read, missed)
					}
					quiet := len(missed) == 0 && now.Sub(g.at) < tombstoneTime && config.MaxTopics == 0
					if quiet && !p.Recovered {
						t.Fatalf("%s since %v is not recovered, and no message came after it", name, g.position)
					}
				}
			},
		})
	})
}
