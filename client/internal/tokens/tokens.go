// Package tokens keeps the tokens that a client shows to a server. They come from a source
// that is asked when one is needed and when the server has refused the last one. There is a
// general token for each scope, and another for topics that the general one does not allow.
package tokens

import (
	"context"
	"sync"
	"time"
)

// The scopes of a token.
const (
	Subscribe = "subscribe"
	Broadcast = "broadcast"
)

const (
	// sourceTimeout bounds a call of a source. A service that works answers sooner.
	sourceTimeout = 30 * time.Second
	// maxSpecial bounds for how many topics a token of their own is kept.
	maxSpecial = 10_000
)

// A Request says what a token is for.
type Request struct {
	Scope   string
	Topics  []string
	Refused string // code with which the server refused the last token; empty: it did not
}

// A Source returns tokens.
type Source func(context.Context, Request) (string, error)

// A Cache holds the tokens of one source. It is safe for concurrent use.
type Cache struct {
	// Immutable.
	token    string // if source is nil
	source   Source
	fetching chan struct{} // a semaphore of one: its holder calls source

	// Guarded by mu.
	mu      sync.Mutex
	general map[string]*grant     // by scope
	special map[topicScope]*grant // of topics that a general token does not allow
}

type topicScope struct{ topic, scope string }

// A grant is a token of the source, for one scope and the topics that share it.
type grant struct {
	token   string
	valid   bool
	refused string // code with which the server refused the last token
}

// New returns a cache of what source gives or, if source is nil, of token.
func New(token string, source Source) *Cache {
	return &Cache{
		token: token, source: source, fetching: make(chan struct{}, 1),
		general: map[string]*grant{Subscribe: {}, Broadcast: {}},
		special: map[topicScope]*grant{},
	}
}

// Equal reports whether t and other always give the same token.
func (t *Cache) Equal(other *Cache) bool {
	return t == other || !t.HasSource() && !other.HasSource() && t.token == other.token
}

func (t *Cache) grantLocked(scope, topic string) *grant {
	if g := t.special[topicScope{topic, scope}]; g != nil {
		return g
	}
	return t.general[scope]
}

// Cached returns the token for a topic; false: Get has to ask the source for it.
func (t *Cache) Cached(scope, topic string) (string, bool) {
	if t.source == nil {
		return t.token, true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	g := t.grantLocked(scope, topic)
	return g.token, g.valid
}

// Get returns the token for the first of topics. If it has none it asks the source,
// and names those of the topics that will have the same.
func (t *Cache) Get(ctx context.Context, scope string, topics []string) (string, error) {
	if token, ok := t.Cached(scope, topics[0]); ok {
		return token, nil
	}
	ctx, cancel := context.WithTimeout(ctx, sourceTimeout)
	defer cancel()
	select {
	case t.fetching <- struct{}{}:
		defer func() { <-t.fetching }()
	case <-ctx.Done():
		return "", &Error{context.Cause(ctx)}
	}
	r := Request{Scope: scope}
	t.mu.Lock()
	g := t.grantLocked(scope, topics[0])
	for _, topic := range topics {
		if t.grantLocked(scope, topic) == g {
			r.Topics = append(r.Topics, topic)
		}
	}
	token, valid := g.token, g.valid // another goroutine may have asked meanwhile
	r.Refused = g.refused
	t.mu.Unlock()
	if valid {
		return token, nil
	}
	token, err := t.source(ctx, r)
	if err != nil {
		return "", &Error{err}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	g.token, g.valid, g.refused = token, true, ""
	return token, nil
}

// Renew has Get ask the source again, in place of a token that the server refused.
func (t *Cache) Renew(scope, token, code string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	drop := func(g *grant) {
		if g.valid && g.token == token {
			g.valid, g.refused = false, code
		}
	}
	drop(t.general[scope])
	for of, g := range t.special {
		if of.scope == scope {
			drop(g)
		}
	}
}

// Extend has Get ask the source for a token of their own for topics that the server
// denied.
func (t *Cache) Extend(scope string, topics []string, code string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.special)+len(topics) > maxSpecial {
		clear(t.special)
	}
	g := &grant{refused: code}
	for _, topic := range topics {
		t.special[topicScope{topic, scope}] = g
	}
}

// A Error is the error of a token source.
type Error struct{ err error }

func (e *Error) Error() string { return "get a token: " + e.err.Error() }
func (e *Error) Unwrap() error { return e.err }

// HasSource reports whether another token can be asked for.
func (t *Cache) HasSource() bool { return t.source != nil }
