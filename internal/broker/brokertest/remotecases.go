package brokertest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/internal/broker"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/topic"
)

// refused fails the test unless err has the code want.
func refused(t *testing.T, what string, err error, want pubsub.Code) {
	t.Helper()
	if err == nil || pubsub.Refusal(err).Code != want {
		t.Errorf("%s: %v, want %s", what, err, want)
	}
}

// nodesAgree checks that messages have the same order on all nodes, whichever node they
// were published through, and that a key is known on all of them.
func nodesAgree(t *testing.T, c *cluster) {
	var readers []*reader
	for _, n := range c.nodes {
		readers = append(readers, c.reader(n.subscribe("t", topic.ResumePoint{})))
	}
	var wg sync.WaitGroup
	for i, n := range c.nodes {
		wg.Go(func() {
			for j := range 20 {
				c.send(n, "t", fmt.Sprintf("%d/%d", i, j))
			}
		})
	}
	wg.Wait()
	c.settle()
	first, second := readers[0].readAll(), readers[1].readAll()
	if first != second || len(readers[0].data) != 40 {
		t.Errorf("the nodes have %s and %s", first, second)
	}
	var positions []pubsub.Position
	for _, n := range c.nodes {
		c.publish(n, keyed("t", "k", "x"), func(p pubsub.Publication) { positions = append(positions, p.Position) })
		c.settle()
	}
	if positions[0] != positions[1] {
		t.Errorf("the same key is at %v", positions)
	}
}

func awayAndBack(t *testing.T, c *cluster) {
	n, other := c.nodes[0], c.nodes[1]
	r := c.reader(n.subscribe("t", topic.ResumePoint{}))
	before := c.send(other, "t", "0")[0]
	c.settle()
	c.Nodes[0].Away()
	if n.broker.Health() == nil {
		t.Error("Health = nil while the store is away")
	}
	c.send(other, "t", "1", "2")
	refused(t, "Publish", n.publish(message("t", "x"))[0].Err, pubsub.Unavailable)
	as := n.attach("u", topic.ResumePoint{})
	_, err := as[0].Take()
	refused(t, "Attach", err, pubsub.Unavailable)
	_, err = n.broker.History(t.Context(), "t", pubsub.Position{}, 1)
	refused(t, "History", err, pubsub.Unavailable)
	n.subscribe("t", topic.ResumePoint{Since: before}).leave() // Its log covers it.
	c.settle()
	if got := r.readAll(); got != "[0]" {
		t.Errorf("the subscriber got %s while the store is away", got)
	}
	c.Nodes[0].Back()
	c.settle()
	if err := n.broker.Health(); err != nil {
		t.Errorf("Health = %v with a connection", err)
	}
	c.send(n, "t", "3")
	c.settle()
	if got := r.readAll(); got != "[0 1 2 3]" {
		t.Errorf("the subscriber got %s", got)
	}
}

func awayWhilePublishing(t *testing.T, c *cluster) {
	n := c.nodes[0]
	outcomes := make(map[string]error)
	for i := range 100 {
		data := fmt.Sprint(i)
		c.publish(n, message("t", data), func(p pubsub.Publication) { outcomes[data] = p.Err })
		if i%10 == 9 {
			c.Nodes[0].Away()
			c.Nodes[0].Back()
		}
		pause(7 * time.Millisecond)
	}
	n.longSettle()
	c.settle()
	if len(outcomes) != 100 {
		t.Errorf("%d of 100 publications have an outcome", len(outcomes))
	}
	y, err := c.nodes[1].broker.History(t.Context(), "t", pubsub.Position{}, 1000)
	if err != nil {
		t.Fatal(err)
	}
	times := make(map[string]int)
	for _, m := range y.Messages() {
		times[string(m.Body.Data)]++
	}
	unknown := 0
	for data, err := range outcomes {
		switch published := times[data]; {
		case err == nil && published != 1:
			t.Errorf("%q was published %d times", data, published)
		case err == nil:
		case pubsub.Refusal(err).Code == pubsub.OutcomeUnknown:
			if unknown++; published > 1 {
				t.Errorf("%q, whose outcome is unknown, was published %d times", data, published)
			}
		case published != 0:
			t.Errorf("%q was refused with %v, and published", data, err)
		}
	}
	if unknown == 0 && !n.real {
		t.Error("no outcome is unknown")
	}
}

