//go:build unix

package redis_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/internal/internaltest/delivery"
	"github.com/ikornaselur/notiflux/internal/internaltest/redistest"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// report fails the test for each fault that the oracle finds. A position with at most held
// messages after it must be recovered.
func report(t *testing.T, recorder *delivery.Recorder, seed uint64, held int) {
	t.Helper()
	log := recorder.Log(held)
	log.Behind = true
	delivery.Report(t, seed, log)
	epochs := make(map[string]bool)
	for _, p := range log.Publishes {
		if p.Outcome == delivery.Acknowledged {
			epochs[p.Position.Epoch] = true
		}
	}
	if len(epochs) != 1 {
		t.Errorf("%d epochs, although Redis lost nothing", len(epochs))
	}
}

// A node stands still for 30 seconds, while a topic gets 50 times what its history holds. Redis
// closes the node's connection when too much waits for it.
func TestFaultsOfANodeThatStandsStill(t *testing.T) {
	t.Parallel()
	room := make(chan struct{}, 8) // Redis keeps much in memory for the node.
	for name, test := range map[string]struct {
		limit   []string // of Redis
		padding int
		closed  bool // the limit is exceeded
	}{
		"default limit":                     {nil, 10_000, true},
		"default limit, and small messages": {nil, 0, false},
		"small limit":                       {[]string{"--client-output-buffer-limit", "pubsub", "1mb", "512kb", "5"}, 10_000, true},
	} {
		t.Run(name, func(t *testing.T) {
			eachSeed(t, func(t *testing.T, seed uint64) {
				t.Parallel()
				room <- struct{}{}
				defer func() { <-room }()
				s := redistest.Start(t, test.limit...)
				standStill(t, s, seed, test.padding)
				if exceeded := strings.Contains(s.Log(), "overcoming of output buffer limits"); exceeded != test.closed {
					t.Errorf("Redis closed a connection because of its limit: %v, want %v", exceeded, test.closed)
				}
			})
		})
	}
}

func standStill(t *testing.T, s *redistest.Server, seed uint64, padding int) {
	const bound, standing = 100, 30 * time.Second
	random := rand.New(rand.NewPCG(seed, 0))
	var recorder delivery.Recorder
	c := stationConfig{s.Addr, bound}
	other, still := startStation(t, &recorder, c, false), startStation(t, &recorder, c, true)
	quiet := other.mustPublish("quiet", "first", 0)
	first := other.mustPublish("t", "first", 0)
	for _, node := range []*station{other, still} {
		node.subscribe("t", first)
		node.subscribe("quiet", quiet)
	}
	for i := range random.IntN(bound) {
		other.mustPublish("t", fmt.Sprint("before ", i), padding)
	}
	if err := still.process.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	over := time.After(standing)
	const messages = 50 * bound
	var recent pubsub.Position // within the bound when the node goes on
	chosen := messages - 1 - random.IntN(bound/2)
	for i := range messages {
		at := other.mustPublish("t", fmt.Sprint(i), padding)
		if i == chosen {
			recent = at
		}
		if i%bound == 0 {
			<-time.After(standing / messages * bound / 2)
		}
	}
	if r := other.subscribe("t", recent); !r.recovered {
		t.Errorf("not recovered from %v on another node", recent)
	}
	<-over
	if err := still.process.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	var busy sync.WaitGroup
	busy.Go(func() {
		for i := range bound / 4 {
			other.mustPublish("t", fmt.Sprint("after ", i), padding)
		}
	})
	busy.Go(func() { still.mustPublish("t", "after, of the node that stood still", padding) })
	for _, resume := range []struct {
		name  pubsub.Topic
		since pubsub.Position
		want  bool
	}{{"t", recent, true}, {"quiet", quiet, true}, {"t", first, false}} {
		if r := still.subscribe(resume.name, resume.since); r.recovered != resume.want {
			t.Errorf("resumed %q at %v: recovered is %v, want %v", resume.name, resume.since, r.recovered, resume.want)
		}
	}
	busy.Wait()
	last := map[pubsub.Topic]pubsub.Position{"t": still.mustPublish("t", "last", 0), "quiet": other.mustPublish("quiet", "last", 0)}
	other.rest(last)
	still.rest(last)
	report(t, &recorder, seed, bound)
}

// A node is killed and started again under load. Its subscribers resume on it and on other
// nodes, and miss nothing.
func TestFaultsOfANodeThatIsKilled(t *testing.T) {
	eachSeed(t, func(t *testing.T, seed uint64) {
		t.Parallel()
		killNode(t, redistest.Start(t), seed)
	})
}

func killNode(t *testing.T, s *redistest.Server, seed uint64) {
	const bound, rounds = 1000, 6
	random := rand.New(rand.NewPCG(seed, 0))
	var recorder delivery.Recorder
	c := stationConfig{s.Addr, bound}
	topics := []pubsub.Topic{"t", "u"}
	others := []*station{startStation(t, &recorder, c, false), startStation(t, &recorder, c, false)}
	over := make(chan struct{})
	var busy sync.WaitGroup
	load := func(node *station, name string) {
		busy.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-over:
					return
				case <-node.ended:
					return
				case <-time.After(10 * time.Millisecond):
					node.publish(topics[i%len(topics)], fmt.Sprint(name, " ", i), 0)
				}
			}
		})
	}
	positions := make(map[pubsub.Topic][]pubsub.Position) // to resume from
	var live []*reading
	for i, node := range others {
		load(node, fmt.Sprint("other ", i))
		for _, name := range topics {
			live = append(live, node.subscribe(name, pubsub.Position{}))
		}
	}
	for round := range rounds {
		victim := startStation(t, &recorder, c, true)
		var readings, tails []*reading
		for _, name := range topics {
			tails = append(tails, victim.subscribe(name, pubsub.Position{}))
			for _, node := range append(others, victim) {
				for _, at := range positions[name] { // of the node that was killed before
					if r := node.subscribe(name, at); !r.recovered {
						t.Errorf("not recovered from %v of %q", at, name)
					} else {
						readings = append(readings, r)
					}
				}
			}
		}
		load(victim, fmt.Sprint("victim ", round))
		<-time.After(time.Second/2 + time.Duration(random.Int64N(int64(time.Second))))
		victim.kill()
		clear(positions)
		for _, r := range tails {
			at, _ := r.reached()
			positions[r.topic] = append(positions[r.topic], at)
		}
		live = append(append(live, readings...), tails...)
	}
	close(over)
	busy.Wait()
	last := make(map[pubsub.Topic]pubsub.Position)
	for _, name := range topics {
		last[name] = others[0].mustPublish(name, "last", 0)
	}
	for _, node := range others {
		node.rest(last)
	}
	for _, r := range live {
		if _, gaps := r.reached(); gaps > 0 {
			t.Errorf("a subscriber of %q got %d gaps, although nothing was lost", r.topic, gaps)
		}
	}
	report(t, &recorder, seed, bound)
}
