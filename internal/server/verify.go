package server

import (
	"context"
	"errors"

	"github.com/ikornaselur/notiflux"
	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/worker"
)

// A verifier judges the tokens of requests on the workers that judge those of
// sessions: however many requests bring new tokens, the event loops keep their
// processors. Safe for concurrent use.
type verifier struct {
	tokens  *auth.Verifier
	workers *worker.Pool
}

var errNotVerified = errors.New("server: the check of a token panicked")

// Verify waits for a worker, unless the token was verified before.
func (v verifier) Verify(token auth.Token) (*auth.Claims, error) {
	if claims, ok := v.tokens.Cached(token); ok {
		return claims, nil
	}
	return v.wait(token)
}

func (v verifier) wait(token auth.Token) (claims *auth.Claims, err error) {
	done := make(chan struct{})
	ok := v.workers.Submit(func(ctx context.Context) {
		defer close(done) // Also if it panics.
		err = errNotVerified
		if ctx.Err() != nil {
			err = notiflux.Errorf(notiflux.Unavailable, "the server is shutting down: connect again")
			return
		}
		claims, err = v.tokens.Verify(token)
	})
	if !ok {
		return nil, notiflux.Errorf(notiflux.OverCapacity, "the server has too much to do: try again later")
	}
	<-done
	return claims, err
}
