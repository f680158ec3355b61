package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/ikornaselur/notiflux/client"
	"github.com/ikornaselur/notiflux/internal/internaltest/servertest"
)

const (
	crowdRuns  = 12
	crowdSteps = 600
	crowdHeld  = 8 // messages of a topic that the server remembers
)

var (
	crowdTopics = []string{"a", "b", "c", "d", "e"}
	crowdTokens = []string{"all", "few"} // few does not allow e
)

// Many subscriptions of one client, to the same topics in different ways, add and remove topics
// while connections are cut and the server restarts. Each gets every message of its topics once
// and in order, or learns which are missing, and gets nothing that its token does not allow.
func TestCrowdOfSubscriptions(t *testing.T) {
	seeds := make([]uint64, crowdRuns)
	for i := range seeds {
		seeds[i] = rand.Uint64()
	}
	total := map[string]int{}
	for _, seed := range servertest.Seeds(seed, seeds...) {
		synctest.Test(t, func(t *testing.T) {
			c := newCrowd(t, seed)
			c.run()
			for kind, n := range c.count {
				total[kind] += n
			}
		})
		if t.Failed() {
			t.Fatalf("-seed=%d", seed)
		}
	}
	for _, kind := range []string{"message", "skipped", "subscribed", "resumed", "disconnected", "expired", "overflow", "refused"} {
		if total[kind] == 0 {
			t.Errorf("no %s in %v: the test proves nothing", kind, total)
		}
	}
}

// A crowd is a server, and the subscriptions of a client.
type crowd struct {
	t      *testing.T
	random *rand.Rand
	fake   *fake
	views  []*client.Client
	all    []*listener

	mu sync.Mutex
	// Guarded by mu.
	changed *sync.Cond     // a head, the epoch or the commands of a connection changed
	epoch   int            // of the server
	heads   map[string]int // of each topic: messages are numbered from 1
	count   map[string]int // what subscriptions got, by kind
}

// A listener is a loop over a subscription.
type listener struct {
	crowd        *crowd
	name         string
	token        string
	latest       bool
	subscription *client.Subscription
	leave        context.CancelFunc
	done         chan struct{}

	// Guarded by crowd.mu.
	held map[string]bool            // topics that it has
	at   map[string]client.Position // how far it is, by topic; empty: unknown
	anew map[string]int             // how often it has added a topic, and not got anything new of it
	slow bool
}

func newCrowd(t *testing.T, seed uint64) *crowd {
	c := &crowd{t: t, random: rand.New(rand.NewPCG(seed, 0)), fake: newFake(t), epoch: 1, heads: map[string]int{}, count: map[string]int{}}
	c.changed = sync.NewCond(&c.mu)
	c.fake.block = c.serve
	first := c.fake.new(client.Options{Token: crowdTokens[0]})
	c.views = []*client.Client{first, first.WithToken(crowdTokens[1])}
	return c
}

func (c *crowd) run() {
	for range crowdSteps {
		c.step()
		if c.random.IntN(2) == 0 {
			synctest.Wait()
		}
	}
	c.mu.Lock()
	for _, l := range c.all {
		l.slow = false
	}
	c.changed.Broadcast()
	c.mu.Unlock()
	late := "at first"
	for range 20 { // a lane may be about to connect again
		if late == "" {
			break
		}
		<-time.After(17 * time.Second)
		synctest.Wait()
		late = c.late()
	}
	if late != "" {
		c.t.Error(late)
	}
	_ = c.views[0].Close()
	for _, l := range c.all {
		<-l.done
	}
	c.mu.Lock()
	c.epoch = 0 // ends all connections
	c.changed.Broadcast()
	c.mu.Unlock()
}

// late returns a listener that does not have all messages of a topic, or "".
func (c *crowd) late() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, l := range c.all {
		for topic := range l.held {
			if want := c.positionLocked(topic); l.at[topic] != want {
				return fmt.Sprintf("%s is at %q of %s, want %s", l.name, l.at[topic], topic, want)
			}
		}
	}
	return ""
}

func (c *crowd) positionLocked(topic string) client.Position {
	return client.Position(fmt.Sprintf("%d:%d", c.epoch, c.heads[topic]))
}

