package session_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/topic"
)

// takeAll lets the socket of every client take all available bytes.
func takeAll(w *world, clients []*client) {
	for w.group.Collect() {
	}
	for _, c := range clients {
		for p := c.s.Next(); len(p) > 0; p = c.s.Next() {
			c.s.Wrote(len(p))
		}
	}
}

func subscribers(t tb, n int, topics ...pubsub.Topic) (*world, []*client) {
	w := newWorld(t, topic.Limits{Count: 100}, nil)
	var clients []*client
	for range n {
		c := w.connect()
		for _, topic := range topics {
			c.subscribe(topic)
		}
		clients = append(clients, c)
	}
	return w, clients
}

// The work of the session for a delivery, without the socket.
func BenchmarkDeliver(b *testing.B) {
	for _, subs := range []int{1, 1000} {
		for _, pending := range []int{1, 16} {
			b.Run(fmt.Sprintf("subs=%d/pending=%d/size=100", subs, pending), func(b *testing.B) {
				w, clients := subscribers(b, subs, "t")
				data := strings.Repeat("x", 100)
				b.ReportAllocs()
				for b.Loop() {
					for range pending {
						w.publish("t", data)
					}
					takeAll(w, clients)
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*subs*pending), "ns/delivery")
			})
		}
	}
}

// A message costs the same few allocations for any number of subscribers.
func TestDeliveryAllocatesPerMessageOnly(t *testing.T) {
	w, clients := subscribers(t, 200, "t")
	data := strings.Repeat("x", 100)
	got := testing.AllocsPerRun(100, func() {
		w.publish("t", data)
		takeAll(w, clients)
	})
	// The data, the log's next entry, the frame, the pointer to it, and the test's own
	// closure.
	if got > 5 {
		t.Errorf("%v allocations for a message to 200 subscribers, want at most 5", got)
	}
}
