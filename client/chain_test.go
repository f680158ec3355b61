package client_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"

	"github.com/ikornaselur/notiflux/client"
	"github.com/ikornaselur/notiflux/internal/internaltest/servertest"
)

// Whatever a server sends and however slow a loop is, what the loop gets of a topic is a
// chain without a hole: each event begins where the one before ended.
func TestEventsAreAChain(t *testing.T) {
	for _, seed := range servertest.Seeds(seed, 1, 2, 3, 4, 5, 6, 7, 8) {
		synctest.Test(t, func(t *testing.T) { newChain(t, seed).run() })
	}
}

// A chain is a server at random, and a loop that is as slow as its random choices.
type chain struct {
	t            *testing.T
	seed         uint64
	random       *rand.Rand
	fake         *fake
	peer         *peer
	subscription *client.Subscription

	heads map[string]int             // what the server has sent
	taken map[string]client.Position // what the loop has taken
	count map[string]int             // events by kind
}

var chainTopics = []string{"a", "b", "c"}

func newChain(t *testing.T, seed uint64) *chain {
	c := &chain{
		t: t, seed: seed, random: rand.New(rand.NewPCG(seed, 0)), fake: newFake(t),
		heads: map[string]int{}, taken: map[string]client.Position{}, count: map[string]int{},
	}
	w := wish{Topics: chainTopics, Buffer: 1 + c.random.IntN(12), Latest: seed%2 == 0}
	c.subscription = w.subscribe(c.fake.dial(client.Options{}))
	c.accept()
	return c
}

// accept answers the first command of the next connection.
func (c *chain) accept() {
	c.peer = c.fake.accept()
	var command struct{ Since map[string]string }
	if err := json.Unmarshal([]byte(<-c.peer.commands), &command); err != nil {
		c.t.Fatal(err)
	}
	answers := map[string]any{}
	for _, topic := range chainTopics {
		since, resumes := command.Since[topic]
		if want := fmt.Sprint("E:", c.heads[topic]); resumes && since != want {
			c.t.Errorf("-seed=%d: %s is resumed from %s, want %s", c.seed, topic, since, want)
		}
		recovered := c.random.IntN(3) > 0 || !resumes
		if !recovered {
			c.heads[topic] += 1 + c.random.IntN(5)
		}
		answers[topic] = map[string]any{"position": fmt.Sprint("E:", c.heads[topic]), "recovered": recovered, "replay": 0}
	}
	answer, _ := json.Marshal(map[string]any{"type": "subscribed", "id": 1, "topics": answers})
	c.peer.say(string(answer))
}

func (c *chain) run() {
	for range 3000 {
		topic := chainTopics[c.random.IntN(len(chainTopics))]
		switch n := c.random.IntN(100); {
		case n < 55:
			c.heads[topic]++
			c.peer.say(message(topic, c.heads[topic], "1"))
		case n < 60:
			c.heads[topic] += 1 + c.random.IntN(5)
			c.peer.say(fmt.Sprintf(`{"type":"gap","topic":%q,"position":"E:%d"}`, topic, c.heads[topic]))
		case n < 65:
			from := c.heads[topic]
			c.heads[topic] += 1 + c.random.IntN(5)
			c.peer.say(fmt.Sprintf(`{"type":"skipped","topic":%q,"from":"E:%d","to":"E:%d"}`, topic, from, c.heads[topic]))
		case n < 66:
			c.peer.cut()
			c.accept()
		default:
			synctest.Wait()
			for range c.random.IntN(6) {
				c.take()
			}
		}
	}
	synctest.Wait()
	for _, topic := range chainTopics {
		for c.taken[topic] != client.Position(fmt.Sprint("E:", c.heads[topic])) && !c.t.Failed() {
			c.take()
		}
	}
	for _, kind := range []string{"message", "skipped", "subscribed", "disconnected", "gap", "expired", "overflow"} {
		if c.count[kind] == 0 && (kind != "overflow" || c.seed%2 == 1) {
			c.t.Errorf("-seed=%d: no %s in %v: the run proves nothing", c.seed, kind, c.count)
		}
	}
}

