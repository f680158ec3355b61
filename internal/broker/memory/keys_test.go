package memory_test

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ikornaselur/notiflux/internal/broker"
	"github.com/ikornaselur/notiflux/internal/broker/memory"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/topic"
)

func newBroker(c memory.Config, t topic.Config) *memory.Broker {
	b, _ := memory.New(c, t)
	return b
}

// publishAll publishes ps and waits for their outcomes.
func publishAll(b *memory.Broker, ps []pubsub.Publication) {
	done := make(chan struct{})
	if !b.Publish(ps, func() { close(done) }) {
		<-done
	}
}

func publishKey(t *testing.T, b *memory.Broker, key string) pubsub.Publication {
	ps := []pubsub.Publication{{Topic: "t", Key: key}}
	publishAll(b, ps)
	return ps[0]
}

func TestKeysLastTheirFullTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(memory.Config{}, topic.Config{})
		first := publishKey(t, b, "k")
		time.Sleep(memory.KeyTime - time.Second)
		if again := publishKey(t, b, "k"); again.Position != first.Position {
			t.Errorf("published again at %v, want %v", again.Position, first.Position)
		}
		time.Sleep(time.Second)
		if again := publishKey(t, b, "k"); again.Err != nil || again.Position == first.Position {
			t.Errorf("after its time the key has %v, %v", again.Position, again.Err)
		}
	})
}

// heldTopics appends messages when let receives nil, or fails them with the error that let
// receives.
type heldTopics struct {
	*topic.Topics
	let chan error
}

// over returns h on top of the topics of a broker.
func (h heldTopics) over(topics *topic.Topics) memory.Orderer {
	h.Topics = topics
	return h
}

func (h heldTopics) Order(ps []pubsub.Publication, offset func() uint64) {
	if !slices.ContainsFunc(ps, func(p pubsub.Publication) bool { return p.Err == nil }) {
		return
	}
	if err := <-h.let; err != nil {
		for i := range ps {
			ps[i].Err = err
		}
		return
	}
	h.Topics.Order(ps, offset)
}

// While the first publication of a key is in flight, a second one waits for its outcome.
func TestTheSecondOfAKeyWaits(t *testing.T) {
	for _, failure := range []error{nil, pubsub.Errorf(pubsub.OverCapacity, "full")} {
		synctest.Test(t, func(t *testing.T) {
			h := heldTopics{let: make(chan error)}
			b := memory.NewWithOrderer(h.over)
			results := make(chan pubsub.Publication, 3)
			publish := func() { results <- publishKey(t, b, "k") }
			go publish()
			synctest.Wait()
			go publish()
			synctest.Wait()
			time.Sleep(broker.Timeout)
			if p := <-results; p.Err == nil || pubsub.Refusal(p.Err).Code != pubsub.OutcomeUnknown {
				t.Errorf("after the time limit, the second gets %v, %v", p.Position, p.Err)
			}
			go publish()
			synctest.Wait()
			if len(results) > 0 {
				t.Fatalf("returned before the first publication: %+v", <-results)
			}
			h.let <- failure
			first, second := <-results, <-results
			if first.Err != failure || second.Err != failure || first.Position != second.Position {
				t.Errorf("%v, %v and %v, %v; want the same, and %v", first.Position, first.Err, second.Position, second.Err, failure)
			}
			if held := memory.KeysForTest(b); held == 1 != (failure == nil) || b.KeyBytes() > 0 != (failure == nil) {
				t.Errorf("%d keys are held in %d bytes", held, b.KeyBytes())
			}
			go publish()
			if failure != nil { // Then the key is free.
				h.let <- nil
			}
			if p := <-results; p.Err != nil || p.Position.Offset != 1 {
				t.Errorf("the next publication: %v, %v", p.Position, p.Err)
			}
		})
	}
}

func publishAs(b *memory.Broker, subject, key string) error {
	ps := []pubsub.Publication{{Topic: "t", Subject: subject, Key: key}}
	publishAll(b, ps)
	return ps[0].Err
}

func refused(err error) bool {
	return err != nil && pubsub.Refusal(err).Code == pubsub.OverCapacity
}

