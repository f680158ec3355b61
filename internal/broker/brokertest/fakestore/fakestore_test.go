package fakestore_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ikornaselur/notiflux/internal/broker"
	"github.com/ikornaselur/notiflux/internal/broker/brokertest"
	"github.com/ikornaselur/notiflux/internal/broker/brokertest/fakestore"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/topic"
)

// node returns a broker of s, and the topics that it feeds.
func node(s *fakestore.Store, c topic.Config) (*fakestore.Node, *topic.Topics) {
	var n *fakestore.Node
	c.Detach = func(name pubsub.Topic) { n.Detach(name) }
	topics := topic.New(c)
	n = s.Node(topics)
	return n, topics
}

func TestRemote(t *testing.T) {
	for seed := range uint64(5) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			c := fakestore.Config{Seed: seed}
			brokertest.Run(t, brokertest.Config{
				Delay: fakestore.New(c).Late(),
				Open: func(_ *testing.T, of topic.Config) (broker.Broker, *topic.Topics) {
					return node(fakestore.New(c), of)
				},
			})
		})
	}
}

func TestFaults(t *testing.T) {
	for seed := range uint64(70) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			c := fakestore.Config{Seed: seed}
			brokertest.RunRemote(t, brokertest.RemoteConfig{
				Delay: fakestore.New(c).Late(),
				Open: func(_ *testing.T, nodes int, of topic.Config) brokertest.Remote {
					s := fakestore.New(c)
					r := brokertest.Remote{NewEpoch: s.NewEpoch, Lose: s.Lose}
					for range nodes {
						n, topics := node(s, of)
						r.Nodes = append(r.Nodes, brokertest.RemoteNode{Broker: n, Topics: topics, Away: n.Away, Back: n.Back})
					}
					return r
				},
			})
		})
	}
}

// run runs a node of a new store in the bubble of the test.
func run(t *testing.T, c fakestore.Config) (*fakestore.Node, *topic.Topics) {
	n, topics := node(fakestore.New(c), topic.Config{})
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = n.Run(ctx) })
	t.Cleanup(func() {
		stop()
		running.Wait()
	})
	return n, topics
}

type listener struct{ wakes chan time.Time }

func (l *listener) Wake() { l.wakes <- time.Now() }

// join subscribes to a topic, retrying until it succeeds.
func join(t *testing.T, n *fakestore.Node, l *listener) topic.Cursor {
	attacher := broker.NewAttacher(n, broker.AttacherConfig{})
	for {
		as := []broker.Attachment{{Topic: "t"}}
		if err := brokertest.AttachAll(t.Context(), attacher, as); err != nil {
			t.Fatal(err)
		}
		if pin, err := as[0].Take(); err == nil {
			_, resumed := pin.Join(l)
			return resumed.Cursor
		}
		<-time.After(time.Second)
	}
}

// send publishes a message. It does not wait.
func send(n *fakestore.Node, size int, then func(error)) {
	ps := []pubsub.Publication{{Topic: "t", Body: pubsub.Body{Data: make([]byte, size)}}}
	done := func() { then(ps[0].Err) }
	if n.Publish(ps, done) {
		done()
	}
}

// Messages arrive by pushes. Checks are only for pushes that get lost.
func TestPushesAreNotPolled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, _ := run(t, fakestore.Config{Check: time.Hour})
		at := join(t, n, &listener{make(chan time.Time, 1000)})
		for range 200 {
			send(n, 1, func(error) {})
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		read := 0
		for ok := true; ok; read++ {
			_, at, ok = at.Next()
		}
		if read < 190 { // The last ones may be lost.
			t.Errorf("%d of 200 messages have come", read-1)
		}
	})
}

func TestBytesInFlightAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, _ := run(t, fakestore.Config{MaxInFlight: 10_000})
		for range 2 {
			full, published := 0, 0
			var mu sync.Mutex
			for range 20 {
				send(n, 1000, func(err error) {
					mu.Lock()
					defer mu.Unlock()
					switch {
					case err == nil:
						published++
					case pubsub.Refusal(err).Code == pubsub.OverCapacity:
						full++
					default:
						t.Error(err)
					}
				})
			}
			time.Sleep(broker.Timeout)
			synctest.Wait()
			if published != 7 || full != 13 {
				t.Errorf("%d published, %d refused", published, full)
			}
		}
	})
}

// The same seed and the same calls cause the same events at the same times.
func TestSameSeedSameEvents(t *testing.T) {
	trace := func(seed uint64) (events string) {
		synctest.Test(t, func(t *testing.T) {
			n, _ := run(t, fakestore.Config{Seed: seed, Trouble: time.Second})
			began := time.Now()
			l := &listener{make(chan time.Time, 1000)}
			at := join(t, n, l)
			for range 300 {
				send(n, 1, func(err error) { events += fmt.Sprintln(time.Since(began), err) })
				time.Sleep(100 * time.Millisecond)
				synctest.Wait()
			}
			time.Sleep(10 * time.Second)
			synctest.Wait()
			for entry, next, ok := at.Next(); ok; entry, next, ok = next.Next() {
				to, _ := entry.Marker()
				events += fmt.Sprintln(entry.Message().Position, to)
			}
			for range len(l.wakes) {
				events += fmt.Sprintln((<-l.wakes).Sub(began))
			}
		})
		return events
	}
	if first := trace(1); first != trace(1) || first == trace(2) {
		t.Error("the events of one seed differ, or those of two are the same")
	}
}
