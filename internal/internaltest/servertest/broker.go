package servertest

import (
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/internal/broker"
	"github.com/ikornaselur/notiflux/internal/broker/brokertest/remote"
	"github.com/ikornaselur/notiflux/internal/config"
)

// The remote broker of a test is quick, because time is real.
const (
	remoteDelay = 5 * time.Millisecond
	remoteCheck = 50 * time.Millisecond
)

// Broker returns what makes the broker of a server with settings c, for
// [server.Environment]: nil for the one in memory, unless NOTIFLUX_TEST_BROKER=remote
// chooses the remote broker for all tests of a run.
func Broker(c *config.Serve) func(broker.Sink) broker.Broker {
	if !isRemote() {
		return nil
	}
	return func(sink broker.Sink) broker.Broker {
		return remote.NewStore(remote.Config{
			Seed:        rand.Uint64(), // No two servers have the same epoch.
			Delay:       remoteDelay,
			Check:       remoteCheck,
			MaxMessages: c.HistoryMessages,
			MaxBytes:    uint64(c.HistoryBytes),
			MaxAge:      c.HistoryAge,
		}).Node(sink)
	}
}

func isRemote() bool { return os.Getenv("NOTIFLUX_TEST_BROKER") == "remote" }

// NeedsMemory skips the test when the run is with the remote broker. why says what the
// test needs that only the broker in memory gives.
func NeedsMemory(t testing.TB, why string) {
	t.Helper()
	if isRemote() {
		t.Skip("needs the broker in memory: " + why)
	}
}
