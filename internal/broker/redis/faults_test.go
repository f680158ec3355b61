package redis_test

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/ikornaselur/notiflux/internal/broker/brokertest"
	"github.com/ikornaselur/notiflux/internal/broker/redis"
	"github.com/ikornaselur/notiflux/internal/internaltest/redistest"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/topic"
)

var faults = flag.Int("faults", 2, "number of seeds of each test of faults")

// eachSeed runs a test of faults with several seeds, beside other tests. The test calls
// t.Parallel.
func eachSeed(t *testing.T, test func(t *testing.T, seed uint64)) {
	t.Parallel()
	for range *faults {
		seed := rand.Uint64()
		t.Run("", func(t *testing.T) {
			t.Logf("seed %d", seed)
			test(t, seed)
		})
	}
}

// settled is how long it takes at most until every published message is in the logs.
const settled = 2 * time.Second

// An opener starts Redis with nodes, and returns them with what can happen to them.
type opener func(t *testing.T, random *rand.Rand, nodes int, c topic.Config) brokertest.Remote

// runChaos runs the chaos test of brokertest with several seeds.
func runChaos(t *testing.T, delay time.Duration, open opener) {
	eachSeed(t, func(t *testing.T, seed uint64) {
		config := brokertest.RemoteConfig{Delay: delay, RealTime: true, Open: func(t *testing.T, nodes int, c topic.Config) brokertest.Remote {
			return open(t, rand.New(rand.NewPCG(seed, 1)), nodes, c)
		}}
		brokertest.RunChaos(t, config, seed)
	})
}

// Faults of Redis that lose messages, or may. Each begins exactly one epoch.
func TestFaultsThatBeginAnEpoch(t *testing.T) {
	t.Parallel()
	restart := func(s *redistest.Server) {
		s.Kill()
		s.Run()
	}
	for name, fault := range map[string]struct {
		args []string
		do   func(*redistest.Server)
	}{
		"killed without persistence": {nil, restart},
		"killed with AOF always":     {[]string{"--appendonly", "yes", "--appendfsync", "always"}, restart},
		"killed with AOF everysec":   {[]string{"--appendonly", "yes", "--appendfsync", "everysec"}, restart},
		"all keys are gone":          {nil, func(s *redistest.Server) { s.Client("FLUSHALL") }},
		"the epoch is gone":          {nil, func(s *redistest.Server) { s.Client("DEL", "notiflux:{0}:m") }},
		"another replication id":     {nil, func(s *redistest.Server) { s.Client("DEBUG", "CHANGE-REPL-ID") }},
	} {
		t.Run(name, func(t *testing.T) {
			runChaos(t, settled, func(t *testing.T, _ *rand.Rand, nodes int, c topic.Config) brokertest.Remote {
				s := redistest.Start(t, fault.args...)
				r, _ := cluster(t, nodes, c, s.Addr)
				r.NewEpoch = func() { fault.do(s) }
				return r
			})
		})
	}
}

