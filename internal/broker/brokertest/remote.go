package brokertest

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/internal/broker"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/topic"
)

// A RemoteConfig configures [RunRemote].
type RemoteConfig struct {
	// Open returns a new store with a number of nodes, whose topics c configures. The suite
	// calls it once for each test, in a bubble of testing/synctest, runs the nodes and
	// closes them.
	Open func(t *testing.T, nodes int, c topic.Config) Remote

	// Delay limits the time from the publisher's answer until the message is in the logs of
	// its topic on all connected nodes.
	Delay time.Duration

	// RealTime is as in [Config].
	RealTime bool
}

// A Remote is a store with its nodes, and the faults that a test can cause.
type Remote struct {
	Nodes []RemoteNode

	NewEpoch func()                         // begins a new epoch, as after a failover; nil: nothing does
	Trouble  func(name pubsub.Topic)        // another fault, which begins no epoch; it may make a topic lose messages; nil: there is none
	Keeps    bool                           // Trouble makes no topic lose messages, and there are no other faults: every resume is recovered
	Epochs   func() int                     // how many epochs began that NewEpoch did not begin; nil: none
	Lose     func(name pubsub.Topic, n int) // loses the next n messages of a topic, after their publishers have their answer; nil: no test can do that
}

// A RemoteNode is one node of a [Remote].
type RemoteNode struct {
	Broker     broker.Broker
	Topics     *topic.Topics
	Away, Back func() // cut and restore its connection to the store
}

// RunRemote tests the behaviour that only a broker with a remote store has. [Run] tests the
// rest.
func RunRemote(t *testing.T, c RemoteConfig) {
	for name, test := range map[string]func(*testing.T, *cluster){
		"nodes agree":                        nodesAgree,
		"patterns on several nodes":          patternsAgree,
		"a pattern is resumed elsewhere":     patternElsewhere,
		"a gap of a pattern":                 patternGap,
		"away and back":                      awayAndBack,
		"away while publishing":              awayWhilePublishing,
		"away while attaching":               awayWhileAttaching,
		"every cursor meets a gap":           gapIsMet,
		"a lost last message is a gap":       lastIsLost,
		"a new epoch reaches quiet topics":   newEpochIsMet,
		"the last messages of the store":     lastInStore,
		"resume points of a topic at once":   resumeAtOnce,
		"detach and attach at once":          detachRaces,
		"close waits for publishes":          closeWaits,
		"close waits for the logs":           closeSettles,
		"callbacks come once and in time":    callbacksComeOnce,
		"all nodes learn revocations":        learnRevocations,
		"lost revocations are stored again":  restoreRevocations,
		"the store of revocations is full":   fullOfRevocations,
		"all nodes are asked":                askAll,
		"chaos: every loss is a gap, seed 0": func(t *testing.T, c *cluster) { chaos(t, c, 0) },
		"chaos: every loss is a gap, seed 1": func(t *testing.T, c *cluster) { chaos(t, c, 1) },
		"chaos: every loss is a gap, seed 2": func(t *testing.T, c *cluster) { chaos(t, c, 2) },
		"chaos: every loss is a gap, seed 3": func(t *testing.T, c *cluster) { chaos(t, c, 3) },
	} {
		t.Run(name, func(t *testing.T) {
			inTime(t, c.RealTime, func(t *testing.T) {
				cluster := openCluster(t, c)
				defer cluster.close()
				test(t, cluster)
				cluster.checkLeft()
			})
		})
	}
}

// RunChaos runs only the chaos test of RunRemote, with a seed.
func RunChaos(t *testing.T, c RemoteConfig, seed uint64) {
	inTime(t, c.RealTime, func(t *testing.T) {
		cluster := openCluster(t, c)
		defer cluster.close()
		chaos(t, cluster, seed)
		cluster.checkLeft()
	})
}

// logLimit is the number of messages that the logs of a cluster hold. The store holds more.
const logLimit = 5

// A cluster is a [Remote] under test.
type cluster struct {
	Remote
	t     *testing.T
	nodes []*node

	operators []*operator // of the nodes

	callbacks sync.Mutex // held by callbacks of publish

	mu sync.Mutex
	// Guarded by mu.
	ordered map[pubsub.Topic]map[pubsub.Position]string // data of the messages whose publishers got a position
	newest  map[pubsub.Topic]pubsub.Position            // newest position that a publisher got
}

func openCluster(t *testing.T, config RemoteConfig) *cluster {
	c := &cluster{t: t, ordered: make(map[pubsub.Topic]map[pubsub.Position]string), newest: make(map[pubsub.Topic]pubsub.Position)}
	c.Remote = config.Open(t, 2, topic.Config{PerTopic: topic.Limits{Count: logLimit}})
	for _, n := range c.Nodes {
		c.operators = append(c.operators, operate(n.Broker))
		c.nodes = append(c.nodes, start(t, n.Broker, n.Topics, config.Delay, config.RealTime))
	}
	return c
}

func (c *cluster) close() {
	for _, n := range c.nodes {
		n.close()
	}
}

// pause waits in the bubble of the test.
func pause(d time.Duration) { <-time.After(d) }

// canLose skips a test that needs a store that loses messages.
func (c *cluster) canLose() {
	if c.Lose == nil {
		c.t.Skip("the store loses no message that it has acknowledged while it runs")
	}
}

// settle waits until every published message is in the logs. The caller sees what the callbacks
// of publish have written.
func (c *cluster) settle() {
	c.nodes[0].settle()
	c.callbacks.Lock()
	defer c.callbacks.Unlock()
}

