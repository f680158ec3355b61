package memory_test

import (
	"testing"

	"github.com/ikornaselur/notiflux/internal/broker"
	"github.com/ikornaselur/notiflux/internal/broker/brokertest"
	"github.com/ikornaselur/notiflux/internal/broker/memory"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/topic"
)

func TestMemory(t *testing.T) {
	brokertest.Run(t, brokertest.Config{Open: func(_ *testing.T, c topic.Config) (broker.Broker, *topic.Topics) {
		return memory.New(memory.Config{}, c)
	}})
}

func TestEpochIsNewEachTime(t *testing.T) {
	seen := make(map[string]bool)
	for range 10 {
		epoch := memory.NewEpoch(nil)
		if _, err := pubsub.ParsePosition(epoch + ":1"); err != nil {
			t.Errorf("epoch %q: %v", epoch, err)
		}
		seen[epoch] = true
	}
	if len(seen) != 10 {
		t.Errorf("%d epochs in 10 starts", len(seen))
	}
}
