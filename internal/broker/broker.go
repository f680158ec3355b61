// Package broker defines the contract between the server and the system that orders its
// messages.
//
// A broker orders messages, stores them, and carries them between nodes (server processes).
// It may be slow or remote, and it may restart while the server runs. The memory broker is
// the special case in which everything is immediate.
//
// A message passes through a broker in two steps. [Broker.Publish] gives it a position: its
// offset, and the epoch, which changes when the broker may have lost messages. Then the
// broker hands it to the [Sink] of every node that follows the topic, and the sink appends
// it to the topic's log of recent messages. Subscribers read the logs and never the broker.
// A node follows a topic from the first [Broker.Attach] until [Broker.Detach].
//
// Sessions and HTTP requests do not call Attach themselves. An [Attacher] attaches the
// topics of a command together and limits how many attachments wait.
//
// Invariants, checked by brokertest.Run:
//   - Offsets of a topic strictly increase within an epoch and are never reused.
//   - A message is stored before its publisher gets the answer.
//   - The sink gets the messages of a topic in the order of their offsets. Where messages
//     are missing or a new epoch begins, it gets a gap.
//   - As long as an idempotency key is remembered, at most one message is published with
//     it.
//   - Every callback comes exactly once, within [Timeout], with no lock held.
package broker

import (
	"context"
	"time"

	"github.com/ikornaselur/notiflux/internal/presence"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/topic"
)

// Timeout limits the duration of one operation. After that the operation fails: with
// OutcomeUnknown if a message may have been published, otherwise with Unavailable.
const Timeout = 5 * time.Second

// A Broker orders, stores and carries messages. All methods are safe for concurrent use.
// Errors that a client may see are [pubsub.Error]s. While the broker's store cannot be
// reached, operations that need it fail with Unavailable; subscribers stay connected and
// read what their logs hold.
type Broker interface {
	// Publish orders the publications that have no error yet, in slice order, and sets the
	// position or the error of each. It never blocks. It returns true if it has finished.
	// Otherwise it calls done once, on another goroutine, and owns ps until then. In both
	// cases the broker keeps the bodies of the publications that it ordered.
	//
	// OutcomeUnknown means that a message may have been published; with any other error it
	// was not. The bytes in flight are limited; beyond the limit the error is OverCapacity.
	// After Close the error is Draining.
	Publish(ps []pubsub.Publication, done func()) (finished bool)

	// Attach makes the topic of a live on this node, covers its resume point as far as the
	// broker can, and pins that point. It never blocks. It returns true if a is finished.
	// Otherwise the broker finishes it later, on another goroutine.
	//
	// In either case the broker calls a.Finish exactly once. If the attachment succeeds,
	// the broker has called a.Hold with the pin before.
	Attach(a *Attachment) (finished bool)

	// Detach tells the broker that a topic has lost its last listener or pin. The sink
	// calls it with no lock held. The broker then calls Sink.Close under its own lock for
	// the topic, and stops following the topic only if Close returns true, because the
	// topic may have been attached again.
	Detach(name pubsub.Topic)

	// History returns up to limit messages of a topic, oldest first: the first ones after
	// since, or the newest ones if since is zero. It may wait for the store, so an event
	// loop must not call it.
	History(ctx context.Context, name pubsub.Topic, since pubsub.Position, limit int) (topic.History, error)

	// Run does the broker's background work until ctx ends. It returns nil, or the error
	// that ended it early. Call it once.
	Run(ctx context.Context) error

	// Health returns nil if the broker can serve, or why it cannot, for operators. It does
	// not block.
	Health() error

	// Close waits until every publish in flight has finished, and until the sink has what
	// was published through this broker, unless the store cannot be reached. If ctx ends
	// first, Close returns its error. Once Close has been called, Publish fails with
	// Draining.
	Close(ctx context.Context) error
}

// Shared is a Broker of several nodes. It keeps the registry of each node up to date with the
// members of the others, for the topics whose presence topic is attached
// ([topic.PresenceTopic]).
type Shared interface {
	Broker
	Operated

	// OwnChanged is for [presence.Config]. Calls before Share have no effect.
	OwnChanged(name pubsub.Topic, sub string)

	// Counted is for [topic.Config].
	Counted(name pubsub.Topic)

	// Share sets the registry of the node, and how to learn the number of subscriptions of a
	// topic on this node. It is called once, before any other method.
	Share(r *presence.Registry, subscribers func(pubsub.Topic) int)
}

// A Sink is the node's side of a broker: the logs of its live topics. A topic is live from
// Open to Close. No method blocks. The broker calls Append, Gap and Prepend for one topic
// one at a time. [topic.Topics] implements Sink and documents the methods.
type Sink interface {
	Open(name pubsub.Topic, head pubsub.Position, from topic.ResumePoint) (topic.Pin, error)
	Pin(name pubsub.Topic, from topic.ResumePoint) (topic.Pin, bool)
	Append(ms []pubsub.Message)
	Patterns() []*topic.Topic
	Gap(name pubsub.Topic, to pubsub.Position)
	Prepend(p *topic.Pin, from pubsub.Position, ms []pubsub.Message)
	Close(name pubsub.Topic) bool
}

var _ Sink = (*topic.Topics)(nil)
