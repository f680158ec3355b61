package server

import (
	"time"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/broker"
	"github.com/ikornaselur/notiflux/internal/clients"
	"github.com/ikornaselur/notiflux/internal/config"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/quota"
	"github.com/ikornaselur/notiflux/internal/session"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// limits are the limits per address and per subject. Those that are not set are nil.
type limits struct {
	connections, requests, failedTokens *quota.Limit // of each address

	commandsOfAddress, commandsOfUser     *quota.Limit
	broadcastsOfAddress, broadcastsOfUser *quota.Limit
	openOfAddress, openOfUser             *quota.Open

	refused map[string]func() uint64 // how often each limit that is set refused something, by setting
}

func newLimits(c *config.Serve) *limits {
	refused := make(map[string]func() uint64)
	rate := func(setting, what string, rate int, window time.Duration) *quota.Limit {
		l := quota.New(what, rate, window)
		if l != nil {
			refused[setting] = l.Refused
		}
		return l
	}
	open := func(setting string, most int) *quota.Open {
		o := quota.NewOpen(most)
		if o != nil {
			refused[setting] = o.Refused
		}
		return o
	}
	return &limits{
		connections:         rate("limit-connections-per-address", "connections", c.LimitConnectionsPerAddress, time.Second),
		requests:            rate("limit-requests-per-address", "requests", c.LimitRequestsPerAddress, time.Second),
		failedTokens:        rate("limit-failed-tokens-per-address", "failed tokens", c.LimitFailedTokensPerAddress, time.Minute),
		commandsOfAddress:   rate("limit-commands-per-address", "commands", c.LimitCommandsPerAddress, time.Second),
		commandsOfUser:      rate("limit-commands-per-subject", "commands", c.LimitCommandsPerSubject, time.Second),
		broadcastsOfAddress: rate("limit-broadcasts-per-address", "broadcasts", c.LimitBroadcastsPerAddress, time.Second),
		broadcastsOfUser:    rate("limit-broadcasts-per-subject", "broadcasts", c.LimitBroadcastsPerSubject, time.Second),
		openOfAddress:       open("max-connections-per-address", c.MaxConnectionsPerAddress),
		openOfUser:          open("max-connections-per-subject", c.MaxConnectionsPerSubject),
		refused:             refused,
	}
}

// A limitedBroker limits the messages of each address and of each user, over HTTP and over
// WebSocket.
type limitedBroker struct {
	broker.Broker
	addresses, users *quota.Limit
}

// limited returns b with limits on the messages of each address and of each user.
func limited(b broker.Broker, addresses, users *quota.Limit) broker.Broker {
	if addresses == nil && users == nil {
		return b
	}
	return limitedBroker{b, addresses, users}
}

// Publish implements [broker.Broker].
func (b limitedBroker) Publish(ps []pubsub.Publication, done func()) (finished bool) {
	for i := range ps {
		if p := &ps[i]; p.Err == nil {
			p.Err = b.take(p)
		}
	}
	return b.Broker.Publish(ps, done)
}

// take counts a message. What one limit refuses does not count for the other.
func (b limitedBroker) take(p *pubsub.Publication) error {
	if err := b.addresses.Check(p.Remote); err != nil {
		return err
	}
	if err := b.users.TakeUser(p.Issuer, p.Subject); err != nil {
		return err
	}
	b.addresses.Count(p.Remote)
	return nil
}

// addressCommand returns the limit on the commands of each address, or nil.
func addressCommand(limit *quota.Limit) func(session.Conn) error {
	if limit == nil {
		return nil
	}
	return func(c session.Conn) error { return limit.Take(c.Remote()) }
}

// How the session of a user ends that sends too many commands, or has too many connections.
var (
	endCommands    = session.End{CloseCode: wire.CloseTooMany, Reason: "too many commands per second of this user", Code: pubsub.TooMany, Least: time.Second, Most: 5 * time.Second}
	endConnections = session.End{CloseCode: wire.CloseTooMany, Reason: "this user has too many connections open", Code: pubsub.TooMany, Least: 10 * time.Second, Most: 30 * time.Second}
)

// userCommand returns the limits on the connections and the commands of each user, or nil. Clients
// without a token are no users.
func userCommand(users *clients.Users, commands *quota.Limit) func(session.Conn, *auth.Claims) (session.End, error) {
	if users == nil && commands == nil {
		return nil
	}
	return func(c session.Conn, claims *auth.Claims) (session.End, error) {
		if claims.NeedUser() != nil {
			return session.End{}, nil
		}
		if err := users.Use(c, claims); err != nil {
			return endConnections, err
		}
		return endCommands, commands.TakeUser(claims.Issuer(), claims.Subject)
	}
}

// An unlimited verifier is for the operator: no limit on an address counts its tokens.
type unlimited struct{ *auth.Pooled }

// Verify implements [explain.Verifier].
func (v unlimited) Verify(t auth.Token) (*auth.Claims, error) { return v.Pooled.Verify(t, "") }
