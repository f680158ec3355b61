package server_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/config"
	"github.com/ikornaselur/notiflux/internal/internaltest/delivery"
	"github.com/ikornaselur/notiflux/internal/internaltest/rawclient"
	"github.com/ikornaselur/notiflux/internal/internaltest/servertest"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

var overlapCuts = flag.Int("overlapcuts", 300, "how often TestOverlappingSubscriptions cuts clients on a kind of loop")

var (
	overlapTopics   = []pubsub.Topic{"a", "ab", "abc", "abd", "b"}
	overlapPatterns = []pubsub.Pattern{"a*", "ab*", "abc*", "b*"}
)

// Clients with overlapping subscriptions begin and end some, read slowly, are cut at any byte and
// resume in any order. Each gets every message once and the messages of a topic in order, or
// learns that some are missing. Within the limits of the histories, the server never says that.
func TestOverlappingSubscriptions(t *testing.T) {
	seeded()
	for _, test := range []struct {
		name       string
		held       int // messages of a topic
		ofPatterns int
		total      config.Bytes
	}{
		{"everything is held", 1_000_000, 100, 256 << 20},
		{"histories are evicted", 0, 0, 200 << 10},
	} {
		t.Run(test.name, func(t *testing.T) {
			onBothLoops(t, func(t *testing.T, start starter) {
				s := start(func(c *config.Serve) {
					c.HistoryTotalBytes, c.MaxLagBytes = test.total, 64<<20 // It may read nothing for long.
					setHistory(c, 1_000_000)
				})
				recorder := new(delivery.Recorder)
				lost, resumed := overlap(t, s, recorder)
				log := recorder.Log(test.held)
				log.HeldByPatterns, log.Behind = test.ofPatterns, servertest.Remote()
				delivery.Report(t, *seed, log)
				t.Logf("-seed=%d: %d messages; resumed %d times, not recovered %d times", *seed, len(log.Publishes), resumed, lost)
				if *overlapCuts >= 100 && (resumed == 0 || test.held == 0 && lost == 0) {
					t.Error("the cuts prove nothing")
				}
			})
		})
	}
}

// overlap lets clients do all that while messages are published, and returns how often they
// resumed, and how often that was not recovered.
func overlap(t *testing.T, s *servertest.Server, recorder *delivery.Recorder) (lost, resumed int) {
	p := newPress(t, s, recorder)
	p.rate, p.size = 100, 400
	ctx, stop := context.WithCancel(context.Background())
	p.stop = stop
	for _, topic := range overlapTopics {
		p.running.Go(func() { p.publish(ctx, topic) })
	}
	token := s.Sign(auth.Grant{Subject: "reader", Scopes: []auth.Scope{auth.Subscribe}, Topics: overlapTopics, Patterns: overlapPatterns})
	clients := make([]*overlapClient, cutClients)
	for i := range clients {
		clients[i] = &overlapClient{
			t: t, url: s.URL, token: token, press: p,
			random:    rand.New(rand.NewPCG(*seed, uint64(i))),
			recording: recorder.Client(fmt.Sprint("client ", i)),
			positions: make(map[pubsub.Topic]pubsub.Position),
			has:       make(map[pubsub.Topic]uint64),
		}
	}
	each := func(do func(c *overlapClient)) {
		var wg sync.WaitGroup
		for _, c := range clients {
			wg.Go(func() { do(c) })
		}
		wg.Wait()
	}
	each(func(c *overlapClient) {
		for range *overlapCuts / cutClients {
			c.connect(nil)
		}
	})
	goal := p.end()
	each(func(c *overlapClient) {
		c.connect(goal)
		c.recording.Add(delivery.Event{Kind: delivery.Rest})
	})
	for _, c := range clients {
		lost, resumed = lost+c.lost, resumed+c.resumed
	}
	return lost, resumed
}

