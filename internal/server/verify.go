package server

import (
	"context"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/session"
	"github.com/ikornaselur/notiflux/internal/worker"
)

// A verifier judges the tokens of requests on the workers that judge those of
// sessions: however many requests bring new tokens, the event loops keep their
// processors. Safe for concurrent use.
type verifier struct {
	tokens  *auth.Verifier
	workers *worker.Pool
}

// Verify waits for a worker, unless the token was verified before.
func (v verifier) Verify(token auth.Token) (*auth.Claims, error) {
	if claims, ok := v.tokens.Cached(token); ok {
		return claims, nil
	}
	return v.wait(token)
}

func (v verifier) wait(token auth.Token) (claims *auth.Claims, err error) {
	done := make(chan error, 1)
	check := func(context.Context) { claims, err = v.tokens.Verify(token) }
	if err := session.Submit(v.workers, check, func(undone error) { done <- undone }); err != nil {
		return nil, err
	}
	if undone := <-done; undone != nil {
		return nil, undone
	}
	return claims, err
}
