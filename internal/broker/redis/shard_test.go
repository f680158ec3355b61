//go:build unix

package redis_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/internal/broker"
	"github.com/ikornaselur/notiflux/internal/broker/brokertest"
	"github.com/ikornaselur/notiflux/internal/internaltest/delivery"
	"github.com/ikornaselur/notiflux/internal/internaltest/redistest"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/topic"
)

const rooms pubsub.Pattern = "room:*"

func room(i int) pubsub.Topic { return pubsub.Topic(fmt.Sprint("room:", i)) }

// A node that was cut off reads what a pattern missed in as many parts as it needs.
func TestShardIsReadInParts(t *testing.T) {
	t.Parallel()
	r, proxies := cluster(t, 2, topic.Config{}, redistest.Start(t).Addr)
	var all []topic.Cursor
	for i, n := range r.Nodes {
		runNode(t, n)
		a := []broker.Attachment{{Topic: rooms.Topic()}}
		if err := brokertest.AttachAll(t.Context(), broker.NewAttacher(n.Broker, broker.AttacherConfig{}), a); err != nil {
			t.Fatal(err)
		}
		pin, err := a[0].Take()
		if err != nil {
			t.Fatal(i, err)
		}
		_, resumed := pin.Join(make(waker, 1))
		all = append(all, resumed.Cursor)
	}
	proxies[0].Cut()
	const messages = 1700
	for first := 0; first < messages; first += 100 {
		ps := make([]pubsub.Publication, 100)
		for i := range ps {
			ps[i] = pubsub.Publication{Topic: room((first + i) % 7), Body: pubsub.Body{Data: fmt.Append(nil, first+i)}}
		}
		done := make(chan struct{})
		if !r.Nodes[1].Broker.Publish(ps, func() { close(done) }) {
			<-done
		}
		for _, p := range ps {
			if p.Err != nil {
				t.Fatal(p.Err)
			}
		}
	}
	proxies[0].Mend()
	deadline := time.Now().Add(20 * time.Second)
	for i, c := range all {
		for n := 0; n < messages && time.Now().Before(deadline); {
			entry, next, ok := c.Next()
			if !ok {
				<-time.After(time.Millisecond)
				continue
			}
			c = next
			if m := entry.Message(); entry.IsMarker() || m.Topic != room(n%7) || string(m.Body.Data) != fmt.Sprint(n) {
				t.Fatalf("node %d: message %d is %+v, a gap: %v", i, n, m, entry.IsMarker())
			}
			n++
		}
		if time.Now().After(deadline) {
			t.Errorf("node %d is still behind", i)
		}
	}
}

