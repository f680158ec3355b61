package auth

import (
	"context"

	"github.com/ikornaselur/notiflux/internal/worker"
)

// Pooled is a Verifier that checks signatures on the workers of a pool. Requests over
// HTTP use it with the workers that check the tokens of sessions: however many
// requests bring new tokens, the event loops keep their processors. Make one with
// NewPooled. Safe for concurrent use.
type Pooled struct {
	// Immutable after NewPooled.
	tokens  *Verifier
	workers *worker.Pool
}

// NewPooled returns v with its checks done by workers.
func NewPooled(v *Verifier, workers *worker.Pool) *Pooled { return &Pooled{v, workers} }

// Recall is [Verifier.Recall].
func (p *Pooled) Recall(token Token) (claims *Claims, known bool, err error) {
	return p.tokens.Recall(token)
}

// Verify is [Verifier.Verify], and blocks until a worker has checked the token, unless
// it is known. It fails with OverCapacity if too many tokens wait already, and with
// Unavailable if the workers stop before its turn.
func (p *Pooled) Verify(token Token) (*Claims, error) {
	if claims, known, err := p.tokens.Recall(token); known {
		return claims, err
	}
	return p.wait(token)
}

func (p *Pooled) wait(token Token) (claims *Claims, err error) {
	done := make(chan error, 1)
	check := func(context.Context) { claims, err = p.tokens.Verify(token) }
	if err := worker.Do(p.workers, check, func(undone error) { done <- undone }); err != nil {
		return nil, err
	}
	if undone := <-done; undone != nil {
		return nil, undone
	}
	return claims, err
}
