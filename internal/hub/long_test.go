package hub_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux"
	"github.com/ikornaselur/notiflux/internal/hub"
	"github.com/ikornaselur/notiflux/internal/topiclog"
)

// long returns a hub with a topic that holds n messages, every other one of them
// excluding connection 1, and a listener's place in it before all of them.
func long(t testing.TB, n int) (*hub.Hub, *hub.Topic, hub.Place) {
	h, c := hub.New(hub.Config{Epoch: "E", PerTopic: topiclog.Limits{Count: n}}), new(counter)
	topic, place, err := h.Join("t", new(listener), hub.Start{})
	if err != nil {
		t.Fatal(err)
	}
	ps := make([]notiflux.Publication, n)
	for i := range ps {
		ps[i] = notiflux.Publication{Topic: "t", Body: body(1), Exclude: notiflux.Connection(i % 2)}
	}
	h.Append(ps, c.next)
	return h, topic, place
}

// To find a place in a long history, and to count from there, takes a few steps. Were
// each of them a walk over the history, this test would take a quarter of an hour.
func TestALongHistoryIsNotWalked(t *testing.T) {
	const n, times = 200_000, 200_000
	h, topic, first := long(t, n)
	for i := range times {
		back := i%n + 1
		since := h.Position(uint64(n - back))
		for name, start := range map[string]hub.Start{
			"since": {Since: since, Connection: 1},
			"last":  {Last: back, Connection: 1},
		} {
			p := h.Place(topic, start)
			if p.Position != since || p.Replay != back/2 || !p.Recovered {
				t.Fatalf("%s, %d before the head: %+v", name, back, p)
			}
		}
		if got := topic.Newest(first.Cursor).Offset(); got != n-1 {
			t.Fatalf("the newest message is behind %d, want %d", got, n-1)
		}
	}
}

// A sweep that drops much does it in slices: others get in between. This test sees
// them do so, unless chance keeps it from the processor the whole time.
func TestASweepLetsOthersIn(t *testing.T) {
	const n, tries = 20_000, 50
	var now time.Time
	fill := map[string]func(h *hub.Hub, c *counter){
		"messages of a topic": func(h *hub.Hub, c *counter) {
			ps := make([]notiflux.Publication, n)
			for i := range ps {
				ps[i] = notiflux.Publication{Topic: "t", Body: body(1)}
			}
			h.Append(ps, c.next)
		},
		"topics": func(h *hub.Hub, c *counter) {
			for i := range n {
				_, _ = publish(h, c, notiflux.Topic(fmt.Sprint(i)), 1)
			}
		},
		"memories": func(h *hub.Hub, _ *counter) {
			for i := range n {
				h.History(notiflux.Topic(fmt.Sprint(i)), notiflux.Position{}, 1)
			}
		},
	}
	for what, fill := range fill {
		seen := false // A state between the beginning and the end.
		for try := 0; try < tries && !seen; try++ {
			now = time.Now()
			c, began := new(counter), make(chan struct{})
			sweeping := false
			h := hub.New(hub.Config{Epoch: "E", PerTopic: topiclog.Limits{Age: time.Minute}, Remember: time.Hour, Now: func() time.Time {
				if sweeping {
					sweeping = false
					close(began)
				}
				return now
			}})
			fill(h, c)
			var swept sync.WaitGroup
			var done atomic.Bool
			now, sweeping = now.Add(2*time.Hour), true
			swept.Go(func() { h.Sweep(); done.Store(true) })
			<-began
			for !done.Load() && !seen {
				s := h.Stats()
				left := s.Topics + s.Remembered
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
			t.Errorf("%s: nobody gets in while a sweep drops %d of them", what, n)
		}
	}
}

func BenchmarkPlace(b *testing.B) {
	for _, n := range []int{100, 10_000, 1_000_000} {
		h, topic, _ := long(b, n)
		for name, start := range map[string]hub.Start{
			"since": {Since: h.Position(uint64(n - 1))},
			"last":  {Last: 1},
		} {
			b.Run(fmt.Sprintf("start=%s/history=%d", name, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					h.Place(topic, start)
				}
			})
		}
	}
}
