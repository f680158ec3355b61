package server

import (
	"cmp"
	"math/rand/v2"
	"runtime"
	"time"

	"github.com/ikornaselur/notiflux/internal/broker"
	"github.com/ikornaselur/notiflux/internal/listen"
	"github.com/ikornaselur/notiflux/internal/session"
)

// An Environment is what a server takes from the world around it, beside its settings.
// The zero value is the real world. A test puts other things in their place, so that
// what the server does depends on the test alone: internal/internaltest/memnet has
// listeners in memory. Timers and the monotonic clock are always those of package
// time, which testing/synctest replaces.
type Environment struct {
	// Now is the wall clock: for tokens, the age of messages and certificates. It is
	// called concurrently. Nil: time.Now.
	Now func() time.Time

	// Random is where everything random comes from that clients can see: the epoch,
	// the names of connections, and when clients are told to come back. It is used
	// by Open only. Nil: the system.
	Random rand.Source

	// Loops is how many event loops there are. 0: GOMAXPROCS.
	Loops int

	// Broker makes the broker that feeds the topics of the server. Nil: one in memory.
	Broker func(broker.Sink) broker.Broker

	// Endpoints are those of dialects besides the server's own. Open panics if they
	// contradict these.
	Endpoints []*session.Endpoint

	// Public and Admin are the listeners, which the server closes. Their addresses are
	// *[net.TCPAddr]. Nil: the settings say what to listen on. With Public and
	// without Admin there is no admin listener.
	Public, Admin listen.Listener
}

// withDefaults returns e as the server uses it.
func (e Environment) withDefaults() Environment {
	if e.Now == nil {
		e.Now = time.Now
	}
	e.Loops = cmp.Or(e.Loops, runtime.GOMAXPROCS(0))
	return e
}

// random returns a generator of its own for a part of the server, nil for that of the
// system.
func (e Environment) random() *rand.Rand {
	if e.Random == nil {
		return nil
	}
	return rand.New(rand.NewPCG(e.Random.Uint64(), e.Random.Uint64()))
}
