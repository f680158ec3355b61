package brokertest

import (
	"fmt"
	"testing"

	"github.com/ikornaselur/notiflux/internal/broker"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/topic"
)

// fill publishes the given number of messages, with the data 0, 1 and so on. It returns
// their positions.
func (n *node) fill(name pubsub.Topic, messages int) []pubsub.Position {
	n.t.Helper()
	positions := make([]pubsub.Position, messages)
	for i := range positions {
		positions[i] = n.send(name, fmt.Sprint(i))
	}
	return positions
}

// resumeCovered resumes from each position, first on a node that does not follow the topic,
// then on one that does.
func resumeCovered(t *testing.T, n *node) {
	positions := n.fill("t", 5)
	for range 2 {
		for i, p := range positions {
			s := n.subscribe("t", topic.ResumePoint{Since: p})
			n.settle()
			if r := s.resumed; !r.Recovered || r.Position != p {
				t.Errorf("since %v: %+v, want recovered", p, r)
			}
			got := s.read()
			want := []string{}
			for j := i + 1; j < len(positions); j++ {
				want = append(want, fmt.Sprint(j))
			}
			if data(got) != fmt.Sprint(want) {
				t.Errorf("since message %d: %v, want %v", i, data(got), want)
			}
			s.leave()
		}
		defer n.subscribe("t", topic.ResumePoint{}).leave() // now the topic is live
	}
}

func resumeElsewhere(t *testing.T, n *node) {
	head := n.fill("t", 2)[1]
	n.settle()
	elsewhere := pubsub.Position{Epoch: "elsewhere", Offset: head.Offset}
	s := n.subscribe("t", topic.ResumePoint{Since: elsewhere})
	if r := s.resumed; r.Recovered || r.Position != head || r.Replay != 0 {
		t.Errorf("since %v: %+v, want the head %v and not recovered", elsewhere, r, head)
	}
	for _, epochs := range [][]string{{elsewhere.Epoch}, {elsewhere.Epoch, head.Epoch}} {
		s := n.subscribe("t", topic.ResumePoint{Last: 1, Epochs: epochs})
		if r := s.resumed; r.Recovered != (len(epochs) == 2) || r.Replay != len(epochs)-1 {
			t.Errorf("in the epochs %v: %+v", epochs, r)
		}
	}
}

func resumeLast(t *testing.T, n *node) {
	n.fill("t", 5)
	for _, last := range []int{0, 1, 4, 5, 9} {
		s := n.subscribe("t", topic.ResumePoint{Last: last})
		n.settle()
		if got := len(s.read()); !s.resumed.Recovered || got != min(last, 5) {
			t.Errorf("the last %d: %d messages, %+v", last, got, s.resumed)
		}
		s.leave()
	}
}

// attachAtOnce attaches many topics together while messages are published. One of the
// topics is attached twice, with two resume points.
func attachAtOnce(t *testing.T, n *node) {
	positions := n.fill("0", 3)
	as := make([]broker.Attachment, 101)
	for i := range as {
		as[i].Topic = pubsub.Topic(fmt.Sprint(i % 100))
		as[i].From.Since = positions[0]
	}
	as[100].From.Since = positions[1]
	for i := range 100 {
		n.publish(message(as[i].Topic, "late"))
	}
	if err := AttachAll(t.Context(), n.attacher, as); err != nil {
		t.Fatal(err)
	}
	n.settle()
	l := new(listener)
	for i := range as {
		pin, err := as[i].Take()
		if err != nil {
			t.Fatal(err)
		}
		s := &subscriber{node: n, listener: l}
		if i < 100 {
			s.topic, s.resumed = pin.Join(l)
		} else {
			s.topic, s.resumed = pin.Take()
		}
		s.cursor = s.resumed.Cursor
		got := data(s.read())
		switch {
		case i == 0 && got != "[1 2 late]", i == 100 && got != "[2 late]":
			t.Errorf("attachment %d reads %s, %+v", i, got, s.resumed)
		case i%100 != 0 && s.resumed.Recovered && got != "[late]":
			t.Errorf("attachment %d is recovered, and reads %s", i, got)
		}
	}
}

func history(t *testing.T, n *node) {
	positions := n.fill("t", 5)
	n.settle()
	for _, test := range []struct {
		since           pubsub.Position
		limit           int
		want            string
		end             int
		recovered, more bool
	}{
		{pubsub.Position{}, 2, "[3 4]", 4, true, false},
		{pubsub.Position{}, 9, "[0 1 2 3 4]", 4, true, false},
		{positions[0], 2, "[1 2]", 2, true, true},
		{positions[3], 2, "[4]", 4, true, false},
		{positions[4], 2, "[]", 4, true, false},
		{pubsub.Position{Epoch: "elsewhere", Offset: 1}, 2, "[0 1]", 1, false, true},
	} {
		y, err := n.broker.History(t.Context(), "t", test.since, test.limit)
		if err != nil {
			t.Fatal(err)
		}
		if got := data(y.Messages()); got != test.want || y.Position != positions[test.end] || y.Recovered != test.recovered || y.More != test.more {
			t.Errorf("since %v: %s, %+v; want %+v", test.since, got, y, test)
		}
	}
}

func cancelled(t *testing.T, n *node) {
	topics := n.topics.Stats().Topics
	as := make([]broker.Attachment, 10)
	for i := range as {
		as[i].Topic = pubsub.Topic(fmt.Sprint(i))
	}
	if !n.attacher.Attach(as) {
		n.attacher.Wait(as, func() { t.Error("done was called") })()
	}
	for i := range as {
		as[i].Cancel()
		as[i].Cancel()
	}
	n.settle()
	for range 2 { // The broker may keep topics for a while.
		if n.attacher.Waiting() == 0 && n.topics.Stats().Topics == topics {
			return
		}
		n.longSettle()
	}
	t.Errorf("%d topics are left, %d attachments wait", n.topics.Stats().Topics, n.attacher.Waiting())
}
