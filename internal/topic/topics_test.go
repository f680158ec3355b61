package topic_test

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ikornaselur/notiflux/internal/broker/memory"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/topic"
)

// listener counts its wake-ups.
type listener struct{ woken atomic.Int64 }

func (l *listener) Wake() { l.woken.Add(1) }

// newTopics returns topics as the memory broker has them, in the epoch E.
func newTopics(c topic.Config) *topic.Topics {
	_, topics := memory.New(memory.Config{Epoch: "E", TombstoneTime: tombstoneTime}, c)
	return topics
}

const tombstoneTime = time.Hour

// join opens a topic and joins it.
func join(topics *topic.Topics, name pubsub.Topic, l topic.Listener, point topic.ResumePoint) (*topic.Topic, topic.Resumed, error) {
	pin, err := topics.Open(name, pubsub.Position{}, point)
	if err != nil {
		return nil, topic.Resumed{}, err
	}
	joined, resumed := pin.Join(l)
	return joined, resumed, nil
}

// again resumes for another subscriber of a listener that has joined.
func again(topics *topic.Topics, joined *topic.Topic, point topic.ResumePoint) topic.Resumed {
	pin, _ := topics.Pin(joined.Name(), point)
	_, resumed := pin.Take()
	return resumed
}

// counter assigns offsets like a broker.
type counter struct{ last atomic.Uint64 }

func (c *counter) next() uint64 { return c.last.Add(1) }

func body(size int) pubsub.Body { return pubsub.Body{Data: make([]byte, size)} }

func appendTo(t *testing.T, topics *topic.Topics, c *counter, name string, size int) uint64 {
	t.Helper()
	p, err := publish(topics, c, pubsub.Topic(name), size)
	if err != nil {
		t.Fatalf("Append(%q) = %v", name, err)
	}
	return p.Offset
}

func publish(topics *topic.Topics, c *counter, name pubsub.Topic, size int) (pubsub.Position, error) {
	ps := []pubsub.Publication{{Topic: name, Body: body(size)}}
	topics.Order(ps, c.next)
	return ps[0].Position, ps[0].Err
}

// offsets reads from c to the tail and returns the offsets.
func offsets(c topic.Cursor) (all []uint64) {
	for {
		e, next, ok := c.Next()
		if !ok {
			return all
		}
		all, c = append(all, e.Message().Position.Offset), next
	}
}

func TestAppendWakesListenersOfTheTopicOnly(t *testing.T) {
	topics, c := newTopics(topic.Config{}), new(counter)
	var a, b listener
	joined, resumed, err := join(topics, "a", &a, topic.ResumePoint{})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := join(topics, "b", &b, topic.ResumePoint{}); err != nil {
		t.Fatal(err)
	}
	appendTo(t, topics, c, "a", 1)
	if a.woken.Load() != 1 || b.woken.Load() != 0 {
		t.Errorf("woken a %d times and b %d, want 1 and 0", a.woken.Load(), b.woken.Load())
	}
	if got := offsets(resumed.Cursor); len(got) != 1 || got[0] != 1 {
		t.Errorf("the cursor of the join reads %v, want [1]", got)
	}
	topics.Leave(joined, &a)
	appendTo(t, topics, c, "a", 1)
	if a.woken.Load() != 1 {
		t.Error("a listener that left was woken")
	}
}

