package server

import (
	"github.com/ikornaselur/notiflux/internal/broker"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/quota"
)

// A limitedBroker limits the messages of each subject, over HTTP and over WebSocket.
type limitedBroker struct {
	broker.Broker
	limit *quota.Limit
}

// limited returns b with a limit on the messages of each subject.
func limited(b broker.Broker, limit *quota.Limit) broker.Broker {
	if limit == nil {
		return b
	}
	return limitedBroker{b, limit}
}

// Publish implements [broker.Broker].
func (b limitedBroker) Publish(ps []pubsub.Publication, done func()) (finished bool) {
	for i := range ps {
		if p := &ps[i]; p.Err == nil {
			p.Err = b.limit.TakeSubject(p.Subject)
		}
	}
	return b.Broker.Publish(ps, done)
}
