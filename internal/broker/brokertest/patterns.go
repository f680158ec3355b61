package brokertest

import (
	"fmt"
	"sync"
	"testing"

	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/topic"
)

func pattern(p pubsub.Pattern) pubsub.Topic { return p.Topic() }

// patterns checks that a subscriber of a pattern reads all messages of the topics that it matches,
// in the order of their positions, and can resume.
func patterns(t *testing.T, n *node) {
	n.send("a:1", "before")
	s := n.subscribe(pattern("a:*"), topic.ResumePoint{})
	other := n.subscribe(pattern("b:*"), topic.ResumePoint{})
	var wg sync.WaitGroup
	const topics, each = 4, 20
	for i := range topics {
		wg.Go(func() {
			for j := range each {
				n.send(pubsub.Topic(fmt.Sprint("a:", i)), fmt.Sprintf("%d/%d", i, j))
			}
		})
	}
	wg.Wait()
	middle := n.send("a", "not matched")
	last := n.send("a:x", "last")
	n.settle()
	all := s.read()
	if len(all) != topics*each+1 {
		t.Fatalf("the subscriber has %d messages, want %d", len(all), topics*each+1)
	}
	next := make(map[pubsub.Topic]int)
	for i, m := range all[:len(all)-1] {
		if i > 0 && m.Position.Offset <= all[i-1].Position.Offset {
			t.Errorf("%v follows %v", m.Position, all[i-1].Position)
		}
		if want := fmt.Sprintf("%s/%d", m.Topic[2:], next[m.Topic]); string(m.Body.Data) != want {
			t.Errorf("%s has %q, want %q", m.Topic, m.Body.Data, want)
		}
		next[m.Topic]++
	}
	if m := all[len(all)-1]; m.Position != last || m.Topic != "a:x" {
		t.Errorf("the last message is %+v, want one at %v", m, last)
	}
	if got := other.read(); len(got) > 0 {
		t.Errorf("a pattern without messages got %v", data(got))
	}
	for _, since := range []struct {
		at    pubsub.Position
		after int
	}{{last, 0}, {all[len(all)-2].Position, 1}, {all[0].Position, topics * each}, {middle, 1}} {
		r := n.subscribe(pattern("a:*"), topic.ResumePoint{Since: since.at})
		if got := r.read(); !r.resumed.Recovered || len(got) != since.after {
			t.Errorf("after %v: %+v, %d messages, want %d", since.at, r.resumed, len(got), since.after)
		}
		r.leave()
	}
	elsewhere := n.subscribe(pattern("a:*"), topic.ResumePoint{Since: pubsub.Position{Epoch: "elsewhere", Offset: 1}})
	if elsewhere.resumed.Recovered {
		t.Error("a position of another epoch is recovered")
	}
	for _, s := range []*subscriber{s, other, elsewhere} {
		s.leave()
	}
}

// besidePatterns checks that the logs of topics and patterns agree, whichever is live first.
func besidePatterns(t *testing.T, n *node) {
	var all []*subscriber
	var wg sync.WaitGroup
	for i := range 3 {
		wg.Go(func() {
			for j := range 60 {
				n.send("a:x", fmt.Sprintf("%d/%d", i, j))
			}
		})
	}
	for i := range 12 {
		name := pubsub.Topic("a:x")
		if i%3 == 1 {
			name = pattern(pubsub.Pattern(fmt.Sprint("a:x"[:1+i%2+i/10], "*")))
		}
		all = append(all, n.subscribe(name, topic.ResumePoint{}))
		if i == 6 { // The patterns end.
			for _, s := range all {
				if s.topic.Name().IsPattern() {
					s.leave()
				}
			}
		}
	}
	wg.Wait()
	n.settle()
	var last uint64
	for i, s := range all {
		at := s.resumed.Position.Offset
		for _, m := range s.read() {
			if m.Position.Offset <= at {
				t.Errorf("subscriber %d: %d follows %d", i, m.Position.Offset, at)
			}
			at = m.Position.Offset
		}
		if i > 0 && at != last {
			t.Errorf("subscriber %d of %q ends at %d, the others at %d", i, s.topic.Name(), at, last)
		}
		last = at
	}
	for i, s := range all {
		if i > 6 || !s.topic.Name().IsPattern() {
			s.leave()
		}
	}
}

