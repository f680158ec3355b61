package broker_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ikornaselur/notiflux"
	"github.com/ikornaselur/notiflux/internal/broker"
	"github.com/ikornaselur/notiflux/internal/hub"
)

func publishKey(t *testing.T, b *broker.Memory, key string) notiflux.Publication {
	ps := []notiflux.Publication{{Topic: "t", Key: key}}
	b.Publish(t.Context(), ps)
	return ps[0]
}

func TestKeysCountForTheirTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := broker.NewMemory(hub.New(hub.Config{}))
		first := publishKey(t, b, "k")
		time.Sleep(broker.KeyTime - time.Second)
		if again := publishKey(t, b, "k"); again.Position != first.Position {
			t.Errorf("published again at %v, want %v", again.Position, first.Position)
		}
		time.Sleep(time.Second)
		if again := publishKey(t, b, "k"); again.Err != nil || again.Position == first.Position {
			t.Errorf("after its time the key gives %v, %v", again.Position, again.Err)
		}
	})
}

// heldHub orders nothing new until it is let, or fails.
type heldHub struct {
	*hub.Hub
	let chan error
}

func (h heldHub) Append(ps []notiflux.Publication, offset func() uint64) {
	if !slices.ContainsFunc(ps, func(p notiflux.Publication) bool { return p.Err == nil }) {
		return
	}
	if err := <-h.let; err != nil {
		for i := range ps {
			ps[i].Err = err
		}
		return
	}
	h.Hub.Append(ps, offset)
}

// While the first is under way, another one waits for what becomes of it.
func TestTheSecondOfAKeyWaits(t *testing.T) {
	for _, failure := range []error{nil, notiflux.Errorf(notiflux.OverCapacity, "full")} {
		synctest.Test(t, func(t *testing.T) {
			h := heldHub{hub.New(hub.Config{}), make(chan error)}
			b := broker.NewMemory(h)
			results := make(chan notiflux.Publication, 3)
			publish := func(ctx context.Context) {
				ps := []notiflux.Publication{{Topic: "t", Key: "k"}}
				b.Publish(ctx, ps)
				results <- ps[0]
			}
			impatient, leave := context.WithCancel(t.Context())
			go publish(t.Context())
			synctest.Wait()
			go publish(impatient)
			go publish(t.Context())
			synctest.Wait()
			if len(results) > 0 {
				t.Fatalf("answered before the first: %+v", <-results)
			}
			leave()
			if p := <-results; p.Err == nil || notiflux.Refusal(p.Err).Code != notiflux.OutcomeUnknown {
				t.Errorf("who does not wait is told %v, %v", p.Position, p.Err)
			}
			h.let <- failure
			first, second := <-results, <-results
			if first.Err != failure || second.Err != failure || first.Position != second.Position {
				t.Errorf("%v, %v and %v, %v; want the same, and %v", first.Position, first.Err, second.Position, second.Err, failure)
			}
			if counted, held := broker.KeysForTest(b); counted != held || counted == 1 != (failure == nil) {
				t.Errorf("%d keys count, %d are held", counted, held)
			}
			go publish(t.Context())
			if failure != nil { // Then the key is free.
				h.let <- nil
			}
			if p := <-results; p.Err != nil || p.Position.Offset != 1 {
				t.Errorf("the next one: %v, %v", p.Position, p.Err)
			}
		})
	}
}

// Too many keys are refused, and none is forgotten early.
func TestKeysAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := broker.NewMemory(hub.New(hub.Config{}))
		broker.LimitKeysForTest(b, 10)
		for i := range 10 {
			if p := publishKey(t, b, fmt.Sprint(i)); p.Err != nil {
				t.Fatal(p.Err)
			}
			time.Sleep(time.Second)
		}
		if p := publishKey(t, b, "one more"); p.Err == nil || notiflux.Refusal(p.Err).Code != notiflux.OverCapacity {
			t.Errorf("one key more: %v, want %s", p.Err, notiflux.OverCapacity)
		}
		if p := publishKey(t, b, ""); p.Err != nil {
			t.Errorf("without a key: %v", p.Err)
		}
		if p := publishKey(t, b, "0"); p.Position.Offset != 1 {
			t.Errorf("the oldest key is at %v, want offset 1", p.Position)
		}
		time.Sleep(broker.KeyTime - 10*time.Second)
		if p := publishKey(t, b, "one more"); p.Err != nil {
			t.Errorf("when the oldest is over: %v", p.Err)
		}
	})
}

// Keys go in time, also when nobody publishes.
func TestKeysGoByThemselves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := broker.NewMemory(hub.New(hub.Config{}))
		for i := range 10 {
			publishKey(t, b, fmt.Sprint(i))
			time.Sleep(time.Second)
		}
		time.Sleep(broker.KeyTime - 5*time.Second)
		synctest.Wait()
		if counted, held := broker.KeysForTest(b); counted != 4 || held != 4 {
			t.Errorf("%d keys count, %d are held, want 4", counted, held)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if counted, held := broker.KeysForTest(b); counted != 0 || held != 0 {
			t.Errorf("%d keys count, %d are held, want none", counted, held)
		}
		if p := publishKey(t, b, "0"); p.Err != nil || p.Position.Offset != 11 {
			t.Errorf("published at %v, %v", p.Position, p.Err)
		}
	})
}
