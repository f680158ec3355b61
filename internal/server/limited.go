package server

import (
	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/broker"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/quota"
)

// A limitedBroker limits the messages of each user, over HTTP and over WebSocket.
type limitedBroker struct {
	broker.Broker
	limit *quota.Limit
}

// limited returns b with a limit on the messages of each user.
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
			p.Err = b.limit.TakeUser(p.Issuer, p.Subject)
		}
	}
	return b.Broker.Publish(ps, done)
}

// An unlimited verifier is for the operator: no limit on an address counts its tokens.
type unlimited struct{ *auth.Pooled }

// Verify implements [explain.Verifier].
func (v unlimited) Verify(t auth.Token) (*auth.Claims, error) { return v.Pooled.Verify(t, "") }