func awayWhileAttaching(t *testing.T, c *cluster) {
	n := c.nodes[0]
	const topics = 300
	var done atomic.Int64
	as := make([]broker.Attachment, topics)
	for i := range as {
		as[i].Topic = pubsub.Topic(fmt.Sprint(i))
		if !n.attacher.Attach(as[i : i+1]) {
			n.attacher.Wait(as[i:i+1], func() { done.Add(1) })
		} else {
			done.Add(1)
		}
		if i == topics/2 {
			c.Nodes[0].Away()
			c.Nodes[0].Back()
		}
		pause(7 * time.Millisecond)
	}
	n.longSettle()
	failed := 0
	for i := range as {
		pin, err := as[i].Take()
		if err != nil {
			refused(t, "Attach", err, pubsub.Unavailable)
			failed++
		}
		pin.Release()
	}
	if done.Load() != topics || failed == 0 && !n.real || failed == topics {
		t.Errorf("%d attachments, %d callbacks, %d failed", topics, done.Load(), failed)
	}
}

func gapIsMet(t *testing.T, c *cluster) {
	c.canLose()
	n, other := c.nodes[0], c.nodes[1]
	slow, fast := c.reader(n.subscribe("t", topic.ResumePoint{})), c.reader(n.subscribe("t", topic.ResumePoint{}))
	head := c.send(n, "t", "0", "1", "2")[2]
	c.settle()
	fast.readAll()
	since, last, now := n.attach("t", topic.ResumePoint{Since: head}), n.attach("t", topic.ResumePoint{Last: 1}), n.attach("t", topic.ResumePoint{})
	c.Lose("t", 2)
	lost := c.send(n, "t", "3", "4")
	c.send(n, "t", "5")
	c.settle()
	if got := slow.readAll(); got != "[0 1 2 gap 5]" {
		t.Errorf("a cursor before the gap reads %s", got)
	}
	if got := fast.readAll(); got != "[0 1 2 gap 5]" {
		t.Errorf("a cursor at the gap reads %s", got)
	}
	for _, test := range []struct {
		node      *node
		as        []broker.Attachment
		recovered bool
		want      string
	}{
		{n, since, false, "[]"},
		{n, last, true, "[gap 5]"},
		{n, now, true, "[]"},
		{n, n.attach("t", topic.ResumePoint{Since: head}), false, "[]"},
		{n, n.attach("t", topic.ResumePoint{Since: lost[0]}), false, "[]"},
		{n, n.attach("t", topic.ResumePoint{Since: lost[1]}), true, "[5]"},
		{n, n.attach("t", topic.ResumePoint{Last: 9}), true, "[5]"},
		{other, other.attach("t", topic.ResumePoint{Since: head}), false, "[]"},
		{other, other.attach("t", topic.ResumePoint{Since: lost[1]}), true, "[5]"},
	} {
		r := c.reader(test.node.take(&test.as[0]))
		if got := r.readAll(); got != test.want || r.resumed.Recovered != test.recovered {
			t.Errorf("from %+v: %s, recovered: %v; want %s, %v", test.as[0].From, got, r.resumed.Recovered, test.want, test.recovered)
		}
		r.leave()
	}
	y, err := n.broker.History(t.Context(), "t", head, 9)
	if got := data(y.Messages()); err != nil || y.Recovered || got != "[5]" {
		t.Errorf("History since %v = %s, %+v, %v", head, got, y, err)
	}
	slow.leave()
	fast.leave()
}

func lastIsLost(t *testing.T, c *cluster) {
	c.canLose()
	r := c.reader(c.nodes[0].subscribe("t", topic.ResumePoint{}))
	c.send(c.nodes[1], "t", "0")
	c.settle()
	c.Lose("t", 1)
	lost := c.send(c.nodes[1], "t", "1")[0]
	c.settle()
	if got := r.readAll(); got != "[0 gap]" || r.at != lost {
		t.Errorf("the subscriber got %s and is at %v, want %v", got, r.at, lost)
	}
}

