// Package remote is the node's side of a broker whose messages are ordered and stored
// elsewhere: in a [Store] that several nodes share.
//
// A message passes through it in three steps. [Node.Publish] queues it, and sends the queue
// to the store in one request (publish.go). The store orders and keeps the message, and
// pushes it to every node that subscribes to its topic. On each of these nodes a [follower]
// appends it to the log. If pushes got lost, the follower reads the missing messages from
// the store (follow.go).
//
// [Node.Attach] pins a resume point (the place where a subscriber begins to read) in the
// log of a followed topic, and prepends the messages that the store has and the log lacks
// (attach.go).
//
// A node with subscriptions to patterns follows the messages of all topics, the shard, and gets
// those of its topics from there (shard.go).
//
// Each node tells the store which members are present on it (tell.go). The store pushes that
// to the nodes that follow the presence topic: a separate, internal topic for the members of
// a topic. A node follows it like any other topic, but what it reads and receives goes to
// its registry instead of a log (members.go).
//
// The store also has the revocations of tokens, which every node reads when it connects and
// when the store says that there are more (revocations.go), and carries the requests of an
// operator from one node to all (ask.go).
//
// Invariants:
//   - The steps of a node run on one goroutine, that of [Node.Work] (timeline.go). It never
//     waits for the store, which answers with a callback.
//   - A node reads a topic only after the store has confirmed its subscription. So no
//     message is missing between those that it reads and those that the store pushes to it.
//   - Only answers of the store change the epoch of a log. A push of another epoch causes a
//     read.
//   - At most one request to publish is in flight, so that messages keep the order in which
//     they were published.
//
// The package knows no network and no encoding. Package redis has a real store, and package
// brokertest/fakestore a simulated one.
package remote

