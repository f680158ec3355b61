// Package brokertest is the test suite that every [broker.Broker] passes.
package brokertest

import (
	"fmt"
	"sync"
	"testing"

	"github.com/ikornaselur/notiflux"
	"github.com/ikornaselur/notiflux/internal/broker"
	"github.com/ikornaselur/notiflux/internal/topic"
)

// Run tests the broker that open returns. For each test it calls open with new topics, and
// closes the broker.
func Run(t *testing.T, open func(t *testing.T, topics *topic.Topics) broker.Broker) {
	for name, test := range map[string]func(*testing.T, broker.Broker, *topic.Topics){
		"a published message is in the log":    publishedIsLogged,
		"offsets of a topic strictly increase": offsetsIncrease,
		"a dropped topic reuses no offset":     droppedTopic,
		"closed refuses":                       closedRefuses,
		"the same key is published once":       sameKey,
		"the same key at once":                 sameKeyAtOnce,
		"batches":                              batches,
		"what failed has no key":               failedKey,
	} {
		t.Run(name, func(t *testing.T) {
			topics := topic.New(topic.Config{Epoch: epoch, PerTopic: topic.Limits{Count: 1000}})
			b := open(t, topics)
			defer b.Close()
			test(t, b, topics)
		})
	}
}

const epoch = "E"

type listener struct{}

func (*listener) Wake() {}

func publish(t *testing.T, b broker.Broker, topic notiflux.Topic, data string) notiflux.Position {
	t.Helper()
	p := one(t, b, notiflux.Publication{Topic: topic, Body: notiflux.Body{Data: []byte(data)}})
	if p.Err != nil {
		t.Fatalf("Publish(%q) = %v", topic, p.Err)
	}
	return p.Position
}

// one publishes one message and returns it with its position or error.
func one(t *testing.T, b broker.Broker, p notiflux.Publication) notiflux.Publication {
	ps := []notiflux.Publication{p}
	b.Publish(t.Context(), ps)
	return ps[0]
}

func publishedIsLogged(t *testing.T, b broker.Broker, topics *topic.Topics) {
	_, resumed, err := topics.Join("t", new(listener), topic.ResumePoint{})
	if err != nil {
		t.Fatal(err)
	}
	cursor := resumed.Cursor
	for i := range 10 {
		p := publish(t, b, "t", fmt.Sprint(i))
		entry, next, ok := cursor.Next()
		if !ok {
			t.Fatalf("message %d was published and is not in the log", i)
		}
		if m := entry.Message(); m.Position != p || string(m.Body.Data) != fmt.Sprint(i) || m.Topic != "t" {
			t.Errorf("the log has %+v, want %d at %v", m, i, p)
		}
		cursor = next
	}
}

func offsetsIncrease(t *testing.T, b broker.Broker, topics *topic.Topics) {
	_, resumed, err := topics.Join("t", new(listener), topic.ResumePoint{})
	if err != nil {
		t.Fatal(err)
	}
	const publishers, each = 8, 50
	var mu sync.Mutex
	published := make(map[uint64]string)
	var wg sync.WaitGroup
	for i := range publishers {
		wg.Go(func() {
			var before notiflux.Position
			for j := range each {
				data := fmt.Sprintf("%d/%d", i, j)
				said := one(t, b, notiflux.Publication{Topic: "t", Body: notiflux.Body{Data: []byte(data)}})
				if said.Err != nil {
					t.Error(said.Err)
					return
				}
				p := said.Position
				if p.Offset <= before.Offset || before.Epoch != "" && p.Epoch != before.Epoch {
					t.Errorf("published at %v after %v", p, before)
				}
				before = p
				mu.Lock()
				published[p.Offset] = data
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(published) != publishers*each {
		t.Errorf("%d offsets for %d messages", len(published), publishers*each)
	}
	cursor := resumed.Cursor
	var last uint64
	for {
		entry, next, ok := cursor.Next()
		if !ok {
			return
		}
		m := entry.Message()
		if m.Position.Offset <= last {
			t.Errorf("offset %d follows %d in the log", m.Position.Offset, last)
		}
		if published[m.Position.Offset] != string(m.Body.Data) {
			t.Errorf("offset %d holds %q, its publisher published %q", m.Position.Offset, m.Body.Data, published[m.Position.Offset])
		}
		last, cursor = m.Position.Offset, next
	}
}

func droppedTopic(t *testing.T, b broker.Broker, topics *topic.Topics) {
	l := new(listener)
	joined, _, err := topics.Join("t", l, topic.ResumePoint{})
	if err != nil {
		t.Fatal(err)
	}
	before := publish(t, b, "t", "x")
	topics.Leave(joined, l)
	if after := publish(t, b, "t", "y"); after.Offset <= before.Offset {
		t.Errorf("published at %v, then at %v", before, after)
	}
}

func closedRefuses(t *testing.T, b broker.Broker, _ *topic.Topics) {
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if err := one(t, b, notiflux.Publication{Topic: "t"}).Err; err == nil || notiflux.Refusal(err).Code != notiflux.Draining {
		t.Errorf("Publish after Close = %v, want %s", err, notiflux.Draining)
	}
}
