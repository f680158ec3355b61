package auth

import (
	"github.com/ikornaselur/notiflux/internal/worker"
)

// Pooled is a Verifier that checks signatures on a worker pool. HTTP requests use it with
// the same pool as the tokens of sessions. However many requests bring new tokens, enough
// CPU time remains for the event loops. It is safe for concurrent use.
type Pooled struct {
	// Immutable after NewPooled.
	tokens  *Verifier
	workers *worker.Pool
}

// NewPooled returns a Pooled that calls v on workers.
func NewPooled(v *Verifier, workers *worker.Pool) *Pooled { return &Pooled{v, workers} }

// Anonymous is like [Verifier.Anonymous].
func (p *Pooled) Anonymous() *Claims { return p.tokens.Anonymous() }

// Recall is like [Verifier.Recall].
func (p *Pooled) Recall(token Token, remote string) (claims *Claims, known bool, err error) {
	return p.tokens.Recall(token, remote)
}

// Verify is like [Verifier.Start]. If the result is not known yet, it blocks until a
// worker has checked the token. It fails with OverCapacity if too many tokens are waiting,
// and with Unavailable if the workers stop first.
func (p *Pooled) Verify(token Token, remote string) (*Claims, error) {
	if claims, known, err := p.tokens.Recall(token, remote); known {
		return claims, err
	}
	return p.wait(token, remote)
}

func (p *Pooled) wait(token Token, remote string) (claims *Claims, err error) {
	done := make(chan struct{})
	undone := p.tokens.Start(p.workers, token, remote, func(c *Claims, e error) {
		claims, err = c, e
		close(done)
	})
	if undone != nil {
		return nil, undone
	}
	<-done
	return claims, err
}
