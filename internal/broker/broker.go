// Package broker orders messages and keeps them: it is the one place that gives
// offsets.
//
// A publisher calls [Broker.Publish]; the broker fixes the message's position,
// appends it to the topic's log through the [Hub], and answers. What was
// answered without an error is in the log.
//
// Invariants: offsets of a topic strictly increase within an epoch, and no
// offset is used twice in it, not even when a topic was forgotten and comes back.
package broker

import (
	"context"

	"github.com/ikornaselur/notiflux"
)

// A Broker orders messages. Safe for concurrent use.
type Broker interface {
	// Publish orders a message and returns its position once it is ordered and
	// kept. It may wait, so nothing on an event loop calls it. It owns body.Data
	// from then on. Errors that a stranger may see are [notiflux.Error]s.
	Publish(ctx context.Context, topic notiflux.Topic, body notiflux.Body) (notiflux.Position, error)

	// Close ends the broker; Publish fails from then on with Draining.
	Close() error
}

// A Hub is what a broker tells of its messages.
type Hub interface {
	// Append puts a message into its topic's log, in the hub's epoch, and wakes who
	// listens. It calls offset under the topic's lock.
	Append(topic notiflux.Topic, body notiflux.Body, offset func() uint64) (notiflux.Position, error)
}
