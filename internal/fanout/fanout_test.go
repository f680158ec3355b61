package fanout_test

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/ikornaselur/notiflux/internal/fanout"
)

type subscriber struct {
	index  int32
	marked bool
}

// While topics are woken and subscribers come and go, none is missed.
func TestNoneIsMissed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		wakes := 0
		q := &fanout.Queue[*subscriber]{WakeLoop: func() { wakes++ }, Mark: func(subs []*subscriber) {
			for _, s := range subs {
				s.marked = true
			}
		}}
		topics := make([]*fanout.Topic[*subscriber], 3)
		for i := range topics {
			topics[i] = &fanout.Topic[*subscriber]{Queue: q}
		}
		owed := map[*subscriber]bool{} // were there when their topic was woken
		more := false
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				topic := rapid.SampledFrom(topics).Draw(t, "topic")
				for range rapid.IntRange(1, 300).Draw(t, "n") {
					s := new(subscriber)
					s.index = topic.Add(s)
				}
			},
			"remove": func(t *rapid.T) {
				topic := rapid.SampledFrom(topics).Draw(t, "topic")
				if all := topic.All(); len(all) > 0 {
					s := rapid.SampledFrom(all).Draw(t, "subscriber")
					topic.Remove(s.index).index = s.index
					delete(owed, s)
				}
			},
			"wake": func(t *rapid.T) {
				topic := rapid.SampledFrom(topics).Draw(t, "topic")
				before := wakes
				topic.Wake()
				topic.Wake()
				if wakes > before+1 {
					t.Errorf("the loop is woken %d times for a topic", wakes-before)
				}
				for _, s := range topic.All() {
					s.marked, owed[s] = false, true
				}
			},
			"collect": func(t *rapid.T) {
				more = q.Collect()
			},
			"": func(t *rapid.T) {
				for _, topic := range topics {
					for i, s := range topic.All() {
						if int(s.index) != i {
							t.Fatalf("subscriber %d has the index %d", i, s.index)
						}
					}
				}
			},
		})
		for more = true; more; {
			more = q.Collect()
		}
		for s := range owed {
			if !s.marked {
				t.Fatal("a subscriber was not marked after its topic was woken")
			}
		}
	})
}

// A topic with many subscribers does not delay one with few.
func TestTopicsTakeTurns(t *testing.T) {
	var marked []string
	q := &fanout.Queue[string]{WakeLoop: func() {}, Mark: func(subs []string) { marked = append(marked, subs...) }}
	large, small := &fanout.Topic[string]{Queue: q}, &fanout.Topic[string]{Queue: q}
	for range 1000 {
		large.Add("large")
	}
	small.Add("small")
	large.Wake()
	small.Wake()
	if !q.Collect() || !slices.Contains(marked, "small") || len(marked) > 300 {
		t.Errorf("the first call marks %d, and the small topic: %t", len(marked), slices.Contains(marked, "small"))
	}
	for q.Collect() {
	}
	if len(marked) != 1001 {
		t.Errorf("%d were marked, want 1001", len(marked))
	}
}
