// Package brokertest holds the conformance tests that every [broker.Broker] passes.
//
// [Run] tests any broker: ordering, keys, resuming, history and closing. [RunRemote] adds
// tests for a broker whose store is remote: connections that break, lost messages, new
// epochs (which begin when the store may have lost messages), and several nodes. [RunChaos]
// acts at random and checks that each subscriber reads every published message, or a gap in
// its place.
//
// The suite opens a new broker for each test. For most brokers, every test runs in a bubble
// of testing/synctest, so time is fake and the tests do not depend on the speed of the
// machine. For a broker with a real network (Config.RealTime), the tests run in parallel, in
// real time.
//
// Package fakestore, inside this one, simulates a store and its network. Other packages use
// it to test the server against a slow and faulty broker.
package brokertest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ikornaselur/notiflux/internal/broker"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/topic"
)

// A Config configures [Run].
type Config struct {
	// Open returns a broker and the topics that it feeds, which c configures. The suite
	// calls it once for each test, in a bubble of testing/synctest. The suite runs both and
	// closes the broker.
	Open func(t *testing.T, c topic.Config) (broker.Broker, *topic.Topics)

	// Delay limits the time from the publisher's answer until the message is in the log of
	// its topic. 0: the message is in the log before the answer.
	Delay time.Duration

	// RealTime says that the broker has a real network, so that time cannot be fake.
	RealTime bool
}

// Run tests the broker that c opens.
func Run(t *testing.T, c Config) {
	for name, test := range map[string]func(*testing.T, *node){
		"a published message is in the log":    publishedIsLogged,
		"offsets of a topic strictly increase": offsetsIncrease,
		"a dropped topic reuses no offset":     droppedTopic,
		"a closed broker refuses messages":     closedRefuses,
		"the same key is published once":       sameKey,
		"the same key at once":                 sameKeyAtOnce,
		"batches":                              batches,
		"a failed message frees its key":       failedKey,
		"a covered position misses nothing":    resumeCovered,
		"another epoch is not covered":         resumeElsewhere,
		"the last messages":                    resumeLast,
		"topics attached at once":              attachAtOnce,
		"history":                              history,
		"cancelled attachments leave nothing":  cancelled,
		"patterns":                             patterns,
		"a topic beside patterns":              besidePatterns,
	} {
		t.Run(name, func(t *testing.T) {
			inTime(t, c.RealTime, func(t *testing.T) {
				n := open(t, c)
				defer n.close()
				test(t, n)
			})
		})
	}
}

// inTime runs a test in a bubble or, if time is real, beside others.
func inTime(t *testing.T, real bool, test func(*testing.T)) {
	if real {
		t.Parallel()
		test(t)
		return
	}
	synctest.Test(t, test)
}

// A node is a broker under test and the topics that it feeds.
type node struct {
	t        *testing.T
	broker   broker.Broker
	topics   *topic.Topics
	attacher *broker.Attacher
	delay    time.Duration
	real     bool // time is real
	stop     context.CancelFunc
	running  sync.WaitGroup

	mu        sync.Mutex
	listening map[pubsub.Topic]int // subscribers by topic; guarded by mu
}

func open(t *testing.T, c Config) *node {
	b, topics := c.Open(t, topic.Config{PerTopic: topic.Limits{Count: 1000}})
	return start(t, b, topics, c.Delay, c.RealTime)
}

// start runs a broker and its topics.
func start(t *testing.T, b broker.Broker, topics *topic.Topics, delay time.Duration, real bool) *node {
	n := &node{t: t, broker: b, topics: topics, delay: delay, real: real, listening: make(map[pubsub.Topic]int)}
	n.attacher = broker.NewAttacher(n.broker, broker.AttacherConfig{})
	ctx, stop := context.WithCancel(context.Background())
	n.stop = stop
	n.running.Go(func() {
		if err := n.broker.Run(ctx); err != nil {
			t.Errorf("Run = %v", err)
		}
	})
	n.running.Go(func() { _ = n.topics.Run(ctx) })
	for n.broker.Health() != nil { // It has to connect first.
		pause(time.Millisecond)
	}
	return n
}

// rest waits in a bubble until nothing but time can change anything.
func (n *node) rest() {
	if !n.real {
		synctest.Wait()
	}
}

// timeout returns the maximum duration of an operation. A machine that is busy may add to it.
func (n *node) timeout() time.Duration {
	if n.real {
		return time.Hour
	}
	return broker.Timeout
}

func (n *node) close() {
	if err := n.broker.Close(context.Background()); err != nil {
		n.t.Errorf("Close = %v", err)
	}
	n.stop()
	n.running.Wait()
}

// settle waits until every published message is in the logs.
func (n *node) settle() {
	<-time.After(n.delay)
	n.rest()
}

// longSettle waits until no operation is in flight.
func (n *node) longSettle() {
	<-time.After(2 * broker.Timeout)
	n.rest()
}

// publish publishes ps and waits for their outcomes.
func (n *node) publish(ps ...pubsub.Publication) []pubsub.Publication {
	done := make(chan struct{})
	if !n.broker.Publish(ps, func() { close(done) }) {
		<-done
	}
	return ps
}

// send publishes a message that must succeed, and returns its position.
func (n *node) send(name pubsub.Topic, data string) pubsub.Position {
	n.t.Helper()
	p := n.publish(message(name, data))[0]
	if p.Err != nil {
		n.t.Fatalf("Publish(%q) = %v", name, p.Err)
	}
	return p.Position
}

func message(name pubsub.Topic, data string) pubsub.Publication {
	return pubsub.Publication{Topic: name, Body: pubsub.Body{Data: []byte(data)}}
}

