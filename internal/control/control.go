// Package control lets an operator act on connected clients: end what revoked tokens hold,
// disconnect clients, and end or begin their subscriptions.
//
// A [Control] knows the groups of sessions of all event loops, and the requests that wait for
// messages without a session. Each operation runs on every loop, in short turns, and returns
// when all of them are done. Nothing is remembered: an operation acts on the clients that are
// there. Only a revocation lasts, because sessions and requests ask for it again when they
// begin ([session.Config].Revoked, [Control.Begin]).
//
// The package does not know which tokens are revoked, or who may act.
package control

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/session"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// How sessions end. Both mean: connect again only with another token.
var (
	endRevoked      = session.End{CloseCode: wire.CloseRevoked, Reason: "the token was revoked: connect with another token", Code: pubsub.TokenRevoked}
	endDisconnected = session.End{CloseCode: wire.CloseRevoked, Reason: "disconnected by the operator: connect with another token", Code: pubsub.TokenRevoked}
)

var (
	errDisconnected = pubsub.Errorf(pubsub.TokenRevoked, "the operator has disconnected this client: ask for a new token")
	errUnsubscribed = pubsub.Errorf(pubsub.TokenRevoked, "the operator has ended the subscription to a topic of this request: ask for a new token")
)

// An Outcome counts what an operation changed.
type Outcome struct {
	Connections   int // that were closed; with Subscribe, that got subscriptions
	Subscriptions int // that ended; with Subscribe, that began
}

// work is about how many visits of a subscription take as long as one change.
const work = 32

// A Control acts on the clients of a server. It is safe for concurrent use.
type Control struct {
	// Immutable after New.
	groups  []*session.Group
	revoked session.Revoked

	mu       sync.Mutex
	requests map[*Request]struct{} // guarded by mu
}

// New returns a control of the sessions of these groups. revoked is the same as in their
// configuration; nil means that no token is revoked.
func New(groups []*session.Group, revoked session.Revoked) *Control {
	return &Control{groups: groups, revoked: revoked, requests: make(map[*Request]struct{})}
}

// Sweep ends every subscription and request whose token is revoked for one of its topics. A
// session ends too if one of its tokens is revoked as a whole and it has neither a subscription
// nor a connection's token left.
//
// Call it after the revocation is known to revoked and to the function of [New], so that
// clients that arrive meanwhile are refused.
func (c *Control) Sweep(ctx context.Context, revoked session.Revoked) (Outcome, error) {
	n := c.endRequests(func(r *Request) error { return check(revoked, r.claims, r.topics) })
	return c.each(ctx, n, func(g *session.Group, s *session.Session) Outcome { return sweep(g, s, revoked) })
}

// Disconnect closes the connections of which a token matches: that of the connection, or of a
// subscription.
func (c *Control) Disconnect(ctx context.Context, match func(*auth.Claims) bool) (Outcome, error) {
	n := c.endRequests(func(r *Request) error { return errorIf(match(r.claims), errDisconnected) })
	return c.each(ctx, n, func(g *session.Group, s *session.Session) Outcome {
		if matching(g, s, match) == nil {
			return Outcome{}
		}
		return end(g, s, endDisconnected)
	})
}

// DisconnectConnection closes the connection with a name.
func (c *Control) DisconnectConnection(ctx context.Context, name pubsub.Connection) (Outcome, error) {
	return c.each(ctx, 0, func(g *session.Group, s *session.Session) Outcome {
		if name == 0 || g.Connection(s) != name {
			return Outcome{}
		}
		return end(g, s, endDisconnected)
	})
}

// Unsubscribe ends the subscriptions to topics that were made with a token that matches, and
// requests for such a topic. Subscriptions to patterns, and requests for them, stay.
func (c *Control) Unsubscribe(ctx context.Context, match func(*auth.Claims) bool, topics func(pubsub.Topic) bool) (Outcome, error) {
	isIn := func(name pubsub.Topic) bool { return !name.IsPattern() && topics(name) }
	n := c.endRequests(func(r *Request) error {
		return errorIf(match(r.claims) && slices.ContainsFunc(r.topics, isIn), errUnsubscribed)
	})
	return c.each(ctx, n, func(g *session.Group, s *session.Session) Outcome {
		return unsubscribe(g, s, func(claims *auth.Claims, name pubsub.Topic) bool {
			return isUser(claims) && match(claims) && isIn(name)
		})
	})
}

