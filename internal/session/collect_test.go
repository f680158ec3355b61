package session_test

import (
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/topic"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// dirty returns how many clients have something to write.
func dirty(clients []*client) (n int) {
	for _, c := range clients {
		if c.dirty {
			n++
		}
	}
	return n
}

// A message of a small topic waits for only a part of a large topic's subscribers.
func TestTopicsTakeTurns(t *testing.T) {
	w, clients := subscribers(t, 2000, "hot")
	small := w.connect()
	small.subscribe("small")
	w.publish("hot", "to many")
	for range 2 {
		if !w.group.Collect() {
			t.Fatalf("all %d are marked at once", dirty(clients))
		}
	}
	w.publish("hot", "to many again")
	w.publish("small", "to one")
	before := dirty(clients)
	if w.group.Collect(); !small.dirty {
		t.Error("the small topic's client is not marked in the next part")
	}
	if got := dirty(clients) - before; got == 0 {
		t.Error("the large topic's clients are not in that part")
	}
	for w.group.Collect() {
	}
	if got := dirty(clients); got != len(clients) {
		t.Errorf("in the end %d are marked, want %d", got, len(clients))
	}
}

// A session that reads several topics is marked in each of them before it writes.
func TestSmallTopicsShareAPart(t *testing.T) {
	topics := []pubsub.Topic{"a", "b", "c", "d", "e"}
	w, clients := subscribers(t, 20, topics...)
	for _, topic := range topics {
		w.publish(topic, string(topic))
	}
	if w.group.Collect() {
		t.Error("100 subscriptions are more than a part")
	}
	for _, c := range clients {
		p := c.s.Next()
		c.sent = append(c.sent, p...)
		c.s.Wrote(len(p))
		got := c.messages()
		slices.Sort(got)
		if !slices.Equal(got, []string{"a", "b", "c", "d", "e"}) {
			t.Fatalf("the first write has %q", got)
		}
	}
}

// If clients come or leave while a topic's subscribers are marked, no subscriber is left
// out.
func TestNoSubscriberIsLeftOutOfAPass(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 0))
		w := newWorld(t, topic.Limits{Count: 1000}, nil)
		token := w.token("a")
		var clients []*client
		want := make(map[*client][]string)
		act := map[string]func(){
			"join": func() {
				c := w.connect()
				c.say("/subscribe a " + token)
				clients = append(clients, c)
			},
			"leave": func() {
				if len(clients) == 0 {
					return
				}
				i := r.IntN(len(clients))
				c := clients[i]
				clients = slices.Delete(clients, i, i+1)
				if r.IntN(2) == 0 {
					c.leave()
				} else {
					c.say("/unsubscribe a")
				}
			},
			"publish": func() {
				data := string(rune('a' + r.IntN(26)))
				w.publish("a", data)
				for _, c := range clients {
					want[c] = append(want[c], data)
				}
			},
			"collect": func() {
				w.group.Collect()
				for _, c := range clients {
					if c.dirty && r.IntN(2) == 0 {
						c.dirty = false
						c.write(1 << 30)
					}
				}
			},
		}
		for range 700 {
			act["join"]()
		}
		for range 300 {
			switch n := r.IntN(20); {
			case n == 0:
				act["publish"]()
			case n < 6:
				act["collect"]()
			case n < 14:
				act["leave"]()
			default:
				act["join"]()
			}
		}
		for w.group.Collect() {
		}
		for i, c := range clients {
			if c.dirty {
				c.write(1 << 30)
			}
			if got := c.messages(); !slices.Equal(got, want[c]) {
				t.Fatalf("seed %d: client %d of %d got %q, want %q", seed, i, len(clients), got, want[c])
			}
		}
	}
}

// A session that ends because of Drain gets all earlier messages, marked or not.
func TestDrainInAPass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, clients := subscribers(t, 1000, "a")
		w.publish("a", "the last")
		w.group.Collect()
		w.group.Drain(0)
		time.Sleep(time.Second)
		synctest.Wait()
		w.loop.run()
		for i, c := range clients {
			c.write(1 << 30)
			if got := c.messages(); !slices.Equal(got, []string{"the last"}) || c.code != wire.CloseRestart {
				t.Fatalf("client %d of %d got %q and was closed with %d", i, len(clients), got, c.code)
			}
		}
	})
}