// An overlapClient has overlapping subscriptions, and does what section 8 of the protocol says. A
// subscription is a topic, or that of a pattern.
type overlapClient struct {
	t          *testing.T
	url, token string
	press      *press
	random     *rand.Rand
	recording  *delivery.Recording

	positions     map[pubsub.Topic]pubsub.Position // where its subscriptions resume
	has           map[pubsub.Topic]uint64          // the last offset that it has handled of a topic, or knows that it does not get
	lost, resumed int

	// Of the connection.
	conn   *rawclient.Conn
	id     int
	asks   map[int]map[pubsub.Topic]delivery.Ask // commands that are not answered
	ending map[int]pubsub.Topic
	goal   map[pubsub.Topic]pubsub.Position // nil: the connection is cut
}

// connect opens a connection, which is cut at a random byte, or ends when the client has everything.
func (c *overlapClient) connect(goal map[pubsub.Topic]pubsub.Position) {
	if c.t.Failed() {
		return
	}
	conn, err := rawclient.Dial(c.url, 4096*c.random.IntN(2), 20*time.Second)
	if err != nil {
		c.t.Error(err)
		return
	}
	defer conn.Close()
	c.conn, c.goal = conn, goal
	c.asks, c.ending = make(map[int]map[pubsub.Topic]delivery.Ask), make(map[int]pubsub.Topic)
	if goal == nil {
		conn.In = c.random.IntN([]int{1000, 30_000, 300_000}[c.random.IntN(3)])
		if c.random.IntN(2) == 0 {
			conn.Conn.(*net.TCPConn).SetLinger(0)
		}
	}
	err = c.follow()
	if goal == nil && !errors.Is(err, rawclient.ErrCut) || goal != nil && err != nil {
		c.t.Errorf("-seed=%d: %v", *seed, err)
	}
	c.recording.Add(delivery.Event{Kind: delivery.Cut})
}

func (c *overlapClient) follow() error {
	if err := c.conn.OpenJSON(""); err != nil {
		return err
	}
	if err := c.resume(); err != nil {
		return err
	}
	for !c.done() {
		if err := c.read(); err != nil {
			return err
		}
		if c.goal != nil {
			continue
		}
		if c.random.IntN(100) == 0 {
			c.press.await(c.random.IntN(200)) // It reads nothing meanwhile.
		}
		if len(c.positions) == 0 || c.random.IntN(10) == 0 {
			if err := c.command(); err != nil {
				return err
			}
		}
	}
	return nil
}

// resume resumes all subscriptions in a random order: some commands at once, others one by one.
func (c *overlapClient) resume() error {
	subs := slices.Sorted(maps.Keys(c.positions))
	c.random.Shuffle(len(subs), func(i, j int) { subs[i], subs[j] = subs[j], subs[i] })
	oneByOne := c.random.IntN(2) == 0
	for _, sub := range subs {
		if err := c.subscribe(sub); err != nil {
			return err
		}
		for oneByOne && len(c.asks) > 0 {
			if err := c.read(); err != nil {
				return err
			}
		}
	}
	for len(c.asks) > 0 {
		if err := c.read(); err != nil {
			return err
		}
	}
	if len(subs) == 0 {
		return c.command()
	}
	return nil
}

// command begins or ends a subscription, unless another command is not answered.
func (c *overlapClient) command() error {
	if len(c.asks)+len(c.ending) > 0 {
		return nil
	}
	sub := overlapTopics[c.random.IntN(len(overlapTopics))]
	if c.random.IntN(2) == 0 {
		sub = overlapPatterns[c.random.IntN(len(overlapPatterns))].Topic()
	}
	if _, ok := c.positions[sub]; !ok || c.random.IntN(4) == 0 {
		return c.subscribe(sub)
	}
	c.id++
	c.ending[c.id] = sub
	return c.conn.Command(map[string]any{"type": "unsubscribe", "id": c.id, kind(sub): []string{sub.Shown()}})
}