// Whatever happens to Redis and to the nodes, each subscriber of a pattern gets every message once
// and in order, or a gap. The oracle judges the messages of the pattern as if they were those of one
// topic, and those of a topic beside it.
func TestFaultsOfPatterns(t *testing.T) {
	for name, fault := range map[string]struct {
		do    func(s *redistest.Server, still *station)
		keeps bool // it loses nothing
	}{
		"a node stands still": {func(_ *redistest.Server, still *station) {
			_ = still.process.Process.Signal(syscall.SIGSTOP)
			<-time.After(2 * time.Second)
			_ = still.process.Process.Signal(syscall.SIGCONT)
		}, true},
		"pub/sub connections are killed": {func(s *redistest.Server, _ *station) { s.Client("CLIENT", "KILL", "TYPE", "pubsub") }, true},
		"all connections are killed":     {func(s *redistest.Server, _ *station) { s.Client("CLIENT", "KILL", "TYPE", "normal") }, true},
		"Redis is killed": {func(s *redistest.Server, _ *station) {
			s.Kill()
			<-time.After(300 * time.Millisecond)
			s.Run()
		}, false},
		"Redis is wiped":          {func(s *redistest.Server, _ *station) { s.Client("FLUSHALL") }, false},
		"the epoch is gone":       {func(s *redistest.Server, _ *station) { s.Client("DEL", "notiflux:{0}:m") }, false},
		"the stream is gone":      {func(s *redistest.Server, _ *station) { s.Client("DEL", "notiflux:{0}:t:\x01*") }, false},
		"the head is gone":        {func(s *redistest.Server, _ *station) { s.Client("DEL", "notiflux:{0}:h:\x01*") }, false},
		"the announcements ended": {func(s *redistest.Server, _ *station) { s.Client("HSET", "notiflux:{0}:m", "until", "1") }, false},
	} {
		t.Run(name, func(t *testing.T) {
			eachSeed(t, func(t *testing.T, seed uint64) {
				t.Parallel()
				faultsOfPatterns(t, redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always"), seed, fault.do, fault.keeps)
			})
		})
	}
}

func faultsOfPatterns(t *testing.T, s *redistest.Server, seed uint64, fault func(*redistest.Server, *station), keeps bool) {
	const rounds = 4
	random := rand.New(rand.NewPCG(seed, 0))
	var recorder delivery.Recorder
	c := stationConfig{s.Addr, 1000}
	nodes := []*station{startStation(t, &recorder, c, false), startStation(t, &recorder, c, true)}
	publish := func(n *station, name pubsub.Topic, data string) (pubsub.Position, bool) {
		record := recorder.Publishing(pubsub.Topic(rooms), data) // Without an answer, its outcome is unknown.
		at, ok := n.publish(name, data, 0)
		if ok {
			record(delivery.Acknowledged, at)
		}
		return at, ok
	}
	over := make(chan struct{})
	var busy sync.WaitGroup
	for i, n := range nodes {
		busy.Go(func() {
			for j := 0; ; j++ {
				select {
				case <-over:
					return
				case <-time.After(10 * time.Millisecond):
					publish(n, room(j%5), fmt.Sprintf("%d of node %d", j, i))
				}
			}
		})
	}
	topics := []pubsub.Topic{rooms.Topic(), room(1)}
	var all []*reading
	recovered, lost := 0, 0
	subscribe := func(n *station, name pubsub.Topic, since pubsub.Position) {
		r := n.subscribe(name, since)
		if all = append(all, r); since != (pubsub.Position{}) && r.recovered {
			recovered++
		} else if !r.recovered {
			if lost++; keeps {
				t.Errorf("%q: not recovered from %v, although nothing was lost", name, since)
			}
		}
	}
	for _, n := range nodes {
		for _, name := range topics {
			subscribe(n, name, pubsub.Position{})
		}
	}
	for range rounds {
		<-time.After(time.Duration(random.Int64N(int64(500 * time.Millisecond))))
		var resumed [4]*reading // on either node, as clients that reconnect
		var since [4]pubsub.Position
		for i := range resumed {
			resumed[i] = all[random.IntN(len(all))]
			since[i], _ = resumed[i].reached()
		}
		fault(s, nodes[1])
		<-time.After(time.Duration(random.Int64N(int64(time.Second))))
		for i, r := range resumed {
			if random.IntN(2) == 0 {
				since[i], _ = r.reached()
			}
			subscribe(nodes[i%2], r.topic, since[i])
		}
	}
	close(over)
	busy.Wait()
	<-time.After(2 * time.Second) // The nodes have noticed the last fault.
	last := make(map[pubsub.Topic]pubsub.Position)
	for i, ok := 0, false; !ok; i++ {
		var at pubsub.Position
		if at, ok = publish(nodes[0], room(1), fmt.Sprint("last, try ", i)); ok {
			last[rooms.Topic()], last[room(1)] = at, at
		}
	}
	for _, n := range nodes {
		n.rest(last)
	}
	for _, r := range all {
		if _, gaps := r.reached(); gaps > 0 && keeps {
			t.Errorf("a subscriber of %q got %d gaps, although nothing was lost", r.topic, gaps)
		}
	}
	log := recorder.Log(-1)
	log.Behind = true
	delivery.Report(t, seed, log)
	if recovered == 0 && keeps {
		t.Error("no subscriber resumed")
	}
	t.Logf("%d messages; %d subscriptions were recovered, %d were not", len(log.Publishes)/2, recovered, lost)
}

// runNode runs a node until the test ends.
func runNode(t *testing.T, n brokertest.RemoteNode) {
	var running sync.WaitGroup
	ctx := t.Context()
	running.Go(func() { _ = n.Broker.Run(ctx) })
	running.Go(func() { _ = n.Topics.Run(ctx) })
	t.Cleanup(running.Wait)
	for n.Broker.Health() != nil {
		<-time.After(time.Millisecond)
	}
}
