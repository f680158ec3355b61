package broker_test

import (
	"testing"

	"github.com/ikornaselur/notiflux"
	"github.com/ikornaselur/notiflux/internal/broker"
	"github.com/ikornaselur/notiflux/internal/broker/brokertest"
	"github.com/ikornaselur/notiflux/internal/hub"
)

func TestMemory(t *testing.T) {
	brokertest.Run(t, func(_ *testing.T, h *hub.Hub) broker.Broker { return broker.NewMemory(h) })
}

func TestMemoryEpochIsNewEachTime(t *testing.T) {
	h := hub.New(hub.Config{})
	seen := make(map[string]bool)
	for range 10 {
		b := broker.NewMemory(h)
		p, err := b.Publish(t.Context(), "t", notiflux.Body{})
		if err != nil {
			t.Fatal(err)
		}
		seen[p.Epoch] = true
	}
	if len(seen) != 10 {
		t.Errorf("%d epochs in 10 starts", len(seen))
	}
}
