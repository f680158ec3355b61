package redis_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/internal/broker"
	"github.com/ikornaselur/notiflux/internal/broker/redis"
	"github.com/ikornaselur/notiflux/internal/internaltest/redistest"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/topic"
)

// run starts a node, and ends it with the test. It returns when the node is connected.
func run(t *testing.T, address string) *redis.Broker {
	b := node(topic.New(topic.Config{Detach: func(pubsub.Topic) {}}), address)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- b.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	awaitHealth(b)
	return b
}

func awaitHealth(b broker.Broker) {
	for b.Health() != nil {
		<-time.After(time.Millisecond)
	}
}

// publish publishes a message in the topic t, and waits for the outcome.
func publish(b broker.Publisher, data, key string) pubsub.Publication {
	ps := []pubsub.Publication{{Topic: "t", Body: pubsub.Body{Data: []byte(data)}, Key: key}}
	done := make(chan struct{})
	if !b.Publish(ps, func() { close(done) }) {
		<-done
	}
	return ps[0]
}

// With AOF always, a message that was acknowledged survives the end of the process.
func TestFaultsOfAOFAlways(t *testing.T) {
	eachSeed(t, keepAcknowledged)
}

func keepAcknowledged(t *testing.T, seed uint64) {
	t.Parallel()
	random := rand.New(rand.NewPCG(seed, 0))
	s := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
	b := run(t, s.Addr)
	acknowledged := make(map[string]bool)
	var mu sync.Mutex
	kept := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(acknowledged)
	}
	for round := range 3 {
		var publishing sync.WaitGroup
		over := make(chan struct{})
		for p := range 4 {
			publishing.Go(func() {
				for i := 0; ; i++ {
					select {
					case <-over:
						return
					default:
					}
					data := fmt.Sprint(round, p, i)
					if publish(b, data, "").Err == nil {
						mu.Lock()
						acknowledged[data] = true
						mu.Unlock()
					}
					<-time.After(5 * time.Millisecond)
				}
			})
		}
		for kept() < (round+1)*30 {
			<-time.After(time.Millisecond)
		}
		<-time.After(time.Duration(random.IntN(50)) * time.Millisecond)
		s.Kill()
		close(over)
		publishing.Wait()
		s.Run()
		awaitHealth(b)
	}
	y, err := b.History(t.Context(), "t", pubsub.Position{}, 1000)
	for ; err != nil; y, err = b.History(t.Context(), "t", pubsub.Position{}, 1000) {
		if pubsub.Refusal(err).Code != pubsub.Unavailable { // The node may not have noticed yet that Redis was away.
			t.Fatal(err)
		}
		<-time.After(10 * time.Millisecond)
	}
	for _, m := range y.Messages() {
		delete(acknowledged, string(m.Body.Data))
	}
	if len(acknowledged) > 0 {
		t.Errorf("%d acknowledged messages are missing: %v", len(acknowledged), acknowledged)
	}
}

// Two nodes that publish with the same key at once publish one message.
func TestFaultsOfOneKeyOnTwoNodes(t *testing.T) {
	eachSeed(t, func(t *testing.T, _ uint64) {
		t.Parallel()
		s := redistest.Start(t)
		nodes := []*redis.Broker{run(t, s.Addr), run(t, s.Addr)}
		const keys = 200
		for i := range keys {
			var got [4]pubsub.Publication
			var publishing sync.WaitGroup
			for j := range got {
				publishing.Go(func() {
					for got[j] = publish(nodes[j%2], "x", fmt.Sprint(i)); isTemporary(got[j].Err); {
						got[j] = publish(nodes[j%2], "x", fmt.Sprint(i)) // A busy machine may look like a fault.
					}
				})
			}
			publishing.Wait()
			for _, p := range got {
				if p.Err != nil || p.Position != got[0].Position {
					t.Fatalf("the same key gave %v and %v, %v", got[0].Position, p.Position, p.Err)
				}
			}
		}
		awaitHealth(nodes[0])
		y, err := nodes[0].History(t.Context(), "t", pubsub.Position{}, 1000)
		if err != nil || len(y.Messages()) != keys {
			t.Errorf("%d messages of %d keys, %v", len(y.Messages()), keys, err)
		}
	})
}

// isTemporary reports whether a publisher that gets err publishes again with the same key.
func isTemporary(err error) bool {
	if err == nil {
		return false
	}
	code := pubsub.Refusal(err).Code
	return code == pubsub.Unavailable || code == pubsub.OutcomeUnknown
}
