package hub_test

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ikornaselur/notiflux"
	"github.com/ikornaselur/notiflux/internal/hub"
	"github.com/ikornaselur/notiflux/internal/topiclog"
)

// listener counts how often it is woken.
type listener struct{ woken atomic.Int64 }

func (l *listener) Wake() { l.woken.Add(1) }

// counter gives offsets as a broker does.
type counter struct{ last atomic.Uint64 }

func (c *counter) next() uint64 { return c.last.Add(1) }

func body(size int) notiflux.Body { return notiflux.Body{Data: make([]byte, size)} }

func appendTo(t *testing.T, h *hub.Hub, c *counter, topic string, size int) uint64 {
	t.Helper()
	p, err := publish(h, c, notiflux.Topic(topic), size)
	if err != nil {
		t.Fatalf("Append(%q) = %v", topic, err)
	}
	return p.Offset
}

func publish(h *hub.Hub, c *counter, topic notiflux.Topic, size int) (notiflux.Position, error) {
	ps := []notiflux.Publication{{Topic: topic, Body: body(size)}}
	h.Append(ps, c.next)
	return ps[0].Position, ps[0].Err
}

// offsets reads a cursor to its tail.
func offsets(c topiclog.Cursor) (all []uint64) {
	for {
		e, next, ok := c.Next()
		if !ok {
			return all
		}
		all, c = append(all, e.Message().Position.Offset), next
	}
}

func TestAppendWakesListenersOfTheTopicOnly(t *testing.T) {
	h, c := hub.New(hub.Config{}), new(counter)
	var a, b listener
	topic, place, err := h.Join("a", &a, hub.Start{})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := h.Join("b", &b, hub.Start{}); err != nil {
		t.Fatal(err)
	}
	appendTo(t, h, c, "a", 1)
	if a.woken.Load() != 1 || b.woken.Load() != 0 {
		t.Errorf("woken a %d times and b %d, want 1 and 0", a.woken.Load(), b.woken.Load())
	}
	if got := offsets(place.Cursor); len(got) != 1 || got[0] != 1 {
		t.Errorf("the cursor of the join reads %v, want [1]", got)
	}
	h.Leave(topic, &a)
	appendTo(t, h, c, "a", 1)
	if a.woken.Load() != 1 {
		t.Error("a listener that left was woken")
	}
}

// Every message is either before the cursor of a join or read by it, and
// wakes: nothing falls between, whatever runs at the same time.
func TestJoinMissesNothing(t *testing.T) {
	h, c := hub.New(hub.Config{PerTopic: topiclog.Limits{Count: 4}}), new(counter)
	const publishers, each = 4, 500
	var publishing, joining sync.WaitGroup
	for range publishers {
		publishing.Go(func() {
			for range each {
				if _, err := publish(h, c, "t", 1); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 8 {
		joining.Go(func() {
			for range 50 {
				var l listener
				topic, place, err := h.Join("t", &l, hub.Start{})
				if err != nil {
					t.Error(err)
					return
				}
				defer func() {
					publishing.Wait()
					h.Leave(topic, &l)
					got := offsets(place.Cursor)
					for i := 1; i < len(got); i++ {
						if got[i] != got[i-1]+1 {
							t.Errorf("read %d after %d", got[i], got[i-1])
							return
						}
					}
					if len(got) > 0 && got[len(got)-1] != publishers*each {
						t.Errorf("read up to %d, want %d", got[len(got)-1], publishers*each)
					}
					if int(l.woken.Load()) < len(got) {
						t.Errorf("woken %d times for %d messages", l.woken.Load(), len(got))
					}
				}()
			}
		})
	}
	joining.Wait()
}

func TestTopicsWithoutUseAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, c := hub.New(hub.Config{PerTopic: topiclog.Limits{Age: time.Minute}}), new(counter)
		var l listener
		topic, _, err := h.Join("listened", &l, hub.Start{})
		if err != nil {
			t.Fatal(err)
		}
		appendTo(t, h, c, "listened", 10)
		for i := range 10 {
			appendTo(t, h, c, fmt.Sprint("topic", i), 10)
			time.Sleep(time.Second)
		}
		time.Sleep(55 * time.Second)
		h.Sweep()
		// The first ones are a minute old or more, the last are not.
		if got := h.Stats(); got.Topics != 5 || got.Evicted != 7 {
			t.Errorf("after a minute: %+v, want 5 topics (one listened to), 7 messages evicted", got)
		}
		h.Leave(topic, &l)
		time.Sleep(time.Minute)
		h.Sweep()
		if got := h.Stats(); got.Topics != 0 || got.Bytes != 0 {
			t.Errorf("after two minutes: %+v, want nothing", got)
		}
	})
}

func TestTotalBytesDropsTheOldestOfAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size = 1000
		h, c := hub.New(hub.Config{TotalBytes: 10 * (size + topiclog.Overhead)}), new(counter)
		var l listener
		_, place, err := h.Join("old", &l, hub.Start{})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 30 {
			appendTo(t, h, c, []string{"old", "new"}[min(i/5, 1)], size)
			time.Sleep(time.Second)
		}
		got := h.Stats()
		if got.Bytes > 10*(size+topiclog.Overhead) || got.Evicted != 20 {
			t.Errorf("%+v, want at most 10 messages", got)
		}
		if got := offsets(place.Cursor); len(got) != 5 {
			t.Errorf("a cursor reads %d messages that were dropped behind it, want 5", len(got))
		}
	})
}

func TestMaxTopicsDropsWhatNobodyListensTo(t *testing.T) {
	h, c := hub.New(hub.Config{MaxTopics: 3}), new(counter)
	var l listener
	for i := range 10 {
		appendTo(t, h, c, fmt.Sprint("topic", i), 1)
	}
	if got := h.Stats().Topics; got != 3 {
		t.Errorf("%d topics, want 3", got)
	}
	for i := range 3 {
		if _, _, err := h.Join(notiflux.Topic(fmt.Sprint("listened", i)), &l, hub.Start{}); err != nil {
			t.Fatal(err)
		}
	}
	appendTo(t, h, c, "listened0", 1)
	_, err := publish(h, c, "one more", 1)
	var refusal *notiflux.Error
	if !errors.As(err, &refusal) || refusal.Code != notiflux.OverCapacity {
		t.Errorf("Append to a full hub = %v, want %s", err, notiflux.OverCapacity)
	}
	if got := h.Stats().Bytes; got == 0 {
		t.Error("a topic that is listened to lost its message for one that was refused")
	}
}

func BenchmarkAppend(b *testing.B) {
	for _, listeners := range []int{0, 1, 4} {
		b.Run(fmt.Sprintf("listeners=%d/size=100", listeners), func(b *testing.B) {
			h, c := hub.New(hub.Config{PerTopic: topiclog.Limits{Count: 100}, TotalBytes: 1 << 28}), new(counter)
			for range listeners {
				if _, _, err := h.Join("t", new(listener), hub.Start{}); err != nil {
					b.Fatal(err)
				}
			}
			data := body(100)
			b.ReportAllocs()
			ps := []notiflux.Publication{{Topic: "t", Body: data}}
			for b.Loop() {
				h.Append(ps, c.next)
			}
		})
	}
}
