package fakestore_test

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ikornaselur/notiflux/internal/broker"
	"github.com/ikornaselur/notiflux/internal/broker/brokertest/fakestore"
	"github.com/ikornaselur/notiflux/internal/presence"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/topic"
)

const (
	hosts     = 3
	hostSteps = 300
	// steady is for how long a host must have had its connection before nobody may miss its
	// members: an outage, and what follows it.
	steady = time.Minute
)

var seeds = flag.Int("seeds", 50, "with how many seeds TestMembers runs")

var hostTopics = []pubsub.Topic{"a", "b"}

// A host is a node with its members.
type host struct {
	name     string
	node     *fakestore.Node
	topics   *topic.Topics
	attacher *broker.Attacher
	registry *presence.Registry
	stays    []*stay
	since    time.Time // when it began, or was last cut off
	away     bool
	stop     func()
}

// A stay is one reference to a member.
type stay struct {
	topic     pubsub.Topic
	sub       string
	since     time.Time
	pins      [2]topic.Pin // of the topic and of its presence topic
	reference *presence.Reference
}

// party is several hosts of one store.
type party struct {
	t      *testing.T
	random *rand.Rand
	store  *fakestore.Store
	sleep  func(time.Duration) // of the bubble
	named  int

	mu sync.Mutex
	// Guarded by mu.
	hosts []*host
}

// Members come, go and move between nodes, while nodes are cut off, end, and crash, and the
// store loses what it was told. A member of a connected node is never reported as gone. In
// the end every node knows all members.
func TestMembers(t *testing.T) {
	for seed := range uint64(*seeds) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &party{sleep: time.Sleep, t: t, random: rand.New(rand.NewPCG(seed, 0)), store: fakestore.New(fakestore.Config{Seed: seed})}
				for range hosts {
					p.begin()
				}
				for range hostSteps {
					p.step()
					p.sleep(time.Duration(p.random.Int64N(int64(time.Second))))
				}
				for _, h := range p.hosts {
					p.back(h)
				}
				p.sleep(steady)
				p.checkStore()
				p.check()
				for _, h := range p.hosts {
					h.stop()
				}
			})
		})
	}
}

// begin begins a host.
func (p *party) begin() {
	p.named++
	h := &host{name: fmt.Sprint("host ", p.named), since: time.Now()}
	h.node, h.topics = node(p.store, topic.Config{})
	h.attacher = broker.NewAttacher(h.node, broker.AttacherConfig{})
	h.registry = presence.New(presence.Config{Emit: func(e presence.Event) { p.emitted(h, e) }, OwnChanged: h.node.OwnChanged})
	h.node.Share(h.registry, func(name pubsub.Topic) int { return p.subscriptions(h, name) })
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = h.node.Run(ctx) })
	running.Go(func() { _ = h.registry.Run(ctx) })
	h.stop = func() {
		stop()
		running.Wait()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hosts = append(p.hosts, h)
}

// subscriptions returns the number of subscriptions that a host has: one for each stay.
func (p *party) subscriptions(h *host, name pubsub.Topic) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range h.stays {
		if s.topic == name {
			n++
		}
	}
	return n
}

func (p *party) step() {
	i := p.random.IntN(len(p.hosts))
	h := p.hosts[i]
	switch n := p.random.IntN(100); {
	case n < 45:
		p.come(h)
	case n < 80:
		p.leave(h)
	case n < 86:
		if h.away {
			p.back(h)
		} else {
			h.node.Away()
			p.turn(h, true)
		}
	case n < 89:
		p.store.NewEpoch()
	case n < 92: // It crashes, or it ends in order.
		crashes := p.random.IntN(2) == 0
		if crashes {
			h.node.Away()
		}
		for len(h.stays) > 0 {
			p.leave(h)
		}
		h.stop()
		p.mu.Lock()
		p.hosts = slices.Delete(p.hosts, i, i+1)
		p.mu.Unlock()
		p.begin()
	default: // All rest, so that some grace periods end.
		p.sleep(time.Duration(p.random.Int64N(int64(20 * time.Second))))
	}
}

