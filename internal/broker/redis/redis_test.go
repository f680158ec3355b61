package redis_test

import (
	"context"
	"flag"
	"fmt"
	"regexp"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/internal/broker"
	"github.com/ikornaselur/notiflux/internal/broker/brokertest"
	"github.com/ikornaselur/notiflux/internal/broker/redis"
	"github.com/ikornaselur/notiflux/internal/internaltest/redistest"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/topic"
)

const (
	probe = 250 * time.Millisecond
	delay = 1500 * time.Millisecond
)

// TestMain runs many tests at once: they spend most of their time waiting.
func TestMain(m *testing.M) {
	if serveProcess() {
		return
	}
	flag.Parse()
	if err := flag.Set("test.parallel", "64"); err != nil {
		panic(err)
	}
	m.Run()
}

// node returns a broker for tests, which reaches Redis at an address.
func node(sink broker.Sink, address string, changes ...func(*redis.Config)) *redis.Broker {
	c := redis.Config{
		Sink:     sink,
		Options:  redis.Options{Addresses: []string{address}},
		Prefix:   "notiflux:",
		Messages: 1000,
		Check:    probe,
		Probe:    probe,
	}
	for _, change := range changes {
		change(&c)
	}
	return redis.New(c)
}

func TestBroker(t *testing.T) {
	brokertest.Run(t, brokertest.Config{
		Delay: delay, RealTime: true,
		Open: func(t *testing.T, c topic.Config) (broker.Broker, *topic.Topics) {
			s := redistest.Start(t)
			var b *redis.Broker
			c.Detach = func(name pubsub.Topic) { b.Detach(name) }
			topics := topic.New(c)
			b = node(topics, s.Addr)
			return b, topics
		},
	})
}

func TestRemote(t *testing.T) {
	brokertest.RunRemote(t, brokertest.RemoteConfig{
		Delay: delay, RealTime: true,
		Open: func(t *testing.T, nodes int, c topic.Config) brokertest.Remote {
			s := redistest.Start(t)
			r, _ := cluster(t, nodes, c, s.Addr)
			r.NewEpoch = func() { s.Client("DEL", "notiflux:{0}:m") }
			return r
		},
	})
}

// cluster returns nodes that reach Redis at an address, each over a proxy of its own.
func cluster(t *testing.T, nodes int, c topic.Config, address string, changes ...func(*redis.Config)) (r brokertest.Remote, proxies []*redistest.Proxy) {
	for range nodes {
		var b *redis.Broker
		c.Detach = func(name pubsub.Topic) { b.Detach(name) }
		topics, proxy := topic.New(c), redistest.NewProxy(t, address)
		b = node(topics, proxy.Addr, changes...)
		proxies = append(proxies, proxy)
		r.Nodes = append(r.Nodes, brokertest.RemoteNode{
			Broker: b, Topics: topics,
			Away: func() {
				proxy.Cut()
				for b.Health() == nil {
					<-time.After(time.Millisecond)
				}
			},
			Back: proxy.Mend,
		})
	}
	return r, proxies
}

// A position counts as covered only if Redis can tell that no message after it is missing.
func TestHistoryOfALostTopic(t *testing.T) {
	for _, keys := range [][]string{{"h:t"}, {"t:t"}, {"h:t", "t:t"}} {
		s := redistest.Start(t)
		b := run(t, s.Addr)
		var at []pubsub.Position
		for range 3 {
			at = append(at, publish(b, "x", "").Position)
		}
		for _, key := range keys {
			s.Client("DEL", "notiflux:{0}:"+key)
		}
		for i, p := range at {
			y, err := b.History(t.Context(), "t", p, 10)
			n := len(y.Messages())
			if err != nil || y.Recovered != (n == 2-i) {
				t.Errorf("without %v, the history since message %d has %d messages, recovered: %v, %v", keys, i, n, y.Recovered, err)
			}
		}
	}
}

