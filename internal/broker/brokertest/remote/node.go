// Package remote is a fake broker for tests. Its messages are ordered and stored elsewhere:
// in a [Store], which several nodes share.
//
// It shows how to write a broker for a real store. It also simulates a real network and a
// real store. Requests, answers and pushes take time, come in bursts, come twice, or get
// lost. The store goes away for a while, loses messages, and begins new epochs. The broker
// reports every loss that it simulates as a gap.
//
// A message passes through it in three steps. [Node.Publish] queues it, and sends the queue
// to the store in one request (publish.go). The store orders and stores the message, and
// pushes it to every node that subscribes to its topic (store.go). On each of these nodes a
// [follower] appends it to the log. If pushes got lost, the follower reads the missing
// messages from the store (follow.go).
//
// [Node.Attach] pins a resume point in the log of a followed topic, and prepends the
// messages that the store has and the log lacks (attach.go).
//
// All of this happens on one goroutine per node, in virtual or real time (timeline.go),
// over an unreliable connection (link.go). All randomness comes from a seed: in a bubble of
// testing/synctest, the same calls at the same times cause the same events.
package remote

import (
	"context"
	"math/rand/v2"
	"sync"

	"github.com/ikornaselur/notiflux/internal/broker"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// A Node is the broker of one node of a [Store]. Create it with [Store.Node].
type Node struct {
	// Immutable.
	store *Store
	sink  broker.Sink

	mu sync.Mutex
	// Guarded by mu.
	inFlight int  // bytes of the publications without an outcome
	away     bool // there is no connection
	closed   bool // see Close

	publishes sync.WaitGroup // calls of Publish in flight; none is added once closed

	// Owned by the goroutine of Run, except for post.
	link
	followed map[pubsub.Topic]*follower
	checking bool   // the next check is in the timeline
	pushed   []push // pushes that arrive with the next burst
	queue    []*publishing
	sending  bool // a request of send is in flight
}

var _ broker.Broker = (*Node)(nil)

// Node returns the broker of another node, which feeds sink.
func (s *Store) Node(sink broker.Sink) *Node {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nodes++
	random := rand.New(rand.NewPCG(s.config.Seed, s.nodes))
	return &Node{
		store:    s,
		sink:     sink,
		link:     link{timeline: newTimeline(), random: random, delays: s.config.Delay},
		followed: make(map[pubsub.Topic]*follower),
	}
}

// Run implements [broker.Broker]. It starts no goroutine. When ctx ends, operations in
// flight fail.
func (n *Node) Run(ctx context.Context) error {
	n.trouble()
	n.run(ctx, func() {
		n.setAway(true)
		n.disconnect()
	})
	return nil
}

// Health implements [broker.Broker].
func (n *Node) Health() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.away {
		return errAway
	}
	return nil
}