// patternsAgree checks that patterns get the messages of all nodes.
func patternsAgree(t *testing.T, c *cluster) {
	var readers []*reader
	for _, n := range c.nodes {
		readers = append(readers, c.reader(n.subscribe(allTopics.Topic(), topic.ResumePoint{})), c.reader(n.subscribe("topic 0", topic.ResumePoint{})))
	}
	var wg sync.WaitGroup
	for i, n := range c.nodes {
		wg.Go(func() {
			for j := range 20 {
				c.send(n, pubsub.Topic(fmt.Sprint("topic ", j%3)), fmt.Sprintf("%d/%d", i, j))
			}
		})
	}
	wg.Wait()
	c.settle()
	if first, second := readers[0].readAll(), readers[2].readAll(); first != second || len(readers[0].data) != 40 {
		t.Errorf("the nodes have %s and %s", first, second)
	}
	if first, second := readers[1].readAll(), readers[3].readAll(); first != second || len(readers[1].data) != 14 {
		t.Errorf("of one topic, the nodes have %s and %s", first, second)
	}
	for _, r := range readers {
		r.leave()
	}
}

// patternElsewhere resumes a pattern on a node where nobody was subscribed to it.
func patternElsewhere(t *testing.T, c *cluster) {
	n, other := c.nodes[0], c.nodes[1]
	r := c.reader(n.subscribe(allTopics.Topic(), topic.ResumePoint{}))
	c.settle()
	var positions []pubsub.Position
	for i := range 12 {
		name := pubsub.Topic(fmt.Sprint("topic ", i%3))
		if i%4 == 3 {
			name = "another one"
		}
		positions = append(positions, c.send(n, name, fmt.Sprint(i))[0])
	}
	c.settle()
	r.readAll()
	r.leave()
	for i, at := range positions {
		r := c.reader(other.subscribe(allTopics.Topic(), topic.ResumePoint{Since: at}))
		want := 0
		for j := i + 1; j < len(positions); j++ {
			if j%4 != 3 {
				want++
			}
		}
		if r.readAll(); !r.resumed.Recovered || r.resumed.Replay != want || len(r.data) != want {
			t.Errorf("after message %d: %+v, then %v; want %d messages", i, r.resumed, r.data, want)
		}
		r.leave()
	}
	// The position where a log began is after the last message that another node has of the pattern.
	fresh := c.reader(other.subscribe(pattern("topic 1*"), topic.ResumePoint{}))
	again := c.reader(n.subscribe(pattern("topic 1*"), topic.ResumePoint{}))
	for _, n := range c.nodes {
		for _, at := range []pubsub.Position{fresh.resumed.Position, again.resumed.Position} {
			s := n.subscribe(pattern("topic 1*"), topic.ResumePoint{Since: at})
			if !s.resumed.Recovered || s.resumed.Replay > 0 {
				t.Errorf("after %v: %+v", at, s.resumed)
			}
			s.leave()
		}
	}
	fresh.leave()
	again.leave()
}

// patternGap checks that subscribers of a pattern learn of lost messages and of a new epoch.
func patternGap(t *testing.T, c *cluster) {
	n := c.nodes[0]
	r, beside := c.reader(n.subscribe(allTopics.Topic(), topic.ResumePoint{})), c.reader(n.subscribe("topic 1", topic.ResumePoint{}))
	before := c.send(c.nodes[1], "topic 0", "0")[0]
	want, wantBeside := "[0", "["
	if c.Lose != nil {
		c.settle()
		c.Lose("topic 1", 1)
		c.send(n, "topic 1", "lost")
		want, wantBeside = want+" gap", wantBeside+"gap "
	}
	c.send(n, "topic 1", "1")
	c.settle()
	want, wantBeside = want+" 1 gap 2]", wantBeside+"1 gap 2]"
	c.NewEpoch()
	c.send(c.nodes[1], "topic 0", "new")
	c.settle()
	after := c.send(n, "topic 1", "2")[0]
	c.settle()
	got, gotBeside := r.readAll(), beside.readAll()
	if got != want && got != want[:len(want)-2]+"new 2]" { // The message after which the node learns of the epoch may be lost to it.
		t.Errorf("the subscriber got %s, want %s", got, want)
	}
	if gotBeside != wantBeside {
		t.Errorf("the subscriber of a topic got %s, want %s", gotBeside, wantBeside)
	}
	for _, n := range c.nodes {
		if s := n.subscribe(allTopics.Topic(), topic.ResumePoint{Since: before}); s.resumed.Recovered {
			t.Errorf("since %v: %+v", before, s.resumed)
		} else {
			s.leave()
		}
		if s := n.subscribe(allTopics.Topic(), topic.ResumePoint{Since: after}); !s.resumed.Recovered {
			t.Errorf("since %v: %+v", after, s.resumed)
		} else {
			s.leave()
		}
	}
	r.leave()
	beside.leave()
}
