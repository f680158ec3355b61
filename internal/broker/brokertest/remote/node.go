// Package remote is a broker for tests whose messages are ordered and kept elsewhere: in a
// [Store], which several nodes share. It shows how the broker of a real store is written,
// and does to its users what a network does: requests, answers and pushes take time, come
// in bursts, come twice, or get lost; the store is away for a while; it loses messages, and
// begins new epochs. Every loss that it plays is announced.
//
// A message passes through it in three steps. [Node.Publish] queues it, and sends what is
// queued to the store in one request (publish.go). The store orders and keeps it, and
// pushes it to every node that subscribes to its topic (store.go). A [follower] on each of
// these nodes appends it to the log, and reads again what it missed (follow.go).
//
// [Node.Attach] pins a resume point in the log of a topic that is followed, and prepends
// what the store has and the log has not (attach.go).
//
// All of this happens on one goroutine per node, in virtual or real time (timeline.go), on
// a connection that is not to be relied on (link.go). Randomness comes from a seed: in a
// bubble of testing/synctest the same calls at the same times give the same events.
package remote

import (
	"context"
	"math/rand/v2"
	"sync"

	"github.com/ikornaselur/notiflux/internal/broker"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// A Node is the broker of one node of a [Store]. Make one with [Store.Node].
type Node struct {
	// Immutable.
	store *Store
	sink  broker.Sink

	mu sync.Mutex
	// Guarded by mu.
	inFlight int  // bytes of the publications without an outcome
	away     bool // there is no connection
	closed   bool // see Close

	publishes sync.WaitGroup // calls of Publish that are under way; none is added once closed

	// Owned by the goroutine of Run, but for post.
	link
	followed map[pubsub.Topic]*follower
	checking bool   // the next check is in the timeline
	pushed   []push // that come with the next burst
	queue    []*publishing
	sending  bool // a request of send is under way
}

var _ broker.Broker = (*Node)(nil)

// Node returns the broker of one more node, which feeds sink.
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

// Run implements [broker.Broker]. It starts no goroutine. When ctx ends, what is under way
// fails.
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