// Faults that lose messages, but no epoch. Each causes a gap.
func TestFaultsThatBeginNoEpoch(t *testing.T) {
	t.Parallel()
	for name, do := range map[string]func(s *redistest.Server, name pubsub.Topic){
		"a head is gone":   func(s *redistest.Server, name pubsub.Topic) { s.Client("DEL", "notiflux:{0}:h:"+string(name)) },
		"a stream is gone": func(s *redistest.Server, name pubsub.Topic) { s.Client("DEL", "notiflux:{0}:t:"+string(name)) },
		"a topic is gone": func(s *redistest.Server, name pubsub.Topic) {
			s.Client("DEL", "notiflux:{0}:h:"+string(name), "notiflux:{0}:t:"+string(name))
		},
		"a message is gone": func(s *redistest.Server, name pubsub.Topic) {
			for _, line := range strings.Split(s.Client("XREVRANGE", "notiflux:{0}:t:"+string(name), "+", "-", "COUNT", "2"), "\n") {
				if strings.HasSuffix(line, "-0") {
					s.Client("XDEL", "notiflux:{0}:t:"+string(name), line)
					return
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			runChaos(t, settled, func(t *testing.T, _ *rand.Rand, nodes int, c topic.Config) brokertest.Remote {
				s := redistest.Start(t)
				r, _ := cluster(t, nodes, c, s.Addr)
				r.Trouble = func(name pubsub.Topic) { do(s, name) }
				return r
			})
		})
	}
}

// Faults between the nodes and Redis, which lose nothing: there is no gap, and every resume is
// recovered.
func TestFaultsOfTheWay(t *testing.T) {
	t.Parallel()
	for name, do := range map[string]func(s *redistest.Server, random *rand.Rand, p *redistest.Proxy){
		"pub/sub connections are killed": func(s *redistest.Server, _ *rand.Rand, _ *redistest.Proxy) {
			s.Client("CLIENT", "KILL", "TYPE", "pubsub")
		},
		"all connections are killed": func(s *redistest.Server, _ *rand.Rand, _ *redistest.Proxy) {
			s.Client("CLIENT", "KILL", "TYPE", "normal")
		},
		"half-open": func(_ *redistest.Server, random *rand.Rand, p *redistest.Proxy) {
			sides := 1 + random.IntN(3)
			p.Swallow(sides&1 != 0, sides&2 != 0)
		},
		"trickled": func(_ *redistest.Server, random *rand.Rand, p *redistest.Proxy) {
			trickle := func() redistest.Way { return redistest.Way{Delay: time.Millisecond, Piece: 1 + random.IntN(30)} }
			p.Slow(trickle(), trickle())
		},
	} {
		t.Run(name, func(t *testing.T) {
			runChaos(t, settled, func(t *testing.T, random *rand.Rand, nodes int, c topic.Config) brokertest.Remote {
				s := redistest.Start(t)
				r, proxies := cluster(t, nodes, c, s.Addr)
				r.Trouble = func(pubsub.Topic) { do(s, random, proxies[random.IntN(nodes)]) }
				r.Keeps = true
				return r
			})
		})
	}
	t.Run("delayed", func(t *testing.T) {
		const most = 200 * time.Millisecond
		// Some requests take twice that in each direction, and it takes several in a row to
		// subscribe again.
		runChaos(t, 12*most, func(t *testing.T, random *rand.Rand, nodes int, c topic.Config) brokertest.Remote {
			s := redistest.Start(t)
			r, proxies := cluster(t, nodes, c, s.Addr, func(c *redis.Config) { c.Probe = 0 })
			slow := func(p *redistest.Proxy) {
				delay := func() redistest.Way {
					return redistest.Way{Delay: most/7 + time.Duration(random.Int64N(int64(most*6/7)))}
				}
				p.Slow(delay(), delay())
			}
			for _, p := range proxies {
				slow(p)
			}
			r.Trouble = func(pubsub.Topic) { slow(proxies[random.IntN(nodes)]) }
			r.Keeps = true
			return r
		})
	})
}

// A replica that is promoted may lack messages that publishers got a position for, and nodes
// have delivered.
func TestFaultsOfPromotion(t *testing.T) {
	runChaos(t, settled, func(t *testing.T, _ *rand.Rand, nodes int, c topic.Config) brokertest.Remote {
		primary, replica := redistest.Start(t, "--repl-diskless-sync-delay", "0"), redistest.Start(t)
		link := redistest.NewProxy(t, primary.Addr)
		replica.FollowAddress(link.Addr)
		r, proxies := cluster(t, nodes, c, primary.Addr)
		calls := 0
		r.NewEpoch = func() {
			switch calls++; calls {
			case 1:
				link.Hold()
			case 2:
				acknowledged := primary.Client("HGET", "notiflux:{0}:m", "last")
				primary.Kill()
				link.Cut()
				replica.Client("REPLICAOF", "NO", "ONE")
				if last := replica.Client("HGET", "notiflux:{0}:m", "last"); last == acknowledged {
					t.Log("this run proves nothing: the replica did not lag")
				}
				for _, p := range proxies {
					p.Move(replica.Addr)
				}
			}
		}
		return r
	})
}

// With too little memory and a policy to evict any key, Redis forgets whatever it likes. A new
// epoch begins only if it forgets the epoch.
func TestFaultsOfEviction(t *testing.T) {
	runChaos(t, settled, func(t *testing.T, _ *rand.Rand, nodes int, c topic.Config) brokertest.Remote {
		s := redistest.Start(t, "--maxmemory", "3mb", "--maxmemory-policy", "allkeys-lru", "--notify-keyspace-events", "Ee")
		evicted := watchEvictions(t, s)
		r, _ := cluster(t, nodes, c, s.Addr)
		fills := 0
		r.Trouble = func(pubsub.Topic) {
			fills++
			s.Client("DEBUG", "POPULATE", "600", fmt.Sprint("filler", fills), "8192") // more than there is room for
			s.Client("PING")                                                          // evicts
		}
		r.Epochs = func() int {
			keys := evicted()
			t.Logf("%d heads, %d streams and %d epochs were evicted", keys['h'], keys['t'], keys['m'])
			if fills > 0 && len(keys) == 0 {
				t.Log("this run proves nothing: only keys of the test were evicted")
			}
			return keys['m']
		}
		return r
	})
}

// watchEvictions counts the keys of notiflux that Redis evicts, by their kind: the letter after
// the tag.
func watchEvictions(t *testing.T, s *redistest.Server) (counts func() map[byte]int) {
	conn, err := redigo.Dial("tcp", s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	c := redigo.PubSubConn{Conn: conn}
	if err := c.Subscribe("__keyevent@0__:evicted"); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	evicted := make(map[byte]int)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			switch v := c.Receive().(type) {
			case redigo.Message:
				if name, ok := strings.CutPrefix(string(v.Data), "notiflux:{0}:"); ok {
					mu.Lock()
					evicted[name[0]]++
					mu.Unlock()
				}
			case error:
				return
			}
		}
	}()
	t.Cleanup(func() {
		c.Close()
		<-ended
	})
	return func() map[byte]int {
		mu.Lock()
		defer mu.Unlock()
		return maps.Clone(evicted)
	}
}
