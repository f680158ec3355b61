package servertest

import (
	"cmp"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/internal/broker"
	"github.com/ikornaselur/notiflux/internal/broker/brokertest/fakestore"
	"github.com/ikornaselur/notiflux/internal/broker/redis"
	"github.com/ikornaselur/notiflux/internal/config"
	"github.com/ikornaselur/notiflux/internal/internaltest/redistest"
	"github.com/ikornaselur/notiflux/internal/server"
)

// The values of NOTIFLUX_TEST_BROKER. Without it, servers use the memory broker.
const (
	fakeBroker  = "remote" // the fake remote broker
	redisBroker = "redis"
)

// The fake remote broker of a test is quick, because time is real.
const (
	remoteDelay = 5 * time.Millisecond
	remoteCheck = 50 * time.Millisecond
)

func testBroker() string { return os.Getenv("NOTIFLUX_TEST_BROKER") }

// WithBroker returns env with the broker of this test run, unless env or c has one: the memory
// broker (nil), or the broker that NOTIFLUX_TEST_BROKER names. A server on Redis has a
// redis-server of its own, which ends with the test. await waits until the broker can serve; it
// is for after the start of the server. c holds the settings of the server.
func WithBroker(t testing.TB, env server.Environment, c *config.Serve) (with server.Environment, await func()) {
	t.Helper()
	await = func() {}
	if env.Broker != nil || c.Broker != config.MemoryBroker {
		return env, await
	}
	var open func(broker.Sink) broker.Broker
	switch testBroker() {
	case fakeBroker:
		open = fake(env, c)
	case redisBroker:
		open = onRedis(t, c)
	default:
		return env, await
	}
	var b broker.Broker
	env.Broker = func(sink broker.Sink) broker.Broker {
		b = open(sink)
		return b
	}
	return env, func() {
		t.Helper()
		deadline := time.Now().Add(patience)
		for err := b.Health(); err != nil; err = b.Health() {
			if time.Now().After(deadline) {
				t.Fatal(err)
			}
			<-time.After(time.Millisecond)
		}
	}
}

// fake returns what opens the fake remote broker.
func fake(env server.Environment, c *config.Serve) func(broker.Sink) broker.Broker {
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
		Limits:      server.TopicLimits(c.Topics()),
		Now:         env.Now,
	})
	return func(sink broker.Sink) broker.Broker { return store.Node(sink) }
}

// onRedis returns what opens the broker of a Redis.
func onRedis(t testing.TB, c *config.Serve) func(broker.Sink) broker.Broker {
	t.Helper()
	r := redistest.Start(t)
	return func(sink broker.Sink) broker.Broker {
		return redis.New(redis.Config{
			Sink:     sink,
			Options:  redis.Options{Addresses: []string{r.Addr}},
			Prefix:   c.BrokerPrefix,
			Messages: c.HistoryMessages,
			Age:      c.HistoryAge,
			Limits:   server.TopicLimits(c.Topics()),
		})
	}
}

// Remote reports whether this run uses a remote broker, fake or Redis. Its logs lag a little
// behind the answers to publishers.
func Remote() bool { return cmp.Or(testBroker(), config.MemoryBroker) != config.MemoryBroker }

// NeedsMemory skips the test if this run uses a remote broker. why says what the test needs
// from the memory broker.
func NeedsMemory(t testing.TB, why string) {
	t.Helper()
	if Remote() {
		t.Skip("needs the broker in memory: " + why)
	}
}

// NotOnRedis skips the test if this run uses Redis. why says what the test needs, which Redis
// does not have.
func NotOnRedis(t testing.TB, why string) {
	t.Helper()
	if testBroker() == redisBroker {
		t.Skip("not on Redis: " + why)
	}
}
