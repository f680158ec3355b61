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

// tokenSourceTimeout bounds a call of Options.TokenSource. A service that works answers
// sooner.
const tokenSourceTimeout = 30 * time.Second

// A tokenCache holds the token that all parts of a client use. Safe for concurrent use.
type tokenCache struct {
	// Immutable.
	source   func(context.Context) (Token, error) // nil if the token never changes
	fetching chan struct{}                        // a semaphore of one: its holder calls source

	// Guarded by mu.
	mu         sync.Mutex
	token      Token
	generation uint64 // number of tokens before token
	stale      bool   // there is no token yet, or a server refused it
}

func newTokenCache(token Token, source func(context.Context) (Token, error)) *tokenCache {
	return &tokenCache{source: source, fetching: make(chan struct{}, 1), token: token, stale: source != nil}
}

// get returns the token and its generation. If the token is stale, get first waits for a
// new one from the source.
func (c *tokenCache) get(ctx context.Context) (Token, uint64, error) {
	if token, generation, ok := c.cached(); ok {
		return token, generation, nil
	}
	ctx, cancel := context.WithTimeout(ctx, tokenSourceTimeout)
	defer cancel()
	select {
	case c.fetching <- struct{}{}:
		defer func() { <-c.fetching }()
	case <-ctx.Done():
		return "", 0, &tokenError{ctx.Err()}
	}
	if token, generation, ok := c.cached(); ok {
		return token, generation, nil // another goroutine has fetched it
	}
	token, err := c.source(ctx)
	if err != nil {
		return "", 0, &tokenError{err}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.token, c.stale = token, false
	c.generation++
	return token, c.generation, nil
}

// cached returns the token and its generation. It reports false if the token is stale.
func (c *tokenCache) cached() (Token, uint64, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.token, c.generation, !c.stale
}

// invalidate marks the token of a generation as stale. It does nothing if the cache holds a
// newer token already.
func (c *tokenCache) invalidate(generation uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stale = c.stale || generation == c.generation
}

// A tokenError is the error of a token source.
type tokenError struct{ err error }

func (e *tokenError) Error() string { return "get a token: " + e.err.Error() }
func (e *tokenError) Unwrap() error { return e.err }