// Keys beyond the limit are refused, and none is dropped early.
func TestKeysAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(memory.Config{MaxKeyBytes: 2*memory.SubjectBytes + 16*memory.KeyBytes}, topic.Config{})
		n := 0
		for ; ; n++ {
			err := publishAs(b, "", fmt.Sprint(n))
			if refused(err) {
				break
			}
			if err != nil || n > 20 {
				t.Fatalf("key %d: %v", n, err)
			}
			time.Sleep(time.Second)
		}
		if n < 8 {
			t.Errorf("refused after %d keys", n)
		}
		if p := publishKey(t, b, ""); p.Err != nil {
			t.Errorf("without a key: %v", p.Err)
		}
		if p := publishKey(t, b, "0"); p.Position.Offset != 1 {
			t.Errorf("the oldest key is at %v, want offset 1", p.Position)
		}
		time.Sleep(2 * memory.KeyTime)
		if err := publishAs(b, "", "one more"); err != nil {
			t.Errorf("after all keys expired: %v", err)
		}
	})
}

// However many keys one subject uses, there is room for the keys of others.
func TestOneSubjectLeavesRoomForOthers(t *testing.T) {
	const room = 10_000 * memory.KeyBytes
	b := newBroker(memory.Config{MaxKeyBytes: room}, topic.Config{PerTopic: topic.Limits{Count: 1}})
	fill := func(subject string) (n int64) {
		for ; ; n++ {
			if err := publishAs(b, subject, fmt.Sprint(subject, n)); refused(err) {
				return n * memory.KeyBytes
			} else if err != nil {
				t.Fatal(err)
			}
		}
	}
	if one := fill("a"); one < room*7/10 || one > room*8/10 {
		t.Errorf("one subject has %d of %d bytes", one, room)
	}
	for _, subject := range []string{"b", "c", "d"} {
		if others := fill(subject); others < room/100 {
			t.Errorf("%s has %d of %d bytes", subject, others, room)
		}
	}
	if b.KeyBytes() > room {
		t.Errorf("%d bytes, want at most %d", b.KeyBytes(), room)
	}
}

// Keys take no more memory than they count.
func TestKeysTakeNoMoreThanTheyCount(t *testing.T) {
	b := newBroker(memory.Config{}, topic.Config{PerTopic: topic.Limits{Count: 1}})
	before := heap()
	for i := range 100_000 {
		if err := publishAs(b, fmt.Sprint("subject ", i%1000), fmt.Sprint("a key that is a good deal longer than what is kept of it ", i)); err != nil {
			t.Fatal(err)
		}
	}
	if taken, counted := heap()-before, b.KeyBytes(); taken > counted || taken < counted/3 {
		t.Errorf("%d bytes are taken, %d counted", taken, counted)
	}
	runtime.KeepAlive(b)
}

func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// A key is kept while its message is being ordered, however long that takes.
func TestAPendingKeyIsNotForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := heldTopics{let: make(chan error)}
		b := memory.NewWithOrderer(h.over)
		results := make(chan pubsub.Publication, 2)
		publish := func() { results <- publishKey(t, b, "k") }
		go publish()
		time.Sleep(2 * memory.KeyTime)
		go publish()
		synctest.Wait()
		h.let <- nil
		if first, second := <-results, <-results; first.Err != nil || second.Err != nil || first.Position != second.Position {
			t.Errorf("ordered at %v, %v and at %v, %v", first.Position, first.Err, second.Position, second.Err)
		}
	})
}

// panickingTopics appends the first message of a call, and panics if there is a second.
type panickingTopics struct{ *topic.Topics }

func (h panickingTopics) Order(ps []pubsub.Publication, offset func() uint64) {
	h.Topics.Order(ps[:1], offset)
	if len(ps) > 1 {
		panic("a fault")
	}
}

// After a panic no call waits for a key. The keys of ordered messages stay; the others are
// free again.
func TestAPanicLeavesNoKeyPending(t *testing.T) {
	b := memory.NewWithOrderer(func(topics *topic.Topics) memory.Orderer { return panickingTopics{topics} })
	ps := []pubsub.Publication{{Topic: "t", Key: "ordered"}, {Topic: "t", Key: "lost"}}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
		}()
		publishAll(b, ps)
	}()
	if n := memory.KeysForTest(b); n != 1 {
		t.Errorf("%d keys are held, want the one that was ordered", n)
	}
	if again := publishKey(t, b, "ordered"); again.Position != ps[0].Position {
		t.Errorf("published again at %v, want %v", again.Position, ps[0].Position)
	}
	if again := publishKey(t, b, "lost"); again.Err != nil || again.Position == ps[0].Position {
		t.Errorf("the message that was not ordered is now at %v, %v", again.Position, again.Err)
	}
}