// A listener has a size, so that no two of them have the same address.
type listener struct{ _ byte }

func (*listener) Wake() {}

// A subscriber is a reader of a topic.
type subscriber struct {
	node     *node
	topic    *topic.Topic
	listener *listener
	resumed  topic.Resumed
	cursor   topic.Cursor
}

// attach attaches a topic. The caller passes the result to take, or cancels it.
func (n *node) attach(name pubsub.Topic, from topic.ResumePoint) []broker.Attachment {
	n.t.Helper()
	as := []broker.Attachment{{Topic: name, From: from}}
	if err := AttachAll(context.Background(), n.attacher, as); err != nil {
		n.t.Fatal(err)
	}
	return as
}

// take joins the topic of an attachment that must have succeeded.
func (n *node) take(a *broker.Attachment) *subscriber {
	n.t.Helper()
	pin, err := a.Take()
	if err != nil {
		n.t.Fatalf("attach %q: %v", a.Topic, err)
	}
	return n.join(a.Topic, pin)
}

// join joins a topic at a pin.
func (n *node) join(name pubsub.Topic, pin topic.Pin) *subscriber {
	s := &subscriber{node: n, listener: new(listener)}
	s.topic, s.resumed = pin.Join(s.listener)
	s.cursor = s.resumed.Cursor
	n.count(name, 1)
	return s
}

// subscribe attaches a topic and joins it.
func (n *node) subscribe(name pubsub.Topic, from topic.ResumePoint) *subscriber {
	n.t.Helper()
	return n.take(&n.attach(name, from)[0])
}

func (s *subscriber) leave() {
	s.node.count(s.topic.Name(), -1)
	s.node.topics.Leave(s.topic, s.listener)
}

func (n *node) count(name pubsub.Topic, by int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.listening[name] += by; n.listening[name] == 0 {
		delete(n.listening, name)
	}
}

// read returns the messages from the cursor to the tail. A marker fails the test.
func (s *subscriber) read() (all []*pubsub.Message) {
	s.node.t.Helper()
	for {
		entry, next, ok := s.cursor.Next()
		if !ok {
			return all
		}
		if to, marker := entry.Marker(); marker {
			s.node.t.Errorf("a gap to %v, although nothing was lost", to)
		} else {
			all = append(all, entry.Message())
		}
		s.cursor = next
	}
}

func data(ms []*pubsub.Message) string {
	all := []string{}
	for _, m := range ms {
		all = append(all, string(m.Body.Data))
	}
	return fmt.Sprint(all)
}

// logged returns the data of the messages of a topic that the broker has.
func (n *node) logged(name pubsub.Topic) string {
	n.t.Helper()
	n.settle()
	y, err := n.broker.History(n.t.Context(), name, pubsub.Position{}, 1000)
	if err != nil {
		n.t.Fatal(err)
	}
	return data(y.Messages())
}

func publishedIsLogged(t *testing.T, n *node) {
	s := n.subscribe("t", topic.ResumePoint{})
	for i := range 10 {
		p := n.send("t", fmt.Sprint(i))
		n.settle()
		got := s.read()
		if len(got) != 1 {
			t.Fatalf("message %d was published, and %d messages are in the log", i, len(got))
		}
		if m := got[0]; m.Position != p || string(m.Body.Data) != fmt.Sprint(i) || m.Topic != "t" || m.Time.IsZero() {
			t.Errorf("the log has %+v, want %d at %v", m, i, p)
		}
	}
}

func offsetsIncrease(t *testing.T, n *node) {
	s := n.subscribe("t", topic.ResumePoint{})
	const publishers, each = 8, 50
	var mu sync.Mutex
	told := make(map[uint64]string)
	var wg sync.WaitGroup
	for i := range publishers {
		wg.Go(func() {
			var before pubsub.Position
			for j := range each {
				text := fmt.Sprintf("%d/%d", i, j)
				p := n.publish(message("t", text))[0]
				if p.Err != nil {
					t.Error(p.Err)
					return
				}
				if p.Position.Offset <= before.Offset || before.Epoch != "" && p.Position.Epoch != before.Epoch {
					t.Errorf("published at %v after %v", p.Position, before)
				}
				before = p.Position
				mu.Lock()
				told[p.Position.Offset] = text
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	n.settle()
	if len(told) != publishers*each {
		t.Errorf("%d offsets for %d messages", len(told), publishers*each)
	}
	got := s.read()
	if len(got) != publishers*each {
		t.Errorf("%d messages in the log, want %d", len(got), publishers*each)
	}
	var last uint64
	for _, m := range got {
		if m.Position.Offset <= last {
			t.Errorf("offset %d follows %d in the log", m.Position.Offset, last)
		}
		if told[m.Position.Offset] != string(m.Body.Data) {
			t.Errorf("offset %d holds %q, its publisher got the offset for %q", m.Position.Offset, m.Body.Data, told[m.Position.Offset])
		}
		last = m.Position.Offset
	}
}

func droppedTopic(t *testing.T, n *node) {
	s := n.subscribe("t", topic.ResumePoint{})
	before := n.send("t", "x")
	s.leave()
	if after := n.send("t", "y"); after.Epoch == before.Epoch && after.Offset <= before.Offset {
		t.Errorf("published at %v, then at %v", before, after)
	}
}

func closedRefuses(t *testing.T, n *node) {
	if err := n.broker.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := n.publish(message("t", "x"))[0].Err; err == nil || pubsub.Refusal(err).Code != pubsub.Draining {
		t.Errorf("Publish after Close = %v, want %s", err, pubsub.Draining)
	}
}
