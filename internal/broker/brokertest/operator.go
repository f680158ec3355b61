package brokertest

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/internal/broker"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// mostRevocations is the limit of the nodes.
const mostRevocations = 20

// An operator is what a node does for operators in these tests. It knows revocations, of which
// those that begin with "old" are outdated, and answers requests with its name.
type operator struct {
	broker broker.Shared
	name   string

	mu    sync.Mutex
	known []string // in the order in which they came, without those that came again
}

// operate makes a node learn revocations and answer requests, unless its broker cannot.
func operate(b broker.Broker) *operator {
	shared, ok := b.(broker.Shared)
	if !ok {
		return nil
	}
	o := &operator{broker: shared, name: fmt.Sprintf("%p", b)}
	shared.Operate(broker.Operator{
		Most:  mostRevocations,
		Learn: o.learn,
		Known: func() []string {
			o.mu.Lock()
			defer o.mu.Unlock()
			return slices.Clone(o.known)
		},
		Answer: func(request []byte, answer func([]byte)) { answer(fmt.Appendf(nil, "%s %s", request, o.name)) },
	})
	return o
}

func (o *operator) learn(revocations []string) (outdated []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, r := range revocations {
		switch {
		case strings.HasPrefix(r, "old"):
			outdated = append(outdated, r)
		case !slices.Contains(o.known, r):
			o.known = append(o.known, r)
		}
	}
	return outdated
}

// forget makes the node forget a revocation.
func (o *operator) forget(r string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.known = slices.DeleteFunc(o.known, func(other string) bool { return other == r })
}

// revoke stores revocations. It tries again if they may not have been stored.
func (o *operator) revoke(t *testing.T, add []string, remove ...string) {
	t.Helper()
	for {
		err := o.broker.Revoke(t.Context(), add, remove)
		if err == nil {
			return
		}
		if code := pubsub.Refusal(err).Code; code != pubsub.OutcomeUnknown && code != pubsub.Unavailable {
			t.Fatalf("Revoke = %v", err)
		}
		pause(time.Millisecond)
	}
}

// expect fails the test unless the node soon knows exactly these revocations.
func (o *operator) expect(t *testing.T, c *cluster, want ...string) {
	t.Helper()
	var got []string
	for range 100 {
		o.mu.Lock()
		got = slices.Sorted(slices.Values(o.known))
		o.mu.Unlock()
		if slices.Equal(got, want) {
			return
		}
		pause(c.nodes[0].delay / 10)
	}
	t.Errorf("a node knows the revocations %q, want %q", got, want)
}

func numbered(n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprintf("r%02d", i))
	}
	return all
}

// learnRevocations checks that every node learns every revocation: when it is stored, and when
// the node comes back, before it can serve.
func learnRevocations(t *testing.T, c *cluster) {
	first, second := c.operators[0], c.operators[1]
	all := numbered(10)
	first.revoke(t, all[:4])
	first.revoke(t, all[:4]) // changes nothing
	second.revoke(t, all[4:5])
	first.expect(t, c, all[:5]...)
	second.expect(t, c, all[:5]...)

	c.Nodes[1].Away()
	refused(t, "Revoke", second.broker.Revoke(t.Context(), all[9:], nil), pubsub.Unavailable)
	first.revoke(t, all[5:9], all[0])
	c.Nodes[1].Back()
	for c.Nodes[1].Broker.Health() != nil {
		pause(time.Millisecond)
	}
	second.mu.Lock()
	if n := len(second.known); n != 9 {
		t.Errorf("a node that can serve again knows %d revocations, want 9", n)
	}
	second.mu.Unlock()
	first.expect(t, c, all[:9]...)
}

// restoreRevocations checks that a revocation is in the store as long as a node knows it,
// whatever the store loses.
func restoreRevocations(t *testing.T, c *cluster) {
	if c.NewEpoch == nil {
		t.Skip("the store begins no epoch")
	}
	first, second := c.operators[0], c.operators[1]
	all := numbered(8)
	first.revoke(t, append([]string{"old1"}, all...))
	first.expect(t, c, all...)
	second.expect(t, c, all...)
	for range 3 {
		second.forget(all[2])
		c.NewEpoch()
		second.expect(t, c, all...) // The first one has stored it again, or it was never lost.
	}
	first.expect(t, c, all...)
}

// fullOfRevocations checks that nobody can add more revocations than the limit, and that none is
// evicted or lost.
func fullOfRevocations(t *testing.T, c *cluster) {
	first, second := c.operators[0], c.operators[1]
	all := numbered(mostRevocations + 1)
	first.revoke(t, all[:mostRevocations-1])
	first.revoke(t, []string{"old"})
	first.revoke(t, all[:3]) // It has these.
	for err := error(nil); ; {
		if err = second.broker.Revoke(t.Context(), all[mostRevocations-1:], nil); err != nil && pubsub.Refusal(err).Code != pubsub.OutcomeUnknown {
			refused(t, "Revoke", err, pubsub.OverCapacity)
			break
		}
	}
	for err := error(nil); ; { // The outdated one makes room, once a node has read all again.
		if err = second.broker.Revoke(t.Context(), all[mostRevocations-1:mostRevocations], nil); err == nil {
			break
		}
		pause(c.nodes[0].delay / 10)
	}
	first.expect(t, c, all[:mostRevocations]...)
	first.revoke(t, all[mostRevocations:], all[0])
	first.expect(t, c, all...)
	second.expect(t, c, all...) // A node never forgets one because the store removes it.
	if c.NewEpoch == nil {
		return
	}
	for range 3 {
		for _, r := range all {
			second.forget(r)
		}
		c.NewEpoch()
		second.expect(t, c, all...) // The first one has stored all that it knows, though they are too many.
	}
}

// askAll checks that a request reaches every other node once, and that the answers are
// counted.
func askAll(t *testing.T, c *cluster) {
	first, second := c.operators[0], c.operators[1]
	complete := 0
	for i := range 20 {
		request := fmt.Sprint("request", i)
		answers, asked, err := first.broker.Ask(t.Context(), []byte(request))
		switch {
		case err != nil && pubsub.Refusal(err).Code == pubsub.Unavailable:
		case err != nil || asked != 1 || len(answers) > asked:
			t.Errorf("Ask = %q, %d, %v; want at most one answer of one node", answers, asked, err)
		case len(answers) == 1:
			complete++
			if want := request + " " + second.name; string(answers[0]) != want {
				t.Errorf("the answer is %q, want %q", answers[0], want)
			}
		}
	}
	if complete < 10 {
		t.Errorf("only %d of 20 requests were answered", complete)
	}
	c.Nodes[1].Away()
	if _, _, err := second.broker.Ask(t.Context(), nil); err == nil {
		t.Error("a node that is away could ask")
	}
}
