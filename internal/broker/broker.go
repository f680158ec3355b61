// Package broker is the contract between the server and what orders its messages.
//
// A broker orders messages, stores them, and carries them between nodes. It may be slow,
// remote, and restarted while the server runs. The memory broker is the special case in
// which everything is immediate.
//
// A message passes through a broker in two steps. [Broker.Publish] gives it a position.
// Then the broker hands it to the [Sink] of every node that follows the topic, and the
// sink appends it to the topic's log. Subscribers read logs and never the broker. A node
// follows a topic from the first [Broker.Attach] until [Broker.Detach].
//
// Sessions and HTTP requests do not call Attach themselves: an [Attacher] attaches the
// topics of a command together and bounds how many wait.
//
// Invariants, checked by brokertest.Run:
//   - Offsets of a topic strictly increase within an epoch, and none is used twice.
//   - A message is stored before its publisher is told that it was published.
//   - The sink gets the messages of a topic in the order of their offsets. Where messages
//     are missing or the epoch changes, it gets a gap in their place.
//   - A key within its window stands for one message.
//   - Every callback comes once, within [Timeout], with no lock held.
package broker

import (
	"context"
	"time"

	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/topic"
)

// Timeout bounds one operation. Then it fails: with Unavailable, or with OutcomeUnknown
// if a message may have been published.
const Timeout = 5 * time.Second

// A Broker orders, stores and carries messages. All methods are safe for concurrent use.
// Errors that a client may see are [pubsub.Error]s. While the broker cannot be reached,
// operations that need it fail with Unavailable; subscribers stay connected and read what
// their logs hold.
type Broker interface {
	// Publish orders the publications that have no error yet, in their order, and sets
	// the position or the error of each. It never waits. It returns true if it has
	// finished. Else it calls done once, on another goroutine, and owns ps until then.
	// The broker keeps the bodies of the publications that it ordered in both cases.
	//
	// OutcomeUnknown means that a message may have been published; with any other error
	// it was not. Bytes in flight are bounded; beyond the bound the error is
	// OverCapacity. After Close it is Draining.
	Publish(ps []pubsub.Publication, done func()) (finished bool)

	// Attach makes the topic of a live on this node, covers its resume point as far as
	// the broker can, and pins that point. It never waits. It returns true if a is
	// finished. Else the broker finishes it later, on another goroutine.
	//
	// In any case the broker calls a.Finish once. Before that it calls a.Hold with the
	// pin, unless it fails.
	Attach(a *Attachment) (finished bool)

	// Detach is called by the sink when the last listener or pin of a topic has gone,
	// with no lock held. The broker calls Sink.Close under its own lock for the topic,
	// and stops following only if that returns true: the topic may be attached again by
	// now.
	Detach(name pubsub.Topic)

	// History returns up to limit messages of a topic, the oldest first: the first ones
	// after since, or the newest ones if since is zero. It may wait for the store, so an
	// event loop must not call it.
	History(ctx context.Context, name pubsub.Topic, since pubsub.Position, limit int) (topic.History, error)

	// Run does the work of the background until ctx ends, and returns nil, or the error
	// that ended it. Call it once.
	Run(ctx context.Context) error

	// Health returns why the broker cannot serve now, for operators; nil: it can. It does
	// not wait.
	Health() error

	// Close waits until the publishes under way have called done, or until ctx ends, whose
	// error it then returns. From its call on, Publish fails with Draining.
	Close(ctx context.Context) error
}

// A Sink is the node's side of a broker: the logs of its live topics. A topic is live
// from Open to Close. No method waits. For one topic the broker calls Append, Gap and
// Prepend one at a time. [topic.Topics] implements it, and documents the methods.
type Sink interface {
	Open(name pubsub.Topic, head pubsub.Position, from topic.ResumePoint) (topic.Pin, error)
	Pin(name pubsub.Topic, from topic.ResumePoint) (topic.Pin, bool)
	Append(ms []pubsub.Message)
	Gap(name pubsub.Topic, to pubsub.Position)
	Prepend(p *topic.Pin, from pubsub.Position, ms []pubsub.Message)
	Close(name pubsub.Topic) bool
}

var _ Sink = (*topic.Topics)(nil)
