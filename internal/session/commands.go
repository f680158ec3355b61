package session

import (
	"context"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/broker"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// Verify verifies a token and calls then on the loop. A cached token is answered at once.
// For any other token a worker verifies the signature, perhaps after the keys of its issuer were loaded again, and the session is Busy until then
// is called. If the session ends first, then is not called.
func (s *Session) Verify(token auth.Token, then func(Credential)) {
	if claims, ok := s.group.config.Verifier.Cached(token); ok {
		if c := use(s, claims); !s.closing {
			then(c)
		}
		return
	}
	s.waiting = true
	err := s.group.config.Verifier.Start(s.group.config.VerifyWorkers, token, s.conn.Remote(), func(claims *auth.Claims, err error) {
		s.group.resume(s, func() {
			c := Credential{Err: err}
			if err == nil {
				c = use(s, claims)
			}
			if !s.closing {
				then(c)
			}
		})
	})
	if err != nil {
		s.waiting = false
		then(Credential{Err: err})
	}
}

// use returns the credential of a valid token for a command. If its user has reached a limit, the
// session ends.
func use(s *Session, claims *auth.Claims) Credential {
	err := s.group.revoked(claims, "")
	if ofUser := s.group.config.UserCommand; ofUser != nil && err == nil {
		var end End
		if end, err = ofUser(s.conn, claims); err != nil {
			s.End(end)
		}
	}
	return Credential{Claims: claims, Err: err}
}

// Publish publishes a message if c allows it, and calls then on the loop with its position
// or an error. The session is Busy until then is called. Publish logs and counts the
// outcome. If the session ends first, then is not called. The broker keeps the body.
func (s *Session) Publish(c Credential, p pubsub.Publication, then func(pubsub.Position, error)) {
	done := func(position pubsub.Position, err error) {
		s.group.config.Stats.Broadcasts.Count(err)
		if err == nil {
			logMessage(s, c.Claims, p.Topic, position)
		}
		then(position, err)
	}
	err := c.Err
	if err == nil {
		err = c.Claims.Allow(auth.Broadcast, p.Topic)
	}
	if err == nil {
		err = s.group.revoked(c.Claims, p.Topic)
	}
	if err != nil {
		done(pubsub.Position{}, err)
		return
	}
	p.Remote, p.Issuer, p.Subject = s.conn.Remote(), c.Claims.Issuer(), c.Claims.Subject
	ps := []pubsub.Publication{p}
	s.waiting = true
	outcome := func() { done(ps[0].Position, ps[0].Err) }
	if broker.Publish(s.group.config.Broker, s.group.config.Log, ps, func() { s.group.resume(s, outcome) }) {
		s.waiting = false
		outcome()
	}
}

// wait runs work on a worker and then calls then on the loop, with nil or with the reason
// why the work was not done. The session is Busy until then is called. If the session ends
// first, then is not called.
func (s *Session) wait(workers auth.Workers, work func(context.Context), then func(error)) {
	s.waiting = true
	done := func(undone error) { s.group.resume(s, func() { then(undone) }) }
	if err := workers.Do(work, done); err != nil {
		s.waiting = false
		then(err)
	}
}

// resume ends the wait of a session on the loop and calls then, unless the session has
// ended. It may be called on any goroutine.
func (g *Group) resume(s *Session, then func()) {
	s.conn.Post(func() {
		s.waiting = false
		if s.closing {
			return
		}
		then()
		g.runPostponed(s)
		s.conn.Resume()
		if s.pendingEnd != nil {
			s.conn.Dirty()
		}
	})
}
