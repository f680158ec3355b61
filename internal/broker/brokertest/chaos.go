package brokertest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/internal/broker"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/topic"
)

const (
	chaosSteps  = 400
	chaosTopics = 3

	// patience is how often chaos waits again for what should have happened, in real time.
	patience = 10
)

// A chaotic performs the actions of clients, publishers and networks at random.
type chaotic struct {
	*cluster
	random    *rand.Rand
	attaching sync.WaitGroup
	published int

	mu sync.Mutex
	// Guarded by mu.
	readers []*reader
	resumed int // subscribers that resumed from a position without a loss
	epochs  int // calls of NewEpoch
}

// chaos publishes, subscribes, reads, loses messages and connections, and changes epochs,
// in an order that a seed decides. Each subscriber must read everything that was published,
// except where a gap says otherwise.
func chaos(t *testing.T, c *cluster, seed uint64) {
	x := &chaotic{cluster: c, random: rand.New(rand.NewPCG(seed, 0))}
	// From now on the store can tell what follows a position in the messages of a pattern.
	c.nodes[0].subscribe(allTopics.Topic(), topic.ResumePoint{}).leave()
	for range chaosSteps {
		x.step()
		pause(time.Duration(x.random.Int64N(int64(100 * time.Millisecond))))
		c.nodes[0].rest()
		x.checkAgreement()
	}
	for _, n := range c.Nodes {
		n.Back()
	}
	x.attaching.Wait()
	c.nodes[0].longSettle()
	for i := range chaosTopics {
		if c.Lose != nil {
			c.Lose(x.topic(i), 0)
		}
		x.last(x.topic(i))
	}
	for _, n := range x.nodes { // so that the last one is after each beginning of the pattern
		n.subscribe(allTopics.Topic(), topic.ResumePoint{}).leave()
	}
	for i := range chaosTopics {
		x.last(x.topic(i))
	}
	c.settle()
	for i := 0; i < patience && c.nodes[0].real && x.behind(); i++ { // The machine may be busy.
		c.settle()
	}
	for _, r := range x.readers {
		r.readAll()
		if last := c.newest[r.topic.Name()]; r.at != last {
			t.Errorf("a subscriber of %q is at %v, the last message at %v", r.topic.Name(), r.at, last)
		}
		r.leave()
	}
	if x.resumed == 0 {
		t.Error("no subscriber resumed")
	}
	if c.Epochs != nil {
		x.epochs += c.Epochs()
	}
	if got := len(c.epochs()); got > x.epochs+1 {
		t.Errorf("%d epochs after %d faults that begin one", got, x.epochs)
	}
}

// checkAgreement checks that on each node, the logs of the pattern and of the topics have the same
// messages at the end: what one of them has is in the others, or before the place where they began.
func (x *chaotic) checkAgreement() {
	for i, n := range x.nodes {
		if n.real {
			return // They may change meanwhile.
		}
		all := n.topics.History(allTopics.Topic(), pubsub.Position{}, 1000)
		if all.Topic == nil {
			continue
		}
		last := make(map[pubsub.Topic]pubsub.Position)
		for _, m := range all.Messages() {
			last[m.Topic] = m.Position
		}
		for j := range chaosTopics {
			one := n.topics.History(x.topic(j), pubsub.Position{}, 1)
			if one.Topic == nil {
				continue
			}
			if at := last[x.topic(j)]; at.Epoch == one.Position.Epoch && at.Offset > one.Position.Offset {
				x.t.Errorf("node %d: the pattern has %v, and %q ends at %v", i, at, x.topic(j), one.Position)
			}
			for _, m := range one.Messages() {
				if m.Position.Epoch == all.Position.Epoch && m.Position.Offset > all.Position.Offset {
					x.t.Errorf("node %d: %q has %v, and the pattern ends at %v", i, x.topic(j), m.Position, all.Position)
				}
			}
		}
	}
}

// behind reports whether a subscriber has not got the last message of its topic.
func (x *chaotic) behind() bool {
	return slices.ContainsFunc(x.readers, func(r *reader) bool {
		r.readAll()
		return r.at != x.newest[r.topic.Name()]
	})
}