// checkLeft fails the test if an attachment waits or a pin is left.
func (c *cluster) checkLeft() {
	c.nodes[0].longSettle()
	c.settle()
	for i, n := range c.nodes {
		if waiting := n.attacher.Waiting(); waiting != 0 {
			c.t.Errorf("node %d: %d attachments still wait", i, waiting)
		}
		listening := 0
		for name := range n.listening {
			if !name.IsPattern() { // A pattern stays live for some minutes.
				listening++
			}
		}
		if topics := n.topics.Stats().Topics - len(n.topics.Patterns()); topics != listening {
			c.t.Errorf("node %d: %d topics are live, subscribers are in %d", i, topics, listening)
		}
	}
}

// publish publishes a message through a node and records its outcome. It does not wait. It calls
// then with the outcome; calls do not overlap.
func (c *cluster) publish(n *node, p pubsub.Publication, then func(pubsub.Publication)) {
	c.mu.Lock()
	before := c.newest[p.Topic]
	c.mu.Unlock()
	ps := []pubsub.Publication{p}
	began, called := time.Now(), 0
	done := func() {
		if called++; called > 1 {
			c.t.Errorf("%d callbacks of one Publish", called)
		}
		if took := time.Since(began); took > n.timeout() {
			c.t.Errorf("Publish took %v", took)
		}
		c.record(ps[0], before)
		if then != nil {
			c.callbacks.Lock()
			defer c.callbacks.Unlock()
			then(ps[0])
		}
	}
	if n.broker.Publish(ps, done) {
		done()
	}
}

// record records the outcome of a publication. before is the newest position that a
// publisher had received when the publication began.
func (c *cluster) record(p pubsub.Publication, before pubsub.Position) {
	if p.Err != nil {
		switch code := pubsub.Refusal(p.Err).Code; code {
		case pubsub.OutcomeUnknown, pubsub.Unavailable, pubsub.Draining:
		default:
			c.t.Errorf("Publish(%q) = %v", p.Topic, p.Err)
		}
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	at := p.Position
	if at.Epoch == before.Epoch && at.Offset <= before.Offset && p.Key == "" {
		c.t.Errorf("published at %v, after a publisher got %v", at, before)
	}
	c.recordIn(p.Topic, p)
	if allTopics.Matches(p.Topic) {
		c.recordIn(allTopics.Topic(), p)
	}
}

// allTopics matches the topics of tests with patterns.
const allTopics pubsub.Pattern = "topic *"

// recordIn records a publication in the messages of its topic, or of allTopics.
func (c *cluster) recordIn(name pubsub.Topic, p pubsub.Publication) {
	at := p.Position
	if newest := c.newest[name]; at.Epoch != newest.Epoch || at.Offset > newest.Offset {
		c.newest[name] = at
	}
	if c.ordered[name] == nil {
		c.ordered[name] = make(map[pubsub.Position]string)
	}
	if other, ok := c.ordered[name][at]; ok && p.Key == "" {
		c.t.Errorf("%q and %q were published at %v", other, p.Body.Data, at)
	}
	c.ordered[name][at] = string(p.Body.Data)
}

// send publishes messages one after the other, which must succeed. It returns their
// positions.
func (c *cluster) send(n *node, name pubsub.Topic, data ...string) (positions []pubsub.Position) {
	c.t.Helper()
	for _, d := range data {
		done := make(chan pubsub.Publication, 1)
		c.publish(n, message(name, d), func(p pubsub.Publication) { done <- p })
		p := <-done
		if p.Err != nil {
			c.t.Fatalf("Publish(%q) = %v", name, p.Err)
		}
		positions = append(positions, p.Position)
	}
	return positions
}

// A reader checks that a subscriber reads what was published.
type reader struct {
	*subscriber
	cluster *cluster
	at      pubsub.Position // how far it has read
	data    []string        // of the entries it has read; "gap" for one gap, or several in a row
}

func (c *cluster) reader(s *subscriber) *reader {
	return &reader{subscriber: s, cluster: c, at: s.resumed.Position}
}

// readAll reads to the tail.
func (r *reader) readAll() string {
	for r.readOne() {
	}
	return fmt.Sprint(r.data)
}

// readOne reads an entry. It returns false at the tail.
func (r *reader) readOne() bool {
	entry, next, ok := r.cursor.Next()
	if !ok {
		return false
	}
	r.cursor = next
	t := r.cluster.t
	if to, marker := entry.Marker(); marker {
		if r.cluster.Keeps {
			t.Errorf("a gap from %v to %v, although nothing was lost", r.at, to)
		}
		if to.Epoch == r.at.Epoch && to.Offset <= r.at.Offset {
			t.Errorf("a gap from %v to %v", r.at, to)
		}
		r.at = to
		if len(r.data) == 0 || r.data[len(r.data)-1] != "gap" {
			r.data = append(r.data, "gap")
		}
		return true
	}
	m := entry.Message()
	if m.Position.Epoch != r.at.Epoch || m.Position.Offset <= r.at.Offset {
		t.Errorf("%v follows %v", m.Position, r.at)
	}
	r.cluster.mu.Lock()
	defer r.cluster.mu.Unlock()
	ordered := r.cluster.ordered[r.topic.Name()]
	if data, ok := ordered[m.Position]; ok && data != string(m.Body.Data) {
		t.Errorf("%v holds %q, its publisher sent %q", m.Position, m.Body.Data, data)
	}
	for at, data := range ordered {
		if at.Epoch == r.at.Epoch && at.Offset > r.at.Offset && at.Offset < m.Position.Offset {
			t.Errorf("%q: %q at %v is missing between %v and %v, and no gap says so", r.topic.Name(), data, at, r.at, m.Position)
		}
	}
	r.at, r.data = m.Position, append(r.data, string(m.Body.Data))
	return true
}