// A node asks the sentinels for the primary, and again after a failover.
func TestSentinel(t *testing.T) {
	t.Parallel()
	primary, replica := redistest.Start(t, "--repl-diskless-sync-delay", "0"), redistest.Start(t)
	replica.Follow(primary)
	sentinel := redistest.StartSentinel(t, "main", primary)
	o, err := redis.ParseURL("redis+sentinel://127.0.0.1:1," + sentinel.Addr + "/main")
	if err != nil {
		t.Fatal(err)
	}
	topics := topic.New(topic.Config{Detach: func(pubsub.Topic) {}})
	b := redis.New(redis.Config{Sink: topics, Options: o, Prefix: "notiflux:", Probe: probe})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- b.Run(ctx) }()
	awaitHealth(b)
	first := publish(b, "x", "")
	if first.Err != nil {
		t.Fatal(first.Err)
	}
	primary.Kill()
	second := publish(b, "x", "")
	for ; second.Err != nil; second = publish(b, "x", "") {
		<-time.After(10 * time.Millisecond)
	}
	if second.Position.Epoch == first.Position.Epoch {
		t.Errorf("the failover began no epoch: %v, %v", first.Position, second.Position)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// When a node ends, whatever it was asked for gets an outcome.
func TestEndWhileBusy(t *testing.T) {
	s := redistest.Start(t)
	for range 20 {
		topics := topic.New(topic.Config{Detach: func(pubsub.Topic) {}})
		b := node(topics, s.Addr)
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		ended := make(chan error)
		go func() { ended <- b.Run(ctx) }()
		awaitHealth(b)
		var asked sync.WaitGroup
		for i := range 200 {
			if i == 100 {
				stop()
			}
			ps := []pubsub.Publication{{Topic: "t", Body: pubsub.Body{Data: []byte("x")}}}
			asked.Add(1)
			if b.Publish(ps, asked.Done) {
				asked.Done()
			}
			asked.Go(func() { _, _ = b.History(t.Context(), "t", pubsub.Position{}, 1) })
		}
		asked.Wait()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

// A node reads the heads of many topics with few calls, so that clients that all reconnect at
// once do not keep Redis busy.
func TestManyTopicsAtOnce(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	b := run(t, s.Addr)
	s.Client("CONFIG", "RESETSTAT")
	const topics = 2000
	as := make([]broker.Attachment, topics)
	for i := range as {
		as[i].Topic = pubsub.Topic(fmt.Sprint("topic", i))
	}
	if err := brokertest.AttachAll(t.Context(), broker.NewAttacher(b, broker.AttacherConfig{}), as); err != nil {
		t.Fatal(err)
	}
	for i := range as {
		if _, err := as[i].Take(); err != nil {
			t.Fatalf("%s: %v", as[i].Topic, err)
		}
	}
	calls := regexp.MustCompile(`cmdstat_evalsha:calls=(\d+)`).FindStringSubmatch(s.Client("INFO", "commandstats"))
	if calls == nil {
		t.Fatal("Redis counted no call of a script")
	}
	if n, _ := strconv.Atoi(calls[1]); n > topics/4 {
		t.Errorf("%d calls of scripts for %d topics", n, topics)
	}
}

// A node that connects, but gets no answer, stays away: it would send messages that get lost.
func TestAwayUntilRedisAnswers(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	proxy := redistest.NewProxy(t, s.Addr)
	b := run(t, proxy.Addr)
	proxy.Cut() // It accepts connections, and ends them at once.
	for b.Health() == nil {
		<-time.After(time.Millisecond)
	}
	healthy := 0
	for end := time.Now().Add(probe); time.Now().Before(end); { // It connects several times.
		if b.Health() == nil {
			healthy++
		}
		<-time.After(20 * time.Microsecond)
	}
	if healthy > 0 {
		t.Errorf("Health = nil %d times while Redis is away", healthy)
	}
	proxy.Mend()
	for b.Health() != nil {
		<-time.After(time.Millisecond)
	}
	if p := publish(b, "x", ""); p.Err != nil {
		t.Errorf("Publish = %v once Redis is back", p.Err)
	}
}
