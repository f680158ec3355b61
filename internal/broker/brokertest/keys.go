package brokertest

import (
	"sync"
	"testing"

	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// one publishes one message and returns its outcome.
func one(n *node, p pubsub.Publication) pubsub.Publication { return n.publish(p)[0] }

func keyed(topic pubsub.Topic, key, data string) pubsub.Publication {
	return pubsub.Publication{Topic: topic, Key: key, Body: pubsub.Body{Data: []byte(data)}}
}

func sameKey(t *testing.T, n *node) {
	first := one(n, keyed("t", "k", "x"))
	if first.Err != nil {
		t.Fatal(first.Err)
	}
	n.send("t", "between")
	for range 3 {
		if again := one(n, keyed("t", "k", "x")); again.Err != nil || again.Position != first.Position {
			t.Errorf("the same again is at %v, %v; want %v", again.Position, again.Err, first.Position)
		}
	}
	for _, p := range []pubsub.Publication{keyed("t", "k", "y"), {Topic: "t", Key: "k", Body: pubsub.Body{Data: []byte("x"), JSON: true}}} {
		if other := one(n, p); other.Err == nil || pubsub.Refusal(other.Err).Code != pubsub.KeyReused {
			t.Errorf("another message with the same key: %v, %v; want %s", other.Position, other.Err, pubsub.KeyReused)
		}
	}
	for _, p := range []pubsub.Publication{keyed("u", "k", "y"), keyed("t", "l", "x"), keyed("t", "", "x")} {
		if p = one(n, p); p.Err != nil || p.Position == first.Position {
			t.Errorf("another topic, another key, none: %v, %v", p.Position, p.Err)
		}
	}
	if got := n.logged("t"); got != "[x between x x]" {
		t.Errorf("the log has %s", got)
	}
}

func sameKeyAtOnce(t *testing.T, n *node) {
	const publishers = 50
	positions := make([]pubsub.Position, publishers)
	var wg sync.WaitGroup
	for i := range positions {
		wg.Go(func() {
			p := one(n, keyed("t", "k", "x"))
			if p.Err != nil {
				t.Error(p.Err)
			}
			positions[i] = p.Position
		})
	}
	wg.Wait()
	for _, p := range positions {
		if p != positions[0] {
			t.Errorf("published at %v and at %v", positions[0], p)
		}
	}
	if got := n.logged("t"); got != "[x]" {
		t.Errorf("the log has %v, want one message", got)
	}
}

// batches checks that each message of a batch has its own outcome, with and without keys.
// This includes a message that is in the batch twice, and the messages of another batch in
// another order.
func batches(t *testing.T, n *node) {
	failed := pubsub.Errorf(pubsub.TopicDenied, "not this one")
	ps := []pubsub.Publication{keyed("t", "", "1"), keyed("t", "k", "2"), {Topic: "t", Err: failed}, keyed("t", "k", "2"), keyed("u", "", "3")}
	n.publish(ps...)
	if ps[0].Err != nil || ps[1].Err != nil || ps[2].Err != failed || ps[3].Err != nil || ps[4].Err != nil {
		t.Fatalf("%+v", ps)
	}
	if ps[3].Position != ps[1].Position || ps[1].Position.Offset <= ps[0].Position.Offset {
		t.Errorf("positions %v, %v, %v", ps[0].Position, ps[1].Position, ps[3].Position)
	}
	if got := n.logged("t") + " " + n.logged("u"); got != "[1 2] [3]" {
		t.Errorf("the logs have %s", got)
	}
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			ps := []pubsub.Publication{keyed("v", "a", "1"), keyed("v", "b", "2")}
			if i%2 == 0 {
				ps[0], ps[1] = ps[1], ps[0]
			}
			n.publish(ps...)
		})
	}
	wg.Wait()
	if got := n.logged("v"); got != "[1 2]" && got != "[2 1]" {
		t.Errorf("the log has %v, want each message once", got)
	}
}

// failedKey checks that the key of a failed message becomes free again.
func failedKey(t *testing.T, n *node) {
	failed := keyed("t", "k", "x")
	failed.Err = pubsub.Errorf(pubsub.TopicDenied, "not yet")
	if p := one(n, failed); p.Err != failed.Err {
		t.Errorf("Err = %v, want %v", p.Err, failed.Err)
	}
	if p := one(n, keyed("t", "k", "y")); p.Err != nil {
		t.Errorf("after a failure: %v", p.Err)
	}
}
