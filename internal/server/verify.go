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

// Recall answers at once, if it can: see [auth.Verifier.Recall].
func (v verifier) Recall(token auth.Token) (claims *auth.Claims, known bool, err error) {
	return v.tokens.Recall(token)
}

// Verify waits for a worker, unless the token is known.
func (v verifier) Verify(token auth.Token) (*auth.Claims, error) {
	if claims, known, err := v.tokens.Recall(token); known {
		return claims, err
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
