// Package broker is the contract between the server and what orders its messages.
//
// A publisher calls [Broker.Publish]. The broker assigns a position to each message,
// appends it to the log of its topic through [Topics], and returns the outcome.
// Subscribers read the logs and never call the broker.
//
// Invariants:
//   - Offsets of a topic strictly increase within an epoch. No offset is used twice, even
//     if the topic was dropped from memory in between.
//   - A message that was published without an error is in the log.
//   - A message with a key is ordered once while the broker keeps the key. Publishing it
//     again returns the same outcome. Keys take a bounded amount of memory, of which each
//     publisher has a share, and no key is dropped early.
package broker

import (
	"context"

	"github.com/ikornaselur/notiflux"
)

// A Broker orders and stores messages. Safe for concurrent use. Errors that a client may
// see are [notiflux.Error]s.
type Broker interface {
	// Publish orders each of ps that has no error yet, in their order. It sets the position
	// of each once it is stored, or the error. Publish may wait, so no event loop calls it.
	// The broker owns the data of the bodies from then on.
	Publish(ctx context.Context, ps []notiflux.Publication)

	// Close waits until every call of Publish that is ordering messages has ordered them.
	// After that, Publish orders nothing and fails with Draining.
	Close() error
}

// Topics holds the logs that a broker appends to.
type Topics interface {
	// Append appends each of ps that has no error yet to the log of its topic, in their
	// order, and wakes the topic's listeners. It calls offset once for each of these,
	// under the lock of the topic.
	Append(ps []notiflux.Publication, offset func() uint64)
}