// last publishes the last message of a topic, after which no fault comes. In real time a busy
// machine may look like one.
func (x *chaotic) last(name pubsub.Topic) {
	done := make(chan pubsub.Publication, 1)
	for i := 0; ; i++ {
		x.publish(x.nodes[0], message(name, fmt.Sprint("the last one, try ", i)), func(p pubsub.Publication) { done <- p })
		p := <-done
		if p.Err == nil {
			return
		}
		if !x.nodes[0].real || i == patience {
			x.t.Fatalf("Publish(%q) = %v", name, p.Err)
		}
		x.settle()
	}
}

// epochs returns the epochs of the messages that were published.
func (c *cluster) epochs() map[string]bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	epochs := make(map[string]bool)
	for _, ordered := range c.ordered {
		for at := range ordered {
			epochs[at.Epoch] = true
		}
	}
	return epochs
}

func (*chaotic) topic(i int) pubsub.Topic { return pubsub.Topic(fmt.Sprint("topic ", i)) }

func (x *chaotic) step() {
	name, node := x.topic(x.random.IntN(chaosTopics)), x.random.IntN(len(x.nodes))
	switch dice := x.random.IntN(100); {
	case dice < 40:
		for range 1 + x.random.IntN(4) {
			x.published++
			x.publish(x.nodes[node], message(name, fmt.Sprint(x.published)), nil)
		}
	case dice < 60:
		if x.random.IntN(3) == 0 {
			name = allTopics.Topic()
		}
		x.subscribe(x.nodes[node], name)
	case dice < 85:
		x.read()
	case dice < 88 && x.Lose != nil:
		x.Lose(name, x.random.IntN(3))
	case dice < 88 && x.Trouble != nil:
		x.Trouble(name)
	case dice < 88:
	case dice < 90 && x.NewEpoch != nil:
		x.NewEpoch()
		x.epochs++
	case dice < 90:
	case dice < 93:
		x.Nodes[node].Away()
	default:
		x.Nodes[node].Back()
	}
}

// subscribe subscribes without waiting. Some subscribers leave before they get an answer.
func (x *chaotic) subscribe(n *node, name pubsub.Topic) {
	from := x.resumePoint(name)
	ctx, cancel := context.WithCancel(context.Background())
	if x.random.IntN(5) == 0 {
		time.AfterFunc(time.Duration(x.random.Int64N(int64(time.Second))), cancel)
	}
	later := time.Duration(x.random.Int64N(int64(time.Second)))
	x.attaching.Go(func() {
		defer cancel()
		as := []broker.Attachment{{Topic: name, From: from}}
		if AttachAll(ctx, n.attacher, as) != nil {
			return
		}
		pause(later) // The pin waits for a loop.
		x.join(n, name, from, &as[0])
	})
}

// join subscribes with a finished attachment.
func (x *chaotic) join(n *node, name pubsub.Topic, from topic.ResumePoint, a *broker.Attachment) {
	pin, err := a.Take()
	if err != nil {
		refused(x.t, "Attach", err, pubsub.Unavailable)
		return
	}
	r := x.reader(n.join(name, pin))
	x.mu.Lock()
	defer x.mu.Unlock()
	x.readers = append(x.readers, r)
	switch {
	case from.Since.Epoch != "" && r.resumed.Recovered:
		x.resumed++
	case x.Keeps && !r.resumed.Recovered:
		x.t.Errorf("a subscriber of %q is at %v, and was not recovered from %v, although nothing was lost", name, r.resumed.Position, from.Since)
	}
}

// read makes a subscriber read some messages, or leave.
func (x *chaotic) read() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.readers) == 0 {
		return
	}
	i := x.random.IntN(len(x.readers))
	r := x.readers[i]
	for range x.random.IntN(2 * logLimit) {
		r.readOne()
	}
	if x.random.IntN(4) == 0 {
		r.leave()
		x.readers = slices.Delete(x.readers, i, i+1)
	}
}

// resumePoint returns where a subscriber of a topic begins. A position is either how far
// another subscriber has read, or one that a publisher got.
func (x *chaotic) resumePoint(name pubsub.Topic) (from topic.ResumePoint) {
	x.mu.Lock()
	defer x.mu.Unlock()
	switch x.random.IntN(4) {
	case 0:
		if !name.IsPattern() {
			from.Last = x.random.IntN(3 * logLimit)
		}
	case 1:
		x.cluster.mu.Lock()
		from.Since = x.newest[name]
		x.cluster.mu.Unlock()
	case 2:
		if len(x.readers) > 0 {
			if r := x.readers[x.random.IntN(len(x.readers))]; r.topic.Name() == name {
				from.Since = r.at
			}
		}
	}
	return from
}