func newEpochIsMet(t *testing.T, c *cluster) {
	n := c.nodes[0]
	r, quiet := c.reader(n.subscribe("t", topic.ResumePoint{})), c.reader(n.subscribe("u", topic.ResumePoint{}))
	before := c.send(n, "t", "0", "1", "2")[0]
	c.settle()
	r.readAll()
	pinned := n.attach("t", topic.ResumePoint{Since: before})
	c.NewEpoch()
	after := c.send(c.nodes[1], "t", "3")[0]
	if after.Epoch == before.Epoch {
		t.Fatalf("%v and %v have one epoch", before, after)
	}
	c.settle()
	if got := r.readAll(); got != "[0 1 2 gap 3]" || r.at != after {
		t.Errorf("the subscriber got %s and is at %v, want %v", got, r.at, after)
	}
	if got := quiet.readAll(); got != "[gap]" || quiet.at.Epoch != after.Epoch {
		t.Errorf("the subscriber of a quiet topic has %s and is at %v", got, quiet.at)
	}
	for _, s := range []*subscriber{
		n.take(&pinned[0]),
		n.subscribe("t", topic.ResumePoint{Since: before}),
		n.subscribe("t", topic.ResumePoint{Last: 1, Epochs: []string{before.Epoch}}),
		c.nodes[1].subscribe("t", topic.ResumePoint{Since: before}),
	} {
		if s.resumed.Recovered || s.resumed.Position != after {
			t.Errorf("%+v, want position %v and not recovered", s.resumed, after)
		}
		s.leave()
	}
	s := n.subscribe("u", topic.ResumePoint{Since: quiet.at}) // like a client that received the gap
	if !s.resumed.Recovered {
		t.Errorf("since %v: %+v", quiet.at, s.resumed)
	}
	s.leave()
}

// lastInStore resumes at the last messages when the log holds only some of them and the
// store holds more.
func lastInStore(t *testing.T, c *cluster) {
	const messages = 2 * logLimit
	n := c.nodes[0]
	live := n.subscribe("t", topic.ResumePoint{})
	for i := range messages {
		c.send(n, "t", fmt.Sprint(i))
	}
	c.settle()
	for _, n := range c.nodes {
		for last := range messages + 3 {
			r := c.reader(n.subscribe("t", topic.ResumePoint{Last: last}))
			r.readAll()
			if len(r.data) != min(last, messages) || r.resumed.Replay != len(r.data) {
				t.Errorf("the last %d: %v, %+v", last, r.data, r.resumed)
			}
			r.leave()
		}
	}
	live.leave()
}

// resumeAtOnce resumes many subscribers while the log drops messages and gets new ones.
func resumeAtOnce(t *testing.T, c *cluster) {
	random := rand.New(rand.NewPCG(1, 1))
	n := c.nodes[0]
	tail := c.reader(n.subscribe("t", topic.ResumePoint{}))
	var positions []pubsub.Position
	for round := range 10 {
		positions = append(positions, c.send(c.nodes[1], "t", fmt.Sprint(round), fmt.Sprint(round))...)
		as := make([]broker.Attachment, 20)
		for i := range as {
			as[i].Topic = "t"
			if as[i].From.Last = random.IntN(2 * logLimit); i%2 == 0 {
				as[i].From.Since = positions[random.IntN(len(positions))]
			}
		}
		var wg sync.WaitGroup
		for i := range as {
			after := time.Duration(random.Int64N(int64(200 * time.Millisecond)))
			wg.Go(func() {
				pause(after)
				if err := AttachAll(context.Background(), n.attacher, as[i:i+1]); err != nil {
					t.Error(err)
				}
			})
			for range random.IntN(3) {
				c.publish(c.nodes[i%2], message("t", fmt.Sprint(round)), nil)
			}
		}
		wg.Wait()
		for i := range as {
			r := c.reader(n.take(&as[i]))
			want := as[i].From
			if !r.resumed.Recovered || want.Since.Epoch != "" && r.resumed.Position != want.Since {
				t.Errorf("from %+v: %+v", want, r.resumed)
			}
			r.readAll()
			if want.Since.Epoch == "" && len(r.data) < min(want.Last, len(positions)) {
				t.Errorf("the last %d: %v", want.Last, r.data)
			}
			r.leave()
		}
	}
	c.settle()
	tail.readAll()
	tail.leave()
}

