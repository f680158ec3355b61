// Package broker orders messages and keeps them: it is the one place that gives
// offsets.
//
// A publisher calls [Broker.Publish]; the broker fixes each message's position,
// has it appended to the topic's log through [Topics], and answers. What was
// answered without an error is in the log. A message with a key is ordered once,
// however often it is published while the broker keeps the key: publishing it again
// gets the same answer. Keys take a bounded amount of memory, of which each publisher has a share.
//
// Invariants: offsets of a topic strictly increase within an epoch, and no
// offset is used twice in it, not even when a topic was forgotten and comes back.
// A key is never forgotten early.
package broker

import (
	"context"

	"github.com/ikornaselur/notiflux"
)

// A Broker orders messages. Safe for concurrent use.
type Broker interface {
	// Publish orders each of ps that has no error yet, in their order, and sets what
	// became of it: its position once it is ordered and kept, or why it is not. It
	// may wait, so nothing on an event loop calls it. It owns the data of the bodies
	// from then on. Errors that a stranger may see are [notiflux.Error]s.
	Publish(ctx context.Context, ps []notiflux.Publication)

	// Close waits until what is being ordered has its answer. From then on Publish
	// fails with Draining and orders nothing.
	Close() error
}

// Topics holds the logs that a broker appends to.
type Topics interface {
	// Append appends each of ps that has no error yet to the log of its topic, in their
	// order, and wakes the topic's listeners. It calls offset once for each of these,
	// under the lock of the topic.
	Append(ps []notiflux.Publication, offset func() uint64)
}
