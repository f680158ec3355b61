package server

import (
	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/broker"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/quota"
	"github.com/ikornaselur/notiflux/internal/session"
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

// addressCommand returns the limit on the commands of each address, or nil.
func addressCommand(limit *quota.Limit) func(session.Conn) error {
	if limit == nil {
		return nil
	}
	return func(c session.Conn) error { return limit.Take(c.Remote()) }
}

// userCommand returns the limit on the commands of each user, or nil. Clients without a token are
// no users.
func userCommand(limit *quota.Limit) func(*auth.Claims) error {
	if limit == nil {
		return nil
	}
	return func(claims *auth.Claims) error {
		if claims.NeedUser() != nil {
			return nil
		}
		return limit.TakeUser(claims.Issuer(), claims.Subject)
	}
}

// An unlimited verifier is for the operator: no limit on an address counts its tokens.
type unlimited struct{ *auth.Pooled }

// Verify implements [explain.Verifier].
func (v unlimited) Verify(t auth.Token) (*auth.Claims, error) { return v.Pooled.Verify(t, "") }
