// Package fakestore simulates a store that several nodes share, and a faulty network
// between the nodes and the store. It is for tests of package remote and of packages that
// use remote.
//
// Requests, answers, and the messages that the store pushes to a node take time, come in
// bursts, come twice, or get lost (link.go). The store goes away for a while, loses
// messages, and begins new epochs (faults.go). Package remote must report every loss that
// this causes as a gap.
//
// All randomness comes from a seed: in a bubble of testing/synctest, the same calls at the
// same times cause the same events.
package fakestore

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/ikornaselur/notiflux/internal/broker"
	"github.com/ikornaselur/notiflux/internal/broker/remote"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// A Node is the broker of one node of a [Store]. Create it with [Store.Node].
type Node struct {
	*remote.Node

	// Immutable.
	shared *Store
	name   string

	mu sync.Mutex
	// Guarded by mu.
	away bool // there is no connection

	// Owned by the goroutine of Run.
	link
	connection uint64        // its number
	pushed     []remote.Push // pushes that arrive with the next burst
}

var _ broker.Shared = (*Node)(nil)

// Node returns the broker of another node, which feeds sink.
func (s *Store) Node(sink broker.Sink) *Node {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nodes++
	name := fmt.Sprintf("node%d", s.nodes)
	n := &Node{
		Node:   remote.New(remote.Config{Sink: sink, Name: name, MaxInFlight: s.config.MaxInFlight, Check: s.config.Check}),
		shared: s,
		name:   name,
	}
	n.link = link{node: n.Node, random: rand.New(rand.NewPCG(s.config.Seed, s.nodes)), delays: s.config.Delay}
	n.Use(view{n})
	n.connection = n.Connecting()
	return n
}

// Run implements [broker.Broker]. It starts no goroutine. When ctx ends, operations in
// flight fail.
func (n *Node) Run(ctx context.Context) error {
	// In fake time, what the node does at intervals must not coincide with what its server does
	// at intervals: which comes first would be chance.
	select {
	case <-time.After(time.Duration(1 + n.random.Int64N(int64(time.Millisecond)))):
	case <-ctx.Done():
	}
	n.trouble()
	n.listen()
	n.announceLater()
	n.Work(ctx, func() {
		n.setAway(true)
		n.disconnect()
	})
	return nil
}

// A view is the store as one node sees it, over an unreliable connection.
type view struct{ n *Node }

var _ remote.Store = view{}

func (v view) Publish(ps []pubsub.Publication, _ time.Time, then func(error)) {
	v.n.call(func() { v.n.shared.publish(ps) }, then)
}

func (v view) Subscribe(name pubsub.Topic, then func(error)) {
	v.n.command(func() { v.n.shared.subscribe(v.n, name) }, then)
}

func (v view) Unsubscribe(name pubsub.Topic) {
	v.n.command(func() { v.n.shared.unsubscribe(v.n, name) }, func(error) {})
}

func (v view) Head(name pubsub.Topic, then func(pubsub.Position, error)) {
	var head pubsub.Position
	v.n.call(func() { head = v.n.shared.head(name) }, func(err error) { then(head, err) })
}

func (v view) Read(name pubsub.Topic, r remote.Range, then func(remote.Page, error)) {
	var p remote.Page
	v.n.call(func() { p = v.n.shared.read(name, r) }, func(err error) { then(p, err) })
}

func (v view) Behind(heads map[pubsub.Topic]pubsub.Position, then func([]pubsub.Topic, error)) {
	var behind []pubsub.Topic
	v.n.call(func() { behind = v.n.shared.behind(heads) }, func(err error) { then(behind, err) })
}

func (v view) Tell(changes []remote.Change, then func(error)) {
	v.n.call(func() { v.n.shared.tell(v.n.name, changes) }, then)
}

func (v view) Statements(name pubsub.Topic, then func(remote.Statements, error)) {
	var all remote.Statements
	v.n.call(func() { all = v.n.shared.Statements(name) }, func(err error) { then(all, err) })
}

func (v view) Renew(d time.Duration, then func(remote.Leases, bool, error)) {
	var leases remote.Leases
	var ended bool
	v.n.call(func() { leases, ended = v.n.shared.renew(v.n.name, d) }, func(err error) { then(leases, ended, err) })
}

// Health returns an error while the node is away.
func (v view) Health() error {
	v.n.mu.Lock()
	defer v.n.mu.Unlock()
	if v.n.away {
		return remote.ErrNotSent
	}
	return nil
}

// disconnect ends the connection to the store, and with it the subscriptions.
func (n *Node) disconnect() {
	if n.down {
		return
	}
	n.pushed = nil
	n.cut()
	n.shared.hangUp(n) // This includes subscriptions that were not confirmed.
}

// connect reconnects.
func (n *Node) connect() {
	if n.down {
		n.down = false
		n.Connected()
		n.listen()
	}
}

// receive takes a push from the store, unless the push gets lost. A push may also come
// twice.
func (n *Node) receive(p remote.Push) {
	switch dice := n.random.IntN(20); {
	case n.down || dice == 0:
		return
	case dice == 1:
		n.After(n.delay(), func() { n.Receive([]remote.Push{p}) })
	}
	n.pushed = append(n.pushed, p)
	if len(n.pushed) == 1 { // Pushes that follow until then arrive together with it, in a burst.
		n.After(n.delay(), n.deliver)
	}
}

// deliver takes the pushes that have arrived.
func (n *Node) deliver() {
	burst := n.pushed
	n.pushed = nil
	n.Receive(burst)
}

func (n *Node) topics() []pubsub.Topic {
	names := n.Topics()
	slices.Sort(names)
	return names
}
