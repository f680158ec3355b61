package servertest

import (
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/internal/broker"
	"github.com/ikornaselur/notiflux/internal/broker/brokertest/fakestore"
	"github.com/ikornaselur/notiflux/internal/config"
	"github.com/ikornaselur/notiflux/internal/server"
)

// The remote broker of a test is quick, because time is real.
const (
	remoteDelay = 5 * time.Millisecond
	remoteCheck = 50 * time.Millisecond
)

// WithBroker returns env with the broker of this test run, unless env or c has one: the memory broker
// (nil), or the remote broker if NOTIFLUX_TEST_BROKER=remote is set. c holds the settings of the
// server.
func WithBroker(env server.Environment, c *config.Serve) server.Environment {
	if env.Broker != nil || c.Broker != config.MemoryBroker || !Remote() {
		return env
	}
	seed := rand.Uint64() // No two servers have the same epoch.
	if env.Random != nil {
		seed = env.Random.Uint64()
	}
	store := fakestore.New(fakestore.Config{
		Seed:        seed,
		Delay:       remoteDelay,
		Check:       remoteCheck,
		MaxMessages: c.HistoryMessages,
		MaxBytes:    uint64(c.HistoryBytes),
		MaxAge:      c.HistoryAge,
		Now:         env.Now,
	})
	env.Broker = func(sink broker.Sink) broker.Broker { return store.Node(sink) }
	return env
}

// Remote reports whether this run uses the remote broker, whose logs lag a little behind the
// answers to publishers.
func Remote() bool { return os.Getenv("NOTIFLUX_TEST_BROKER") == "remote" }

// NeedsMemory skips the test if this run uses the remote broker. why says what the test needs
// from the memory broker.
func NeedsMemory(t testing.TB, why string) {
	t.Helper()
	if Remote() {
		t.Skip("needs the broker in memory: " + why)
	}
}
