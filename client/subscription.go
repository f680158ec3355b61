package client

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"slices"

	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// A Subscription says what to subscribe to.
type Subscription struct {
	// Topics are subscribed to, at least one. A client may be subscribed to a
	// topic once at a time.
	Topics []pubsub.Topic
	// Since are positions to go on after, as Message and Subscribed have them.
	// What is not covered by the server any more is a [LostError].
	Since map[pubsub.Topic]pubsub.Position
	// Last asks for up to so many earlier messages of each topic that is not in
	// Since.
	Last int
	// Latest is for who needs the newest message only: when the client is behind,
	// older ones are left out, and [Skipped] says so.
	Latest bool
	// Presence makes the client present on the topics, as who its token says, and
	// tells who else is: [Present], [Joined] and [Left]. The topics count twice
	// against what a connection may have. It takes a WebSocket: when upgrades are
	// blocked, each topic is a [RefusedError] with the code upgrade_required.
	Presence bool
}

// A subscriber is one iteration.
type subscriber struct {
	// Immutable.
	items chan item     // unbuffered: what was sent has been taken
	left  chan struct{} // closed when the iteration has ended

	cuts chan cut // has room for one: several that were not seen are one

	open int // topics that are not refused; owned by the iteration
}

// An item is what an iteration yields next.
type item struct {
	session uint64 // in which it came
	event   Event
	err     error
	refused *topicSubscription // what err ends; nil: nothing
}

// A cut is the end of a session, for the subscribers.
type cut struct {
	session uint64
	err     error
}

// A topicSubscription is the subscription of a subscriber to one topic.
type topicSubscription struct {
	// Immutable.
	topic    pubsub.Topic
	by       *subscriber
	number   uint64 // subscriptions are asked for in this order
	last     int
	latest   bool
	presence bool

	// Guarded by Client.mu. The goroutine that reads a session alone changes
	// position, so it reads it without.
	position   pubsub.Position // up to here it was given; without an epoch: nothing is known yet
	asked      *session        // in which it was asked for; nil: it is to be asked for
	live       bool            // asked has answered, and messages count
	resumed    bool            // it was live before
	generation uint64          // of the token that it was asked for with
	renewed    bool            // a token was asked for on its behalf, and no answer was good since
	deferred   bool            // refused for now: asked for again after a while
	moved      bool            // it goes on in another stream of the session, which nobody is told
	list       listing         // with presence: whether to ask who is there
}

// listing is how it stands with the question who is present.
type listing uint8

const (
	listAsked   listing = iota // there is nothing to ask
	listWanted                 // it is to be asked
	listDelayed                // it was refused for now
)

// Subscribe yields what happens to the topics of s, starting when the iteration
// does and unsubscribing when it ends. See the package's documentation for how to
// tell events apart.
//
// An event comes without an error, and an error without an event. After a
// [*LostError] the iteration goes on, after a [*RefusedError] as well while a
// topic is left. Any other error is the last: that of ctx, [ErrClosed], or why
// the client does not connect again: a [*CloseError] or [*StatusError]. So an
// iteration that the loop does not break ends with an error, always.
//
// The loop holds back the server while its body runs. Iterating again subscribes
// again, from the beginning.
func (c *Client) Subscribe(ctx context.Context, s Subscription) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		by, err := c.join(s)
		if err != nil {
			yield(nil, err)
			return
		}
		defer c.leave(by)
		for by.next(ctx, c, yield) {
		}
	}
}

// next yields what comes next, and reports whether the iteration goes on.
func (b *subscriber) next(ctx context.Context, c *Client, yield func(Event, error) bool) bool {
	select {
	case i := <-b.items:
		if i.refused != nil {
			b.open--
			c.drop(i.refused) // by who takes it as well: the loop may subscribe to it again at once
		}
		select {
		case cut := <-b.cuts:
			// The item was taken before the cut if it is of that session.
			if cut.session >= i.session {
				return yield(i.event, i.err) && b.open > 0 && yield(Disconnected{cut.err}, nil)
			}
			return yield(Disconnected{cut.err}, nil) && yield(i.event, i.err) && b.open > 0
		default:
		}
		return yield(i.event, i.err) && b.open > 0
	case cut := <-b.cuts:
		return yield(Disconnected{cut.err}, nil)
	case <-ctx.Done():
		yield(nil, context.Cause(ctx))
	case <-c.done:
		select {
		case cut := <-b.cuts:
			return yield(Disconnected{cut.err}, nil)
		default:
		}
		c.mu.Lock()
		err := c.err
		c.mu.Unlock()
		yield(nil, err)
	}
	return false
}

// join makes the topics of s those of a subscriber.
func (c *Client) join(s Subscription) (*subscriber, error) {
	if len(s.Topics) == 0 {
		return nil, fmt.Errorf("subscribe: there is no topic")
	}
	if s.Last < 0 {
		return nil, fmt.Errorf("subscribe: Last is %d: give the number of messages", s.Last)
	}
	for topic, position := range s.Since {
		if !slices.Contains(s.Topics, topic) {
			return nil, fmt.Errorf("subscribe: Since names %q, which is not in Topics", topic)
		}
		if _, err := pubsub.ParsePosition(position.String()); err != nil {
			return nil, fmt.Errorf("subscribe: Since of %q: %w", topic, err)
		}
	}
	by := &subscriber{items: make(chan item), left: make(chan struct{}), cuts: make(chan cut, 1)}
	c.mu.Lock()
	defer c.mu.Unlock()
	topics := map[pubsub.Topic]*topicSubscription{}
	for _, topic := range s.Topics {
		if _, err := pubsub.ParseTopic(string(topic)); err != nil {
			return nil, fmt.Errorf("subscribe: %w", err)
		}
		if c.subscriptions[topic] != nil {
			return nil, fmt.Errorf("subscribe: the client is subscribed to %q already", topic)
		}
		if topics[topic] == nil {
			c.numbered++
			topics[topic] = &topicSubscription{topic: topic, by: by, number: c.numbered, last: s.Last, latest: s.Latest, presence: s.Presence, position: s.Since[topic]}
		}
	}
	for topic, i := range topics {
		c.subscriptions[topic] = i
		by.open++
	}
	c.wakeRun()
	return by, nil
}

// leave ends an iteration.
func (c *Client) leave(by *subscriber) {
	close(by.left)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, i := range c.sortedLocked() {
		if i.by != by {
			continue
		}
		delete(c.subscriptions, i.topic)
		if i.asked != nil && i.asked == c.session {
			c.gone = append(c.gone, i.topic)
		}
	}
	c.wakeRun()
}

// drop forgets an subscription that was refused.
func (c *Client) drop(i *topicSubscription) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.subscriptions[i.topic] == i {
		delete(c.subscriptions, i.topic)
	}
}

// sortedLocked returns the subscriptions in the order in which they came.
func (c *Client) sortedLocked() []*topicSubscription {
	all := make([]*topicSubscription, 0, len(c.subscriptions))
	for _, i := range c.subscriptions {
		all = append(all, i)
	}
	slices.SortFunc(all, func(a, b *topicSubscription) int { return cmp.Compare(a.number, b.number) })
	return all
}
