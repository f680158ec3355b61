package client

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"
)

const redacted = "REDACTED"

// A Token is what a server is shown: a JWT. It prints as REDACTED, whatever the
// verb and the logger, and in JSON; string(t) is the token itself.
type Token string

// String returns REDACTED.
func (Token) String() string { return redacted }

// Format writes REDACTED, for every verb.
func (Token) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue returns REDACTED.
func (Token) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns REDACTED, for what a token is a part of and is logged as JSON.
func (Token) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// sourceTimeout is how long a token may take: longer than a service needs that
// means to answer.
const sourceTimeout = 30 * time.Second

// A purse keeps the token that all parts of a client show.
type purse struct {
	// Immutable.
	source func(context.Context) (Token, error) // nil: the token never changes
	asking chan struct{}                        // has room for one: whoever put something in asks the source

	// Guarded by mu.
	mu         sync.Mutex
	token      Token
	generation uint64 // of token: how many there were before it
	stale      bool   // there is none yet, or it was refused
}

func newPurse(token Token, source func(context.Context) (Token, error)) *purse {
	return &purse{source: source, asking: make(chan struct{}, 1), token: token, stale: source != nil}
}

// take returns the token and its generation. One that was refused is replaced
// before: take waits for the source then.
func (p *purse) take(ctx context.Context) (Token, uint64, error) {
	if token, generation, ok := p.look(); ok {
		return token, generation, nil
	}
	ctx, cancel := context.WithTimeout(ctx, sourceTimeout)
	defer cancel()
	select {
	case p.asking <- struct{}{}:
		defer func() { <-p.asking }()
	case <-ctx.Done():
		return "", 0, &tokenError{ctx.Err()}
	}
	if token, generation, ok := p.look(); ok {
		return token, generation, nil // another has asked meanwhile
	}
	token, err := p.source(ctx)
	if err != nil {
		return "", 0, &tokenError{err}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.token, p.stale = token, false
	p.generation++
	return token, p.generation, nil
}

// look returns the token and its generation; false: it is to be replaced.
func (p *purse) look() (Token, uint64, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.token, p.generation, !p.stale
}

// refuse says that the token of a generation was refused. Others may have said so
// before, and it is another by now.
func (p *purse) refuse(generation uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stale = p.stale || generation == p.generation
}

// A tokenError is why there is no token.
type tokenError struct{ err error }

func (e *tokenError) Error() string { return "get a token: " + e.err.Error() }
func (e *tokenError) Unwrap() error { return e.err }