import (
	"cmp"
	"context"
	"math"
	"sync"
	"time"

	"github.com/ikornaselur/notiflux/internal/broker"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// Config configures [New].
type Config struct {
	Sink        broker.Sink
	Name        string        // of the node, unique among the nodes of the store
	MaxInFlight int           // bytes of the publications that have no outcome yet; 0: 64 MiB
	Check       time.Duration // interval at which the heads of logs are compared with the store's; 0: 10 s
}

const (
	defaultMaxInFlight = 64 << 20
	defaultCheck       = 10 * time.Second
)

// A Store orders the messages of all nodes, keeps the newest ones of each topic, and pushes
// each message to the nodes that subscribe to its topic. The Node calls its methods on its
// own goroutine, except Health.
//
// No method blocks. Each calls its callback once, on the goroutine of the node: within the
// call, or later with [Node.Post]. An error means that the store did not answer; [ErrNotSent]
// means that it did not get the request either.
type Store interface {
	// Publish orders the publications that have no error yet, in slice order, and sets the
	// position or the error of each. The node does not touch ps before the callback. The
	// store drops the request if it arrives after the deadline.
	Publish(ps []pubsub.Publication, deadline time.Time, then func(error))

	// Subscribe makes the store push the messages of a topic to this node; see
	// [Node.Receive]. Calls of Subscribe and Unsubscribe take effect in their order.
	Subscribe(name pubsub.Topic, then func(error))
	Unsubscribe(name pubsub.Topic)

	// Head returns the position at which the log of a topic begins: that of its last
	// message, or where the epoch began. From then on the store knows the topic.
	Head(name pubsub.Topic, then func(pubsub.Position, error))

	// Read returns messages of a topic.
	Read(name pubsub.Topic, r Range, then func(Page, error))

	// Behind returns those topics whose log is behind the store: the head of the log is in
	// another epoch, or the topic has a later message.
	Behind(heads map[pubsub.Topic]pubsub.Position, then func([]pubsub.Topic, error))

	// Tell sets or removes what the nodes say about topics, and pushes each change to the
	// nodes that subscribe to the presence topic. A call that arrives after a later one of
	// the same node has no effect. The store may forget what is said about a topic that no
	// node follows.
	Tell(changes []Change, then func(error))

	// Statements returns what the nodes say about a topic.
	Statements(name pubsub.Topic, then func(Statements, error))

	// Renew renews the lease of this node. It returns the leases of all nodes, and whether
	// that of this node had ended.
	Renew(d time.Duration, then func(l Leases, ended bool, err error))

	// Revoke adds entries to the revocations and removes others, or calls then with ErrFull if
	// that would be more than most.
	Revoke(add, remove []string, most int, then func(error))

	// Revocations returns those that were added after a position. It returns the first ones
	// of all if the store may have lost any since then.
	Revocations(after pubsub.Position, then func(Revocations, error))

	// Ask sends a request to all nodes, see [Node.Asked]. It returns how many got it.
	Ask(number uint64, request []byte, then func(receivers int, err error))

	// Answer sends the answer to a request to the node that asked, see [Node.Answered].
	Answer(asker string, number uint64, answer []byte)

	// Health returns nil if the store can be reached, or why not. It is safe for concurrent
	// use.
	Health() error
}

// A Range selects messages of a topic.
type Range struct {
	After  pubsub.Position // those after this; in another epoch than the store's: see Whole
	Until  uint64          // those up to this offset
	Newest int             // at most this many, the newest ones
	Whole  bool            // if After is in another epoch: all messages that are kept, not only those of the epoch

	// Cancelled reports whether nobody waits for the answer any more, so that the store need
	// not read. It is called on any goroutine. Nil: somebody does.
	Cancelled func() bool
}

// All is no limit for Range.Newest, and Last none for Range.Until.
const (
	All  = math.MaxInt
	Last = math.MaxUint64
)

// A Page is the store's answer to a Read.
type Page struct {
	Epoch    string
	Last     uint64           // last offset assigned, over all topics
	From     uint64           // no message between From and the first one is missing
	More     bool             // only the first messages of the range are here, because the store has many
	Messages []pubsub.Message // oldest first
}

// covers reports whether a page that was read after since has every message after since.
func (p *Page) covers(since pubsub.Position) bool {
	return since.Epoch == p.Epoch && since.Offset >= p.From && since.Offset <= p.Last
}

// A Node is the broker of one node, except for Run. Create it with [New].
type Node struct {
	// Immutable after Use.
	config Config
	store  Store
	stats  *broker.Stats

	mu sync.Mutex
	// Guarded by mu.
	closed bool // see Close; stats.PublishingBytes is written under mu, too

	publishes sync.WaitGroup // calls of Publish in flight; none is added once closed

	// Owned by the goroutine of Work, except for post.
	*timeline
	followed map[pubsub.Topic]*follower
	checking bool // the next check is in the timeline
	queue    []*publishing
	sending  bool // a request of send is in flight
	sharing  sharing
	shard    shard
	operating
}

// New returns a node without a store. Call Use before any other method.
func New(c Config) *Node {
	c.MaxInFlight = cmp.Or(c.MaxInFlight, defaultMaxInFlight)
	c.Check = cmp.Or(c.Check, defaultCheck)
	n := &Node{config: c, stats: broker.NewStats(), timeline: newTimeline(), followed: make(map[pubsub.Topic]*follower)}
	n.shard = shard{Node: n}
	n.operating.Node = n
	n.sharing = sharing{
		Node:    n,
		said:    make(map[pubsub.Topic]map[part]*saying),
		changed: make(map[subject]time.Time),
		counted: make(map[pubsub.Topic]bool),
		ended:   make(map[string]bool),
	}
	return n
}

// Use sets the store of the node, which usually needs the node to call Post.
func (n *Node) Use(s Store) { n.store = s }

// Topics returns the topics that the node follows, in no order. It is called on the goroutine
// of Run.
func (n *Node) Topics() (names []pubsub.Topic) {
	for name := range n.followed {
		names = append(names, name)
	}
	return names
}

// Work runs the node until ctx ends, and then until the store knows which members have left,
// but no longer than a second. Then it calls stop, after which all operations in flight must
// fail. It starts no goroutine.
func (n *Node) Work(ctx context.Context, stop func()) {
	working, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	defer context.AfterFunc(ctx, func() { n.Post(func() { n.sharing.finishTelling(end) }) })()
	n.run(working, stop)
}

// Stats returns the counters of the node. Those of calls, connections and probes are for the
// store to count.
func (n *Node) Stats() *broker.Stats { return n.stats }

// Health implements [broker.Broker].
func (n *Node) Health() error { return cmp.Or(n.store.Health(), n.revocationsRead()) }

// Close implements [broker.Broker]. If ctx ends first, a goroutine remains until the
// publishes in flight have their outcome.
func (n *Node) Close(ctx context.Context) error {
	n.mu.Lock()
	n.closed = true
	n.mu.Unlock()
	closed := make(chan struct{})
	go func() {
		n.publishes.Wait()
		if !n.Post(func() { n.settle(func() { close(closed) }) }) {
			close(closed)
		}
	}()
	select {
	case <-closed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