// Subscribe subscribes the connections of which a token matches to topics, from now on,
// whatever the token allows. It leaves out streams, and topics to which a connection is
// subscribed. The subscriptions belong to the token that matches: they end when it is revoked,
// but not at its time `until`. If the broker has to attach the topics, Subscribe returns
// before they begin, and counts those that fail too.
func (c *Control) Subscribe(ctx context.Context, match func(*auth.Claims) bool, topics []pubsub.Topic) (Outcome, error) {
	return c.each(ctx, 0, func(g *session.Group, s *session.Session) Outcome {
		claims := matching(g, s, match)
		if claims == nil || g.IsStream(s) {
			return Outcome{}
		}
		o := Outcome{1, len(topics)}
		g.WhenFree(s, func() {
			n := g.Grant(s, claims, topics)
			o = Outcome{min(n, 1), n}
		})
		return o
	})
}

// each visits all sessions and returns the sum of the outcomes, to which it adds the number of
// requests that ended. If ctx ends before that, the operation continues, and each returns an
// error.
func (c *Control) each(ctx context.Context, requests int, visit func(*session.Group, *session.Session) Outcome) (Outcome, error) {
	outcomes := make(chan Outcome, len(c.groups))
	for _, g := range c.groups {
		var sum Outcome
		g.Each(func(s *session.Session) int {
			o := visit(g, s)
			sum.Connections += o.Connections
			sum.Subscriptions += o.Subscriptions
			return work * (o.Connections + o.Subscriptions)
		}, func() { outcomes <- sum })
	}
	total := Outcome{Connections: requests}
	for range c.groups {
		select {
		case o := <-outcomes:
			total.Connections += o.Connections
			total.Subscriptions += o.Subscriptions
		case <-ctx.Done():
			return total, fmt.Errorf("wait for the event loops: %w", context.Cause(ctx))
		}
	}
	return total, nil
}

// sweep ends what s holds by revoked tokens. While a command of s is in progress, which may
// bring another token, s does not end.
func sweep(g *session.Group, s *session.Session, revoked session.Revoked) (o Outcome) {
	isRevoked := func(claims *auth.Claims, name pubsub.Topic) bool {
		return isUser(claims) && revoked(claims, name) != nil
	}
	whole, some := false, false
	for claims, name := range g.Tokens(s) {
		whole, some = whole || isRevoked(claims, ""), some || isRevoked(claims, name)
	}
	if whole && !g.IsStream(s) {
		g.WhenFree(s, func() {
			for claims, name := range g.Tokens(s) {
				if !isRevoked(claims, name) {
					return
				}
			}
			o = end(g, s, endRevoked)
		})
	}
	if some && o.Connections == 0 {
		o = unsubscribe(g, s, isRevoked)
	}
	return o
}

// unsubscribe ends subscriptions of s, and a stream with its last one.
func unsubscribe(g *session.Group, s *session.Session, ended func(*auth.Claims, pubsub.Topic) bool) (o Outcome) {
	if o.Subscriptions = g.EndSubscriptions(s, ended); o.Subscriptions > 0 && g.IsStream(s) && len(s.Topics()) == 0 {
		o.Connections = 1
	}
	return o
}

func end(g *session.Group, s *session.Session, e session.End) Outcome {
	o := Outcome{Connections: 1, Subscriptions: len(s.Topics())}
	g.EndNow(s, e)
	return o
}

// matching returns the claims of a token of s that matches, or nil.
func matching(g *session.Group, s *session.Session, match func(*auth.Claims) bool) *auth.Claims {
	for claims := range g.Tokens(s) {
		if isUser(claims) && match(claims) {
			return claims
		}
	}
	return nil
}

// isUser reports whether claims are those of a token.
func isUser(claims *auth.Claims) bool { return claims.NeedUser() == nil }
