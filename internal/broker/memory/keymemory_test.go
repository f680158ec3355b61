package memory_test

import (
	"fmt"
	"math"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ikornaselur/notiflux/internal/broker/memory"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/topic"
)

// oneEach returns n publications with different keys and subjects.
func oneEach(n int) []pubsub.Publication {
	ps := make([]pubsub.Publication, n)
	for i := range ps {
		ps[i] = pubsub.Publication{Topic: "t", Key: fmt.Sprint(i), Subject: fmt.Sprintf("%0255d", i)}
	}
	return ps
}

// Expired keys of many subjects free all their memory.
func TestExpiredKeysFreeTheirMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 100_000
		b := newBroker(memory.Config{}, topic.Config{PerTopic: topic.Limits{Count: 1}})
		before := heap()
		publishAll(b, oneEach(n))
		if held := memory.KeysForTest(b); held != n {
			t.Fatalf("%d keys are held, want %d", held, n)
		}
		time.Sleep(2 * memory.KeyTime)
		synctest.Wait()
		if left := heap() - before; b.KeyBytes() != 0 || left > n {
			t.Errorf("%d bytes are counted and %d taken, want 0 and close to 0", b.KeyBytes(), left)
		}
		runtime.KeepAlive(b)
	})
}

// The keys of one request do not exceed the limit, even if their subjects differ.
func TestOneRequestKeepsTheKeyLimit(t *testing.T) {
	const limit = 100_000
	b := newBroker(memory.Config{MaxKeyBytes: limit}, topic.Config{})
	ps := oneEach(1000)
	publishAll(b, ps)
	if n := b.KeyBytes(); n > limit || n < limit*9/10 {
		t.Errorf("keys take %d bytes, want at most %d and at least nine tenths of it", n, limit)
	}
	if err := ps[len(ps)-1].Err; !refused(err) {
		t.Errorf("the last one: %v, want %s", err, pubsub.OverCapacity)
	}
}

// Keys and subjects of messages that failed take no memory.
func TestFailedKeysCountNothing(t *testing.T) {
	h := heldTopics{let: make(chan error, 1)}
	h.let <- pubsub.Errorf(pubsub.OverCapacity, "full")
	b := memory.NewWithOrderer(h.over)
	publishAll(b, oneEach(10))
	if held := memory.KeysForTest(b); held != 0 || b.KeyBytes() != 0 {
		t.Errorf("%d keys are held in %d bytes, want none", held, b.KeyBytes())
	}
}

func TestAHugeKeyLimitRefusesNothing(t *testing.T) {
	for _, limit := range []int64{1 << 61, 1 << 62, math.MaxInt64} {
		b := newBroker(memory.Config{MaxKeyBytes: limit}, topic.Config{})
		for i := range 3 {
			if err := publishAs(b, "s", fmt.Sprint(i)); err != nil {
				t.Errorf("limit %d: %v", limit, err)
			}
		}
	}
}

// KeyTime begins when the message was ordered, however long ordering took.
func TestSlowKeyLastsItsFullTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := heldTopics{let: make(chan error)}
		b := memory.NewWithOrderer(h.over)
		result := make(chan pubsub.Publication, 1)
		go func() { result <- publishKey(t, b, "k") }()
		time.Sleep(2 * memory.KeyTime)
		h.let <- nil
		first := <-result
		time.Sleep(memory.KeyTime - time.Second)
		if again := publishKey(t, b, "k"); again.Position != first.Position || again.Err != nil {
			t.Errorf("published again at %v, %v; want %v", again.Position, again.Err, first.Position)
		}
		time.Sleep(memory.KeyTime)
		synctest.Wait()
		if held := memory.KeysForTest(b); held != 0 {
			t.Errorf("%d keys are held after their time, want none", held)
		}
	})
}