// take has the loop take an event, which there may not be: then the server sends one.
func (c *chain) take() {
	c.t.Helper()
	done := make(chan struct{})
	var event client.Event
	var err error
	go func() {
		event, err = c.subscription.Next(c.t.Context())
		close(done)
	}()
	synctest.Wait()
	select {
	case <-done:
	default:
		c.heads["a"]++
		c.peer.say(message("a", c.heads["a"], "1"))
		<-done
	}
	c.note(event, err)
}

func (c *chain) note(event client.Event, err error) {
	var topic, kind string
	var from, to client.Position
	switch e := event.(type) {
	case client.Message:
		topic, kind, to = e.Topic, "message", e.Position
		from = client.Position(fmt.Sprint("E:", parse(to).Offset-1))
	case client.Skipped:
		topic, kind, from, to = e.Topic, "skipped", e.From, e.To
	case client.Subscribed:
		topic, kind, from, to = e.Topic, "subscribed", e.Position, e.Position
	case client.Disconnected:
		c.count["disconnected"]++
		return
	}
	if lost, ok := err.(*client.LostError); ok {
		topic, kind, from, to = lost.Topic, string(lost.Reason), lost.Since, lost.Position
	} else if err != nil {
		c.t.Fatal(err)
	}
	c.count[kind]++
	if taken := c.taken[topic]; taken != "" && taken != from || parse(to).Offset < parse(from).Offset {
		c.t.Fatalf("-seed=%d: after %s came %q from %s to %s of %s", c.seed, taken, kind, from, to, topic)
	}
	c.taken[topic] = to
}

// A server that resumes before the requested position does not make messages come twice.
func TestAnswerBeforeThePosition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		a := listen(t, f.dial(client.Options{}), topics("a"))
		p := f.accept()
		<-p.commands
		p.say(subscribedTo(1, "a"), message("a", 5, "5"))
		a.expect("subscribed a E:0 0 resumed=false", "message a E:5 5")
		p.cut()
		a.expect("disconnected")
		p = f.accept()
		p.expect(`{"type":"subscribe","id":1,"topics":["a"],"since":{"a":"E:5"}}`)
		p.say(`{"type":"subscribed","id":1,"topics":{"a":{"position":"E:3","recovered":true,"replay":2}}}`, message("a", 5, "5"), message("a", 6, "6"))
		a.expect("subscribed a E:5 2 resumed=true", "message a E:6 6")
	})
}

// Only a gap may change the epoch.
func TestEpochChangesWithoutGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		a := listen(t, f.dial(client.Options{}), topics("a"))
		p := f.accept()
		<-p.commands
		p.say(subscribedTo(1, "a"), message("a", 5, "5"), `{"type":"message","topic":"a","position":"F:1","data":1}`, `{"type":"message","topic":"a","position":"F:2","data":2}`)
		a.expect("subscribed a E:0 0 resumed=false", "message a E:5 5", "lost a E:5 F:1 gap", "message a F:2 2")
	})
}

// A subscription that joins another one during a replay learns how many messages are old.
func TestJoiningAReplay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		c := f.dial(client.Options{})
		a := listen(t, c, wish{Topics: []string{"a"}, Last: 3})
		p := f.accept()
		<-p.commands
		p.say(`{"type":"subscribed","id":1,"topics":{"a":{"position":"E:0","recovered":true,"replay":3}}}`, message("a", 1, "1"))
		a.expect("subscribed a E:0 3 resumed=false", "message a E:1 1")
		b := listen(t, c, topics("a"))
		b.expect("subscribed a E:1 2 resumed=false")
		p.say(message("a", 2, "2"))
		b.expect("message a E:2 2")
	})
}
