package fakestore_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ikornaselur/notiflux/internal/broker/brokertest/fakestore"
	"github.com/ikornaselur/notiflux/internal/presence"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/topic"
)

// newParty returns nodes that have been connected for a while.
func newParty(t *testing.T, nodes int) *party {
	p := &party{t: t, random: rand.New(rand.NewPCG(1, 0)), store: fakestore.New(fakestore.Config{Seed: 1}), sleep: time.Sleep}
	for range nodes {
		p.begin()
	}
	p.sleep(steady)
	return p
}

// stay adds a member to a host.
func (p *party) stay(h *host, name pubsub.Topic, sub string) *stay {
	p.t.Helper()
	s := &stay{topic: name, sub: sub, since: time.Now()}
	for i, attached := range []pubsub.Topic{name, topic.PresenceTopic(name)} {
		var err error
		if s.pins[i], err = h.attacher.AttachOne(context.Background(), attached); err != nil {
			p.t.Fatal(err)
		}
	}
	s.reference = h.registry.Join(name, pubsub.Member{Sub: sub})
	p.mu.Lock()
	defer p.mu.Unlock()
	h.stays = append(h.stays, s)
	return s
}

// expect checks the members of a topic that a host knows.
func (p *party) expect(h *host, name pubsub.Topic, want ...string) {
	p.t.Helper()
	var got []string
	list, _ := h.registry.List(name, 100)
	for _, m := range list {
		got = append(got, m.Sub)
	}
	if !slices.Equal(got, want) {
		p.t.Errorf("%s knows the members %v, want %v", h.name, got, want)
	}
}

func (p *party) end() {
	for _, h := range p.hosts {
		h.stop()
	}
}

// A member leaves, and its node loses the connection before the store has the news.
func TestLeaveIsToldAfterAnOutage(t *testing.T) {
	for _, outage := range []time.Duration{time.Second, 8 * time.Second, 12 * time.Second, 20 * time.Second, 40 * time.Second} {
		t.Run(fmt.Sprint(outage), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newParty(t, 2)
				defer p.end()
				p.stay(p.hosts[0], "a", "watcher")
				m := p.stay(p.hosts[1], "a", "m")
				p.stay(p.hosts[1], "a", "other")
				p.sleep(30 * time.Second)
				p.expect(p.hosts[0], "a", "m", "other", "watcher")
				m.reference.Release()
				synctest.Wait() // What the node tells is under way.
				p.hosts[1].node.Away()
				p.sleep(outage)
				p.hosts[1].node.Back()
				p.sleep(30 * time.Second)
				for _, h := range p.hosts {
					p.expect(h, "a", "other", "watcher")
				}
			})
		})
	}
}

// A node crashed long ago. What it said does not come back when another one was cut off, or
// begins.
func TestMembersOfACrashedNodeStayAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newParty(t, 3)
		p.stay(p.hosts[0], "a", "watcher")
		p.stay(p.hosts[1], "a", "other")
		p.stay(p.hosts[2], "a", "m")
		p.sleep(30 * time.Second)
		crashed := p.hosts[2]
		crashed.node.Away()
		synctest.Wait()
		crashed.stop()
		p.mu.Lock()
		p.hosts = p.hosts[:2]
		p.mu.Unlock()
		p.sleep(10 * time.Minute)
		p.expect(p.hosts[0], "a", "other", "watcher")
		p.hosts[0].node.Away()
		p.sleep(20 * time.Second)
		p.hosts[0].node.Back()
		p.begin()
		p.sleep(time.Second)
		p.stay(p.hosts[2], "a", "new")
		for range 10 {
			p.sleep(5 * time.Second)
			for _, h := range p.hosts {
				p.expect(h, "a", "new", "other", "watcher")
			}
		}
		p.end()
	})
}

// The grace period of a member ends 10 s after its last connection to any node, whatever the
// order in which a node learns of the ends.
func TestLatestGracePeriodCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := presence.New(presence.Config{OwnChanged: func(pubsub.Topic, string) {}})
		ctx, stop := context.WithCancel(context.Background())
		defer stop()
		go func() { _ = r.Run(ctx) }()
		began := time.Now()
		own := r.Join("t", pubsub.Member{Sub: "m"})
		other := r.JoinOther("t", pubsub.Member{Sub: "m"}, false)
		time.Sleep(8 * time.Second)
		own.Release()
		other.ReleaseUntil(began.Add(10 * time.Second)) // It left the other node at once.
		time.Sleep(9 * time.Second)
		if _, count := r.List("t", 1); count != 1 {
			t.Error("the member left 9 s after its last connection")
		}
		time.Sleep(2 * time.Second)
		if _, count := r.List("t", 1); count != 0 {
			t.Error("the member is present 11 s after its last connection")
		}
		stop()
		synctest.Wait()
	})
}
