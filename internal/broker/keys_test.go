package broker_test

import (
	"fmt"
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
		if got := broker.KeysForTest(b); got != 4 {
			t.Errorf("%d keys are held, want 4", got)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if got := broker.KeysForTest(b); got != 0 {
			t.Errorf("%d keys are held, want none", got)
		}
		if p := publishKey(t, b, "0"); p.Err != nil || p.Position.Offset != 11 {
			t.Errorf("published at %v, %v", p.Position, p.Err)
		}
	})
}