// A callback that panics blocks neither the callbacks of other calls nor Close.
func TestACallbackPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := heldTopics{let: make(chan error)}
		b := memory.NewWithOrderer(h.over)
		recovered := make(chan any, 1)
		go func() {
			defer func() { recovered <- recover() }()
			publishKey(t, b, "k")
		}()
		synctest.Wait()
		again := func(done func()) {
			if b.Publish([]pubsub.Publication{{Topic: "t", Key: "k"}}, done) {
				t.Fatal("the message is still being ordered, and its second publishing has an outcome")
			}
		}
		told := 0
		again(func() { told++; panic("a fault") })
		again(func() { told++ })
		h.let <- nil
		if v := <-recovered; v != "a fault" || told != 2 {
			t.Errorf("%d callbacks came, and the panic was %v", told, v)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := b.Close(ctx); err != nil {
			t.Errorf("Close = %v", err)
		}
	})
}

// After a panic, a publication whose key another call is ordering has an error that a
// client may see.
func TestAPanicLeavesNoInternalError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := heldTopics{let: make(chan error)}
		first := true
		b := memory.NewWithOrderer(func(topics *topic.Topics) memory.Orderer {
			held, panics := h.over(topics), panickingTopics{topics}
			return ordererFunc(func(ps []pubsub.Publication, offset func() uint64) {
				if first {
					first = false
					held.Order(ps, offset)
					return
				}
				panics.Order(ps, offset)
			})
		})
		go publishKey(t, b, "k")
		synctest.Wait()
		ps := []pubsub.Publication{{Topic: "t"}, {Topic: "t", Key: "k"}}
		broker.Publish(b, slog.New(slog.DiscardHandler), ps, nil)
		h.let <- nil
		if ps[0].Err != nil {
			t.Errorf("the message that was ordered failed: %v", ps[0].Err)
		}
		if code := pubsub.Refusal(ps[1].Err).Code; code != pubsub.OutcomeUnknown {
			t.Errorf("the message of the other call: %v, want %s", ps[1].Err, pubsub.OutcomeUnknown)
		}
	})
}

// An ordererFunc orders messages with a function.
type ordererFunc func(ps []pubsub.Publication, offset func() uint64)

func (f ordererFunc) Order(ps []pubsub.Publication, offset func() uint64) { f(ps, offset) }

// Close waits for messages that are being ordered. After it, Publish orders nothing.
func TestCloseWaitsForPublish(t *testing.T) {
	h := heldTopics{let: make(chan error)}
	b := memory.NewWithOrderer(h.over)
	result := make(chan pubsub.Publication, 1)
	go func() { result <- publishKey(t, b, "k") }()
	for memory.KeysForTest(b) == 0 {
		runtime.Gosched()
	}
	closed := make(chan struct{})
	go func() {
		_ = b.Close(context.Background())
		close(closed)
	}()
	for !memory.CloseWaitsForTest(b) {
		select {
		case <-closed:
			t.Fatal("Close returned while a message was being ordered")
		default:
			runtime.Gosched()
		}
	}
	h.let <- nil
	<-closed
	if p := <-result; p.Err != nil {
		t.Errorf("the message that was being ordered failed: %v", p.Err)
	}
	if p := publishKey(t, b, "later"); p.Err == nil || pubsub.Refusal(p.Err).Code != pubsub.Draining {
		t.Errorf("after Close: %v, want %s", p.Err, pubsub.Draining)
	}
}

// Keys expire even when no one publishes.
func TestKeysExpireWithoutPublishers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(memory.Config{}, topic.Config{})
		for i := range 100 {
			publishKey(t, b, fmt.Sprint(i))
			time.Sleep(time.Second)
		}
		time.Sleep(memory.KeyTime - 20*time.Second)
		synctest.Wait()
		if held := memory.KeysForTest(b); held == 0 || held > 80 {
			t.Errorf("%d keys are held", held)
		}
		time.Sleep(memory.KeyTime)
		synctest.Wait()
		if held := memory.KeysForTest(b); held != 0 || b.KeyBytes() != 0 {
			t.Errorf("%d keys are held in %d bytes, want none", held, b.KeyBytes())
		}
		if p := publishKey(t, b, "0"); p.Err != nil || p.Position.Offset != 101 {
			t.Errorf("published at %v, %v", p.Position, p.Err)
		}
	})
}