// A listener reads, and is woken for, every message after the cursor that Join returned,
// even while publishers are active.
func TestJoinMissesNothing(t *testing.T) {
	topics, c := newTopics(topic.Config{PerTopic: topic.Limits{Count: 4}}), new(counter)
	const publishers, each = 4, 500
	var publishing, joining sync.WaitGroup
	for range publishers {
		publishing.Go(func() {
			for range each {
				if _, err := publish(topics, c, "t", 1); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 8 {
		joining.Go(func() {
			for range 50 {
				var l listener
				joined, resumed, err := join(topics, "t", &l, topic.ResumePoint{})
				if err != nil {
					t.Error(err)
					return
				}
				defer func() {
					publishing.Wait()
					topics.Leave(joined, &l)
					got := offsets(resumed.Cursor)
					for i := 1; i < len(got); i++ {
						if got[i] != got[i-1]+1 {
							t.Errorf("read %d after %d", got[i], got[i-1])
							return
						}
					}
					if len(got) > 0 && got[len(got)-1] != publishers*each {
						t.Errorf("read up to %d, want %d", got[len(got)-1], publishers*each)
					}
					if int(l.woken.Load()) < len(got)-resumed.Replay {
						t.Errorf("woken %d times for %d messages, of which %d were there", l.woken.Load(), len(got), resumed.Replay)
					}
				}()
			}
		})
	}
	joining.Wait()
}

func TestUnusedTopicsAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		topics, c := newTopics(topic.Config{PerTopic: topic.Limits{Age: time.Minute}}), new(counter)
		var l listener
		joined, _, err := join(topics, "listened", &l, topic.ResumePoint{})
		if err != nil {
			t.Fatal(err)
		}
		appendTo(t, topics, c, "listened", 10)
		for i := range 10 {
			appendTo(t, topics, c, fmt.Sprint("topic", i), 10)
			time.Sleep(time.Second)
		}
		time.Sleep(55 * time.Second)
		topics.Sweep()
		// The first messages are at least a minute old, the last ones are younger.
		if got := topics.Stats(); got.Topics != 5 || got.Evicted != 7 {
			t.Errorf("after a minute: %+v, want 5 topics (one with a listener), 7 messages evicted", got)
		}
		topics.Leave(joined, &l)
		time.Sleep(time.Minute)
		topics.Sweep()
		if got := topics.Stats(); got.Topics != 0 || got.Bytes != 0 {
			t.Errorf("after two minutes: %+v, want nothing", got)
		}
	})
}

func TestTotalBytesDropsTheOldestOfAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size = 1000
		topics, c := newTopics(topic.Config{TotalBytes: 10 * (size + topic.Overhead)}), new(counter)
		var l listener
		_, resumed, err := join(topics, "old", &l, topic.ResumePoint{})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 30 {
			appendTo(t, topics, c, []string{"old", "new"}[min(i/5, 1)], size)
			time.Sleep(time.Second)
		}
		got := topics.Stats()
		if got.Bytes > 10*(size+topic.Overhead) || got.Evicted != 20 {
			t.Errorf("%+v, want at most 10 messages", got)
		}
		if got := offsets(resumed.Cursor); len(got) != 5 {
			t.Errorf("a cursor reads %d messages that the log has dropped, want 5", len(got))
		}
	})
}

func TestMaxTopicsDropsUnusedTopics(t *testing.T) {
	topics, c := newTopics(topic.Config{MaxTopics: 3}), new(counter)
	var l listener
	for i := range 10 {
		appendTo(t, topics, c, fmt.Sprint("topic", i), 1)
	}
	if got := topics.Stats().Topics; got != 3 {
		t.Errorf("%d topics, want 3", got)
	}
	for i := range 3 {
		if _, _, err := join(topics, pubsub.Topic(fmt.Sprint("listened", i)), &l, topic.ResumePoint{}); err != nil {
			t.Fatal(err)
		}
	}
	appendTo(t, topics, c, "listened0", 1)
	_, err := publish(topics, c, "one more", 1)
	var refusal *pubsub.Error
	if !errors.As(err, &refusal) || refusal.Code != pubsub.OverCapacity {
		t.Errorf("Append at the topic limit = %v, want %s", err, pubsub.OverCapacity)
	}
	if got := topics.Stats().Bytes; got == 0 {
		t.Error("a topic with a listener lost its message to a topic that was refused")
	}
}

func BenchmarkAppend(b *testing.B) {
	for _, listeners := range []int{0, 1, 4} {
		b.Run(fmt.Sprintf("listeners=%d/size=100", listeners), func(b *testing.B) {
			topics, c := newTopics(topic.Config{PerTopic: topic.Limits{Count: 100}, TotalBytes: 1 << 28}), new(counter)
			for range listeners {
				if _, _, err := join(topics, "t", new(listener), topic.ResumePoint{}); err != nil {
					b.Fatal(err)
				}
			}
			data := body(100)
			b.ReportAllocs()
			ps := []pubsub.Publication{{Topic: "t", Body: data}}
			for b.Loop() {
				topics.Order(ps, c.next)
			}
		})
	}
}
