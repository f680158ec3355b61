package topic_test

import (
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/ikornaselur/notiflux/internal/topic"
)

// Readers that resume from several places share the messages that are prepended for them,
// as far as the log holds these. The rest is the lag of their pins.
func TestPrependedMessagesAreShared(t *testing.T) {
	const head, limit = 1000, 100
	topics := topic.New(topic.Config{PerTopic: topic.Limits{Count: limit}})
	openAt(t, topics, at(head))
	var pins []topic.Pin
	for i := range uint64(50) {
		pins = append(pins, pinSince(t, topics, at(head-limit-i)))
	}
	for i := range pins {
		since := head - limit - uint64(i)
		topics.Prepend(&pins[i], at(since), stored(since, head))
	}
	kept, lag := 0, uint64(0)
	seen := make(map[*topic.Entry]bool)
	for i := range pins {
		lag += pins[i].Lag()
		_, r := pins[i].Take()
		if !r.Recovered || r.Replay != limit+i {
			t.Errorf("pin %d: %+v, want %d messages", i, r, limit+i)
		}
		for c := r.Cursor; !c.AtTail(); {
			e, next, _ := c.Next()
			if !seen[e] {
				seen[e] = true
				kept++
			}
			c = next
		}
	}
	if want := uint64(kept-limit) * (1 + topic.Overhead); lag != want {
		t.Errorf("the pins keep %d bytes that the log does not, and their lag is %d", want, lag)
	}
}

// Messages that the log already holds are not dropped and prepended again.
func TestPrependKeepsHeldMessages(t *testing.T) {
	const head = 1000
	topics := topic.New(topic.Config{})
	openAt(t, topics, at(head))
	first, second, third := pinSince(t, topics, at(1)), pinSince(t, topics, at(0)), pinSince(t, topics, at(500))
	topics.Prepend(&first, at(1), stored(1, head))
	topics.Prepend(&second, at(0), stored(0, head))
	topics.Prepend(&third, at(500), stored(500, head))
	if evicted := topics.Stats().Evicted; evicted != 0 {
		t.Errorf("%d messages were dropped", evicted)
	}
	for since, pin := range map[uint64]*topic.Pin{1: &first, 0: &second, 500: &third} {
		_, r := pin.Take()
		if got, want := offsets(r.Cursor), offsetsOf(since, head); !r.Recovered || !slices.Equal(got, want) {
			t.Errorf("since %d: %+v reads %d messages, want %d", since, r, len(got), len(want))
		}
	}
}

func offsetsOf(from, to uint64) (all []uint64) {
	for offset := from + 1; offset <= to; offset++ {
		all = append(all, offset)
	}
	return all
}

// A message before a gap is dropped from the log once messages after the gap are prepended.
func TestPrependAfterAGap(t *testing.T) {
	const gap, head = 1000, 2000
	topics := topic.New(topic.Config{})
	openAt(t, topics, at(0))
	topics.Append(stored(0, gap))
	topics.Gap("t", at(head))
	pin := pinSince(t, topics, at(gap))
	topics.Prepend(&pin, at(gap), stored(gap, head))
	if _, r := pin.Take(); !r.Recovered || !slices.Equal(offsets(r.Cursor), offsetsOf(gap, head)) {
		t.Errorf("resumed with %+v", r)
	}
	if y := topics.History("t", at(gap), 2*head); !y.Recovered || y.Count != head-gap {
		t.Errorf("the history has %d messages, recovered %v; want %d", y.Count, y.Recovered, head-gap)
	}
}

// A store may return many messages. While they are prepended, others can use the topic.
func TestPrependYieldsToOthers(t *testing.T) {
	const n, tries = 20_000, 50
	ms := stored(0, n)
	for range tries {
		topics := topic.New(topic.Config{})
		openAt(t, topics, at(n))
		pin := pinSince(t, topics, at(0))
		other := pinSince(t, topics, at(n))
		var done atomic.Bool
		var prepending sync.WaitGroup
		prepending.Go(func() { topics.Prepend(&pin, at(0), ms); done.Store(true) })
		seen := false // a state between the beginning and the end
		for !done.Load() && !seen {
			other.Covered() // takes the lock of the topic
			bytes := topics.Stats().Bytes
			seen = bytes > 0 && bytes < n*(1+topic.Overhead)
		}
		prepending.Wait()
		if seen {
			return
		}
	}
	t.Errorf("no other call runs while %d messages are prepended", n)
}