func (c *crowd) step() {
	topic := crowdTopics[c.random.IntN(len(crowdTopics))]
	var l *listener
	if len(c.all) > 0 {
		l = c.all[c.random.IntN(len(c.all))]
	}
	switch n := c.random.IntN(100); {
	case n < 50:
		c.publish(topic, 1+c.random.IntN(4))
	case n < 58 && len(c.all) < 20:
		c.subscribe()
	case l == nil:
	case n < 70:
		c.add(l, topic)
	case n < 80:
		l.subscription.Remove(topic)
		c.mu.Lock()
		delete(l.held, topic)
		c.mu.Unlock()
	case n < 85:
		l.leave()
		<-l.done
		c.all = slices.DeleteFunc(c.all, func(other *listener) bool { return other == l })
	case n < 93:
		c.mu.Lock()
		l.slow = !l.slow
		c.changed.Broadcast()
		c.mu.Unlock()
	case n < 96:
		c.fake.link.Cut(0)
	case n < 98:
		c.mu.Lock()
		c.epoch++
		clear(c.heads)
		c.changed.Broadcast()
		c.mu.Unlock()
	default:
		<-time.After(time.Duration(c.random.IntN(int(time.Minute))))
	}
}

func (c *crowd) add(l *listener, topic string) {
	c.mu.Lock()
	if l.held == nil || l.held[topic] {
		c.mu.Unlock()
		return // it has ended, or has the topic
	}
	l.held[topic] = true
	l.anew[topic]++
	c.mu.Unlock()
	err := l.subscription.Add(topic)
	if closed := errors.Is(err, client.ErrClosed) && l.token == "few"; err != nil && !closed { // else e was its last topic
		c.t.Errorf("Add: %v", err)
	}
}

func (c *crowd) publish(topic string, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.heads[topic] += n
	c.changed.Broadcast()
}

// subscribe starts a listener with random options.
func (c *crowd) subscribe() {
	which := c.random.IntN(2)
	o := client.SubscribeOptions{Latest: c.random.IntN(3) == 0, Buffer: c.random.IntN(3) * 5, Since: map[string]client.Position{}}
	if c.random.IntN(3) == 0 {
		o.Last = 3
	}
	ctx, cancel := context.WithCancel(context.Background())
	l := &listener{
		crowd: c, name: fmt.Sprintf("listener %d", len(c.all)), token: crowdTokens[which], latest: o.Latest,
		leave: cancel, done: make(chan struct{}), held: map[string]bool{}, at: map[string]client.Position{}, anew: map[string]int{},
	}
	var topics []string
	c.mu.Lock()
	for _, topic := range crowdTopics {
		if c.random.IntN(2) == 0 {
			topics = append(topics, topic)
			l.held[topic], l.anew[topic] = true, 1
			if c.random.IntN(4) == 0 {
				o.Since[topic] = c.positionLocked(topic)
			}
		}
	}
	c.mu.Unlock()
	if len(topics) == 0 {
		return
	}
	c.all = append(c.all, l)
	l.subscription = c.views[which].SubscribeWith(o, topics...)
	go l.listen(ctx)
}

func (l *listener) listen(ctx context.Context) {
	defer close(l.done)
	c := l.crowd
	for event, err := range l.subscription.Events(ctx) {
		c.mu.Lock()
		l.noteLocked(event, err)
		for l.slow && ctx.Err() == nil && c.epoch > 0 {
			// A slow loop that is not stuck.
			c.mu.Unlock()
			<-time.After(time.Second)
			c.mu.Lock()
			break
		}
		c.mu.Unlock()
	}
	c.mu.Lock()
	l.held = nil
	c.mu.Unlock()
}

// noteLocked checks that an event continues where the previous one ended.
func (l *listener) noteLocked(event client.Event, err error) {
	c := l.crowd
	var topic, kind string
	var from, to client.Position
	switch e := event.(type) {
	case client.Message:
		topic, kind, to = e.Topic, "message", e.Position
		at := parse(to)
		from = client.Position(fmt.Sprintf("%s:%d", at.Epoch, at.Offset-1))
		if want := fmt.Sprintf("%s %s", topic, to); e.Text() != want {
			c.t.Errorf("%s: message %q at %s of %s", l.name, e.Text(), to, topic)
		}
		if topic == "e" && l.token == "few" {
			c.t.Errorf("%s got a message that its token does not allow", l.name)
		}
	case client.Skipped:
		topic, kind, from, to = e.Topic, "skipped", e.From, e.To
		if !l.latest {
			c.t.Errorf("%s: skipped without Latest", l.name)
		}
	case client.Subscribed:
		topic, kind, to = e.Topic, "subscribed", e.Position
		if from = e.Position; e.Resumed {
			kind = "resumed"
		}
	case client.Disconnected:
		c.count["disconnected"]++
		return
	}
	if lost, ok := errors.AsType[*client.LostError](err); ok {
		topic, kind, from, to = lost.Topic, string(lost.Reason), lost.Since, lost.Position
	} else if refused, ok := errors.AsType[*client.Error](err); ok && refused.Topic != "" {
		c.count["refused"]++
		if refused.Topic != "e" || l.token != "few" {
			c.t.Errorf("%s: %v", l.name, err)
		}
		delete(l.held, refused.Topic)
		return
	} else if err != nil {
		if !errors.Is(err, context.Canceled) && !errors.Is(err, client.ErrClosed) {
			c.t.Errorf("%s: %v", l.name, err)
		}
		return
	}
	c.count[kind]++
	if kind == "subscribed" || err != nil && l.anew[topic] > 0 && l.at[topic] != from {
		l.anew[topic]-- // what came so far was of the time before
		delete(l.at, topic)
	}
	if at := l.at[topic]; at != "" && at != from && l.held[topic] {
		c.t.Errorf("%s: after %s came %q from %s to %s of %s", l.name, at, kind, from, to, topic)
	}
	l.at[topic] = to
}

