package server

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"runtime"
	"time"

	"github.com/ikornaselur/notiflux/internal/broker"
	"github.com/ikornaselur/notiflux/internal/broker/redis"
	"github.com/ikornaselur/notiflux/internal/config"
	"github.com/ikornaselur/notiflux/internal/listen"
	"github.com/ikornaselur/notiflux/internal/session"
)

// An Environment is everything that a server takes from outside, apart from its settings.
// The zero value is the real environment. A test can replace its parts, so that the
// behavior of the server depends only on the test: internal/internaltest/memnet has
// in-memory listeners. Timers and the monotonic clock always come from package time, which
// testing/synctest fakes.
type Environment struct {
	// Now is the wall clock, for tokens, certificates and the age of messages. It is called
	// concurrently. Nil means time.Now.
	Now func() time.Time

	// Random is the source of all randomness that clients can see: the epoch, the names of
	// connections, and the delays before clients reconnect. Only Open uses it. Nil means
	// the system's source.
	Random rand.Source

	// Loops is the number of event loops. 0 means GOMAXPROCS.
	Loops int

	// Broker creates the broker for the topics of the server. Nil means the memory broker.
	Broker func(broker.Sink) broker.Broker

	// Revoked says which tokens are revoked. Nil means none.
	Revoked session.Revoked

	// Endpoints are additional endpoints, of other dialects. Open panics if they conflict
	// with the server's own.
	Endpoints []*session.Endpoint

	// Keys sends the requests for the keys of the identity provider. Nil means the network.
	Keys http.RoundTripper

	// Public and Admin are the listeners. The server closes them. Their addresses must be
	// *[net.TCPAddr]. If Public is nil, the settings say where to listen. If only Admin is
	// nil, there is no admin listener.
	Public, Admin listen.Listener
}

// checkRedisFor is how long a server waits at start for Redis to answer.
const checkRedisFor = 5 * time.Second

// useRedis makes the server use the broker that c configures, unless c is nil or there is a
// broker. It returns an error if Redis refuses to serve it, and nil if Redis is away.
func (e *Environment) useRedis(c *redis.Config) error {
	if c == nil || e.Broker != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), checkRedisFor)
	defer cancel()
	if err := redis.Check(ctx, *c); err != nil {
		return fmt.Errorf("%s: %w", config.Name("broker"), err)
	}
	e.Broker = func(sink broker.Sink) broker.Broker {
		c.Sink = sink
		return redis.New(*c)
	}
	return nil
}

// withDefaults returns e with its defaults filled in.
func (e Environment) withDefaults() Environment {
	if e.Now == nil {
		e.Now = time.Now
	}
	e.Loops = cmp.Or(e.Loops, runtime.GOMAXPROCS(0))
	return e
}

// random returns a generator for one part of the server, or nil for the system's.
func (e Environment) random() *rand.Rand {
	if e.Random == nil {
		return nil
	}
	return rand.New(rand.NewPCG(e.Random.Uint64(), e.Random.Uint64()))
}