// kind returns the member of a command that lists a subscription.
func kind(sub pubsub.Topic) string {
	if sub.IsPattern() {
		return "patterns"
	}
	return "topics"
}

func (c *overlapClient) subscribe(sub pubsub.Topic) error {
	since, position := make(map[string]string), c.positions[sub]
	if position != (pubsub.Position{}) {
		since[sub.Shown()] = position.String()
	}
	c.id++
	c.asks[c.id] = map[pubsub.Topic]delivery.Ask{sub: c.recording.Ask(position, 0)}
	return c.conn.Command(map[string]any{"type": "subscribe", "id": c.id, kind(sub): []string{sub.Shown()}, "since": since, "token": c.token})
}

// read reads one object.
func (c *overlapClient) read() error {
	m, err := c.conn.Object()
	if err != nil {
		return err
	}
	about := m.Topic
	if m.Pattern != "" {
		about = pubsub.Pattern(m.Pattern).Topic()
	}
	switch m.Type {
	case "subscribed":
		return c.subscribed(m)
	case "unsubscribed":
		sub := c.ending[m.ID]
		delete(c.ending, m.ID)
		delete(c.positions, sub)
		c.recording.Add(delivery.Event{Kind: delivery.Unsubscribed, Topic: sub})
		return nil
	case "message", "position", "gap":
		position, err := pubsub.ParsePosition(m.Position)
		if err != nil {
			return err
		}
		c.recording.Add(delivery.Event{Kind: delivery.Kind(m.Type), Topic: about, Position: position, Data: m.Data})
		if _, ok := c.positions[about]; ok && (m.Type != "message" || position.Offset > c.has[about]) {
			c.positions[about] = position
		}
		if m.Type != "position" {
			c.covers(about, position)
		}
		return nil
	}
	return fmt.Errorf("unexpected: %+v", m)
}

func (c *overlapClient) subscribed(m rawclient.Object) error {
	var topics, patterns map[string]rawclient.Object
	if err := json.Unmarshal(m.Topics, &topics); err != nil {
		return err
	}
	if m.Patterns != nil {
		if err := json.Unmarshal(m.Patterns, &patterns); err != nil {
			return err
		}
	}
	for sub, ask := range c.asks[m.ID] {
		answer, ok := topics[sub.Shown()]
		if sub.IsPattern() {
			answer, ok = patterns[sub.Shown()]
		}
		position, err := pubsub.ParsePosition(answer.Position)
		if !ok || err != nil {
			return fmt.Errorf("no answer for %q in %+v, %w", sub, m, err)
		}
		c.recording.Add(delivery.Event{Kind: delivery.Subscribed, Topic: sub, Ask: ask, Position: position, Recovered: answer.Recovered, Replay: answer.Replay})
		if c.positions[sub] = position; ask.Since != (pubsub.Position{}) {
			c.resumed++
		} else {
			c.covers(sub, position)
		}
		if !answer.Recovered {
			c.lost++
			c.covers(sub, position)
		}
	}
	delete(c.asks, m.ID)
	return nil
}

// covers notes that the client has everything of a subscription up to a position, or knows that it
// does not get it.
func (c *overlapClient) covers(sub pubsub.Topic, to pubsub.Position) {
	p, isPattern := sub.Pattern()
	for _, topic := range overlapTopics {
		if topic == sub || isPattern && p.Matches(topic) {
			c.has[topic] = max(c.has[topic], to.Offset)
		}
	}
}

// done reports whether the client has reached its goal.
func (c *overlapClient) done() bool {
	if c.goal == nil || len(c.asks)+len(c.ending) > 0 {
		return false
	}
	for sub := range c.positions {
		p, isPattern := sub.Pattern()
		for topic, goal := range c.goal {
			if (topic == sub || isPattern && p.Matches(topic)) && c.has[topic] < goal.Offset {
				return false
			}
		}
	}
	return true
}