// serve is a notiflux server that remembers crowdHeld messages of a topic.
func (c *crowd) serve(w http.ResponseWriter, r *http.Request) {
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"notiflux.v1.json"}})
	if err != nil {
		return
	}
	var commands []string
	over := false
	var reading sync.WaitGroup
	defer reading.Wait()
	defer conn.CloseNow()
	reading.Go(func() {
		for {
			_, data, err := conn.Read(context.Background())
			c.mu.Lock()
			if commands = append(commands, string(data)); err != nil {
				over = true
			}
			c.changed.Broadcast()
			c.mu.Unlock()
			if err != nil {
				return
			}
		}
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	epoch := c.epoch
	topics := map[string]*crowdTopic{}
	frames := []string{`{"type":"welcome","connection":"00","version":"0","ping":25,"limits":{"topicsPerCommand":3}}`}
	for !over && c.epoch == epoch {
		if len(commands) > 0 {
			frames = append(frames, c.commandLocked(commands[0], topics)...)
			commands = commands[1:]
		}
		frames = append(frames, c.followLocked(topics)...)
		if len(frames) == 0 && len(commands) == 0 {
			c.changed.Wait()
			continue
		}
		c.mu.Unlock()
		for _, f := range frames {
			_ = conn.Write(context.Background(), websocket.MessageText, []byte(f))
		}
		c.mu.Lock()
		frames = nil
	}
}

// A crowdTopic is a topic that a connection is subscribed to.
type crowdTopic struct {
	at     int
	latest bool
}

// commandLocked returns the answer to a command.
func (c *crowd) commandLocked(data string, topics map[string]*crowdTopic) []string {
	var command struct {
		Type, Token, Mode string
		ID                int
		Topics            []string
		Since             map[string]string
		Last              int
	}
	if json.Unmarshal([]byte(data), &command) != nil {
		return nil // the end of the connection
	}
	if command.Type == "unsubscribe" {
		for _, topic := range command.Topics {
			delete(topics, topic)
		}
		encoded, _ := json.Marshal(command.Topics)
		return []string{fmt.Sprintf(`{"type":"unsubscribed","id":%d,"topics":%s}`, command.ID, encoded)}
	}
	answers, refused := map[string]any{}, map[string]any{}
	for _, topic := range command.Topics {
		if topic == "e" && command.Token == "few" {
			refused[topic] = map[string]any{"code": "topic_denied", "message": "no"}
			continue
		}
		if topics[topic] != nil {
			c.t.Errorf("%s is subscribed to twice on a connection", topic)
		}
		head := c.heads[topic]
		at, recovered := head, true
		if since := command.Since[topic]; since != "" {
			p := parse(client.Position(since))
			recovered = p.Epoch == fmt.Sprint(c.epoch) && int(p.Offset) >= head-crowdHeld && int(p.Offset) <= head
			if recovered {
				at = int(p.Offset)
			}
		} else if command.Last > 0 {
			at = max(0, head-min(command.Last, crowdHeld))
		}
		topics[topic] = &crowdTopic{at, command.Mode == "latest"}
		answers[topic] = map[string]any{"position": fmt.Sprintf("%d:%d", c.epoch, at), "recovered": recovered, "replay": head - at}
	}
	answer, _ := json.Marshal(map[string]any{"type": "subscribed", "id": command.ID, "topics": answers, "refused": refused})
	return []string{string(answer)}
}

// followLocked returns the frames that follow in topics.
func (c *crowd) followLocked(topics map[string]*crowdTopic) (frames []string) {
	for topic, s := range topics {
		if behind := c.heads[topic] - s.at; s.latest && behind > 3 {
			frames = append(frames, fmt.Sprintf(`{"type":"skipped","topic":%q,"from":"%d:%d","to":"%d:%d"}`, topic, c.epoch, s.at, c.epoch, c.heads[topic]-1))
			s.at = c.heads[topic] - 1
		}
		for s.at < c.heads[topic] {
			s.at++
			position := fmt.Sprintf("%d:%d", c.epoch, s.at)
			frames = append(frames, fmt.Sprintf(`{"type":"message","topic":%q,"position":%q,"time":1,"data":%q}`, topic, position, strings.Join([]string{topic, position}, " ")))
		}
	}
	return frames
}