func detachRaces(t *testing.T, c *cluster) {
	n := c.nodes[0]
	r := c.reader(n.subscribe("t", topic.ResumePoint{}))
	for i := range 30 {
		at := c.send(c.nodes[1], "t", fmt.Sprint(i))[0]
		r.readAll()
		var next *reader
		var wg sync.WaitGroup
		wg.Go(r.leave)
		wg.Go(func() {
			pause(time.Duration(i%3) * time.Millisecond)
			next = c.reader(n.subscribe("t", topic.ResumePoint{Since: r.at}))
		})
		wg.Go(func() {
			pause(time.Duration(i) * 10 * time.Millisecond)
			n.broker.Detach("t") // as if the sink had been slow to call it
		})
		wg.Wait()
		c.settle()
		if next.readAll(); !next.resumed.Recovered || next.at != at {
			t.Fatalf("since %v: %+v, then %v; want it to be at %v", r.at, next.resumed, next.data, at)
		}
		r = next
	}
	r.leave()
}

func closeWaits(t *testing.T, c *cluster) {
	n := c.nodes[0]
	r := c.reader(n.subscribe("t", topic.ResumePoint{}))
	defer r.leave()
	var left atomic.Int64
	var sent []string
	for i := range 20 {
		sent = append(sent, fmt.Sprint(i))
		left.Add(1)
		c.publish(n, message("t", sent[i]), func(pubsub.Publication) { left.Add(-1) })
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := n.broker.Close(ended); err == nil {
		t.Error("Close did not wait")
	}
	refused(t, "Publish after Close", n.publish(message("t", "x"))[0].Err, pubsub.Draining)
	if err := n.broker.Close(t.Context()); err != nil || left.Load() > 0 {
		t.Errorf("Close = %v, and %d publishes have no outcome", err, left.Load())
	}
	if got := r.readAll(); got != fmt.Sprint(sent) {
		t.Errorf("after Close, a subscriber reads %s", got)
	}
}

// closeSettles checks that Close does not leave the log behind what was published, even if no
// push of it comes.
func closeSettles(t *testing.T, c *cluster) {
	c.canLose()
	n := c.nodes[0]
	r := c.reader(n.subscribe("t", topic.ResumePoint{}))
	defer r.leave()
	c.Lose("t", 1)
	c.send(n, "t", "lost")
	if err := n.broker.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if got := r.readAll(); got != "[gap]" {
		t.Errorf("after Close, the log has %s", got)
	}
}

// callbacksComeOnce checks the callbacks of Attach. The callbacks of Publish are checked by
// publish.
func callbacksComeOnce(t *testing.T, c *cluster) {
	random := rand.New(rand.NewPCG(1, 1))
	n := c.nodes[0]
	var published, attached atomic.Int64
	const each = 300
	for i := range each {
		name := pubsub.Topic(fmt.Sprint(random.IntN(10)))
		c.publish(n, message(name, fmt.Sprint(i)), func(pubsub.Publication) { published.Add(1) })
		a, began := []broker.Attachment{{Topic: name}}, time.Now()
		done := func() {
			attached.Add(1)
			if took := time.Since(began); took > n.timeout() {
				t.Errorf("Attach took %v", took)
			}
			pin, _ := a[0].Take()
			pin.Release()
		}
		if n.attacher.Attach(a) {
			done()
		} else {
			n.attacher.Wait(a, done)
		}
		switch random.IntN(20) {
		case 0:
			c.Nodes[0].Away()
		case 1, 2, 3:
			c.Nodes[0].Back()
		}
		pause(time.Duration(random.Int64N(int64(50 * time.Millisecond))))
		n.rest()
	}
	n.longSettle()
	if published.Load() != each || attached.Load() != each {
		t.Errorf("%d and %d callbacks of %d", published.Load(), attached.Load(), each)
	}
	c.Nodes[0].Back()
}
