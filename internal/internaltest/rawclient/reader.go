package rawclient

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"

	"github.com/ikornaselur/notiflux/internal/internaltest/delivery"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// A Phase is what a connection of a [Reader] is doing.
type Phase string

// The phases of a connection, in their order.
const (
	Opening   Phase = "opening"
	Asking    Phase = "asking"
	Replaying Phase = "replaying"
	Listening Phase = "listening"
)

// A Reader follows topics over successive connections. It belongs to one goroutine.
type Reader struct {
	// Set by the test.
	Topics    []pubsub.Topic // in the order of their names
	Token     string
	Random    *rand.Rand
	Recording *delivery.Recording
	Goal      map[pubsub.Topic]pubsub.Position // where it ends; nil: it does not end
	Live      int                              // a connection is cut at most this many bytes after the replay; 0: as its Conn says

	// State over all connections.
	Positions       map[pubsub.Topic]pubsub.Position // of each topic that it was ever answered about
	Phase           Phase
	Recovered, Lost int

	cursor string
	conn   *Conn
	replay int // messages of this connection to come before live ones
}

// A Dialect follows the topics of a reader over one connection until that ends, or the
// goal is reached: then it returns nil.
type Dialect func(r *Reader, c *Conn) error

// Follow speaks a dialect over a new connection until that ends. It does not close the
// connection.
func (r *Reader) Follow(c *Conn, speak Dialect) error {
	if r.Positions == nil {
		r.Positions = make(map[pubsub.Topic]pubsub.Position)
	}
	r.conn, r.Phase, r.replay = c, Opening, 0
	err := speak(r, c)
	r.Recording.Add(delivery.Event{Kind: delivery.Cut})
	return err
}

// ask records a request for each topic from the reader's position.
func (r *Reader) ask(topics []pubsub.Topic) map[pubsub.Topic]delivery.Ask {
	asks := make(map[pubsub.Topic]delivery.Ask)
	for _, topic := range topics {
		asks[topic] = r.Recording.Ask(r.Positions[topic], 0)
	}
	return asks
}

// answered handles the answer to a request, with a member for each topic.
func (r *Reader) answered(m Object, asks map[pubsub.Topic]delivery.Ask) error {
	var topics map[pubsub.Topic]Object
	if err := json.Unmarshal(m.Topics, &topics); err != nil || len(topics) != len(asks) || m.Refused != nil {
		return fmt.Errorf("asked for %d topics, answered %s %s, %v", len(asks), m.Topics, m.Refused, err)
	}
	for topic, ask := range asks {
		a, ok := topics[topic]
		position, err := pubsub.ParsePosition(a.Position)
		if !ok || err != nil {
			return fmt.Errorf("no answer for %q in %s, %v", topic, m.Topics, err)
		}
		r.subscribed(topic, ask, position, a.Recovered, a.Replay)
		r.replay += a.Replay
	}
	r.settle()
	return nil
}

func (r *Reader) subscribed(topic pubsub.Topic, ask delivery.Ask, position pubsub.Position, recovered bool, replay int) {
	r.Recording.Add(delivery.Event{Kind: delivery.Subscribed, Topic: topic, Ask: ask, Position: position, Recovered: recovered, Replay: replay})
	r.Positions[topic] = position
	if !recovered {
		r.Lost++
	} else if ask.Since != (pubsub.Position{}) {
		r.Recovered++
	}
}

// message handles a message.
func (r *Reader) message(m Object) error {
	position, err := pubsub.ParsePosition(m.Position)
	if err != nil {
		return err
	}
	r.Recording.Add(delivery.Event{Kind: delivery.Message, Topic: m.Topic, Position: position, Data: m.Data})
	r.Positions[m.Topic] = position
	r.replay--
	r.settle()
	return nil
}

// gap handles a gap.
func (r *Reader) gap(m Object) error {
	position, err := pubsub.ParsePosition(m.Position)
	if err != nil {
		return err
	}
	r.Recording.Add(delivery.Event{Kind: delivery.Gap, Topic: m.Topic, Position: position})
	r.Positions[m.Topic] = position
	r.Lost++
	return nil
}

func (r *Reader) settle() {
	switch {
	case r.replay > 0:
		r.Phase = Replaying
	case r.Phase != Listening:
		if r.Phase = Listening; r.Live > 0 {
			r.conn.In = r.Random.IntN(r.Live)
		}
	}
}

// keep stores the cursor of the last object, and checks that it matches the reader's position in
// every topic.
func (r *Reader) keep(cursor string) error {
	at, err := parseCursor(cursor, r.Topics)
	if err != nil {
		return fmt.Errorf("cursor %q: %w", cursor, err)
	}
	for topic, position := range r.Positions {
		if at[topic] != position {
			return fmt.Errorf("the cursor %q stands at %v in %q, and %v was given", cursor, at[topic], topic, position)
		}
	}
	r.cursor = cursor
	return nil
}

// reached reports whether the reader has reached its goal.
func (r *Reader) reached() bool {
	for _, topic := range r.Topics {
		if r.Goal == nil || r.Positions[topic].Offset < r.Goal[topic].Offset {
			return false
		}
	}
	return true
}

// done is reached, and records that the reader is at rest.
func (r *Reader) done() bool {
	if !r.reached() {
		return false
	}
	r.Recording.Add(delivery.Event{Kind: delivery.Rest})
	return true
}