func (p *party) back(h *host) {
	if h.away {
		h.node.Back()
		p.turn(h, false)
	}
}

// turn notes that a host has lost its connection, or has it again.
func (p *party) turn(h *host, away bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	h.away, h.since = away, time.Now()
}

// come adds a member to a host, unless the host cannot learn of the others.
func (p *party) come(h *host) {
	s := &stay{topic: hostTopics[p.random.IntN(len(hostTopics))], sub: fmt.Sprint("u", p.random.IntN(6)), since: time.Now()}
	for i, name := range []pubsub.Topic{s.topic, topic.PresenceTopic(s.topic)} {
		var err error
		if s.pins[i], err = h.attacher.AttachOne(context.Background(), name); err != nil {
			s.pins[0].Release()
			return
		}
	}
	s.reference = h.registry.Join(s.topic, pubsub.Member{Sub: s.sub})
	p.mu.Lock()
	h.stays = append(h.stays, s)
	p.mu.Unlock()
	h.node.Counted(s.topic)
}

// leave removes a member of a host.
func (p *party) leave(h *host) {
	if len(h.stays) == 0 {
		return
	}
	p.mu.Lock()
	i := p.random.IntN(len(h.stays))
	s := h.stays[i]
	h.stays = slices.Delete(h.stays, i, i+1)
	p.mu.Unlock()
	h.node.Counted(s.topic)
	s.reference.Release()
	for i := range s.pins {
		s.pins[i].Release()
	}
}

// emitted checks that nobody is reported as gone who has been there for a while.
func (p *party) emitted(at *host, e presence.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	watches := slices.ContainsFunc(at.stays, func(s *stay) bool { return s.topic == e.Topic })
	if !watches || at.away || time.Since(at.since) < steady {
		return
	}
	for _, left := range e.Left {
		for _, h := range p.hosts {
			for _, s := range h.stays {
				if s.topic == e.Topic && s.sub == left.Sub && time.Since(s.since) > steady && !h.away && time.Since(h.since) > steady {
					p.t.Errorf("%s reports that %s left %s, but it is at %s since %v", at.name, left.Sub, e.Topic, h.name, time.Since(s.since))
				}
			}
		}
	}
}

// checkStore checks that the store has forgotten what hosts said that are no more, unless nobody
// watches the topic.
func (p *party) checkStore() {
	for _, name := range hostTopics {
		isWatched := slices.ContainsFunc(p.hosts, func(h *host) bool {
			return slices.ContainsFunc(h.stays, func(s *stay) bool { return s.topic == name })
		})
		all := p.store.Statements(name)
		for _, x := range all.All {
			if end := all.Leases[x.Node]; isWatched && end.Before(time.Now()) {
				p.t.Errorf("the store still has %+v; the lease ended %v ago", x, time.Since(end))
			}
		}
	}
}

// check compares what each host knows with the truth.
func (p *party) check() {
	for _, h := range p.hosts {
		for _, name := range hostTopics {
			members, others := make(map[string]bool), 0
			for _, other := range p.hosts {
				for _, s := range other.stays {
					if s.topic == name {
						members[s.sub] = true
					}
				}
				if other != h {
					others += p.subscriptions(other, name)
				}
			}
			pin, err := h.attacher.AttachOne(context.Background(), topic.PresenceTopic(name))
			if err != nil {
				p.t.Fatal(err)
			}
			var got []string
			list, _ := h.registry.List(name, 100)
			for _, m := range list {
				got = append(got, m.Sub)
			}
			if want := slices.Sorted(maps.Keys(members)); !slices.Equal(got, want) {
				p.t.Errorf("%s knows the members %v of %s, want %v", h.name, got, name, want)
			}
			if got := h.registry.OtherSubscribers(name); got != others {
				p.t.Errorf("%s knows %d subscriptions of others to %s, want %d", h.name, got, name, others)
			}
			pin.Release()
		}
	}
}
