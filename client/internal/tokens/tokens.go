// Package tokens keeps the tokens of a client. A [Cache] asks its token source, a function
// of the application, when it lacks the token for a request. It has a general token for
// each scope, and further tokens for topics that the general one does not allow.
//
// The user of a cache reports when the server refuses a token. [Cache.Renew] says that the
// token is no longer valid, [Cache.Extend] that it does not allow certain topics; the cache
// then asks for another. The cache asks for one token at a time, and all callers that need
// that token wait for the same answer.
//
// The package does not look into tokens. It does not know when one expires until the server
// says so.
package tokens

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
)

// The scopes of a token.
const (
	Subscribe = "subscribe"
	Broadcast = "broadcast"
)

const (
	// sourceTimeout bounds a call of a source. A working service answers sooner.
	sourceTimeout = 30 * time.Second
	// closeTimeout is for how long Get waits for a source after its context has ended.
	closeTimeout = time.Second
	// maxSpecial bounds for how many topics the cache keeps a special token.
	maxSpecial = 10_000
)

// A Request says what a token is needed for.
type Request struct {
	Scope   string   // Subscribe or Broadcast
	Topics  []string // at least one, or the name of a pattern
	Refused string   // the code with which the server refused the last token; empty: none
}

// patternPrefix begins the names of patterns. No topic begins with it.
const patternPrefix = "\x01"

// Pattern returns the name of a pattern in the place of a topic.
func Pattern(p string) string { return patternPrefix + p }

// Split returns the topics and the patterns that r is about.
func (r Request) Split() (topics, patterns []string) {
	for _, name := range r.Topics {
		if p, ok := strings.CutPrefix(name, patternPrefix); ok {
			patterns = append(patterns, p)
		} else {
			topics = append(topics, name)
		}
	}
	return topics, patterns
}

// A Source returns a token. It should return soon after its context ends. It must not call
// Get of the cache that calls it.
type Source func(context.Context, Request) (string, error)

// A Cache holds the tokens of one source, or a fixed token. It is safe for concurrent use.
type Cache struct {
	// Immutable.
	token    string        // if source is nil
	err      error         // what is wrong with token; nil: nothing
	source   Source        // nil: the token is fixed
	fetching chan struct{} // a semaphore of one: its holder calls source

	// Guarded by mu.
	mu      sync.Mutex
	general map[string]*grant     // by scope
	special map[topicScope]*grant // for topics that the general token does not allow
}

type topicScope struct{ topic, scope string }

// A grant is a token for one scope, and for the topics that share it.
type grant struct {
	token   string
	valid   bool   // the server may accept token
	refused string // the code with which it refused the last one
}

// New returns a cache with a source or, if source is nil, with a fixed token.
func New(token string, source Source) *Cache {
	return &Cache{
		token: token, err: Check(token), source: source, fetching: make(chan struct{}, 1),
		general: map[string]*grant{Subscribe: {}, Broadcast: {}},
		special: map[topicScope]*grant{},
	}
}

// Check returns an error if a token has a byte that no JWT has, and which would not fit into
// an HTTP header. The error does not contain the token.
func Check(token string) error {
	for at := range len(token) {
		if c := token[at]; c <= ' ' || c >= 0x7f {
			return fmt.Errorf("the token has the byte 0x%02x at index %d of %d; a JWT has only letters, digits, '-', '_' and '.'", c, at, len(token))
		}
	}
	return nil
}

// Err returns what is wrong with the fixed token of the cache, as Check does.
func (t *Cache) Err() error { return t.err }

// HasSource reports whether the cache can get another token.
func (t *Cache) HasSource() bool { return t.source != nil }

// Equal reports whether t and other always return the same token.
func (t *Cache) Equal(other *Cache) bool {
	return t == other || !t.HasSource() && !other.HasSource() && t.token == other.token
}

func (t *Cache) grantLocked(scope, topic string) *grant {
	if g := t.special[topicScope{topic, scope}]; g != nil {
		return g
	}
	return t.general[scope]
}

// Cached returns the token for a topic. It reports false if Get has to ask the source first.
func (t *Cache) Cached(scope, topic string) (string, bool) {
	if t.source == nil {
		return t.token, true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	g := t.grantLocked(scope, topic)
	return g.token, g.valid
}

// asking is the key of the context of a source: the cache that asks it.
type asking struct{ *Cache }

// errItself is the error of a source that needs a token of its own cache.
var errItself = errors.New("the token source called its own client, which has no token yet; use another client in the token source")

// Get returns the token for the first of topics. If the cache does not have it, Get asks the
// source, and names those of the topics that share the token. It blocks until the source
// returns, for up to 30 s or until ctx ends; then the source has one more second. The error
// is an [*Error].
func (t *Cache) Get(ctx context.Context, scope string, topics []string) (string, error) {
	if t.err != nil {
		return "", &Error{t.err}
	}
	if token, ok := t.Cached(scope, topics[0]); ok {
		return token, nil
	}
	if ctx.Value(asking{t}) != nil {
		return "", &Error{errItself}
	}
	ctx, cancel := context.WithTimeout(ctx, sourceTimeout)
	defer cancel()
	select {
	case t.fetching <- struct{}{}:
	case <-ctx.Done():
		return "", &Error{context.Cause(ctx)}
	}
	answers := make(chan answer, 1)
	go func() {
		defer func() { <-t.fetching }()
		token, err := t.fetch(ctx, scope, topics)
		if err != nil {
			err = &Error{err}
		}
		answers <- answer{token, err}
	}()
	select {
	case a := <-answers:
		return a.token, a.err
	case <-ctx.Done():
	}
	select {
	case a := <-answers:
		return a.token, a.err
	case <-time.After(closeTimeout): // the source may be waiting for what ended ctx
		return "", &Error{context.Cause(ctx)}
	}
}

// An answer is what fetch returns.
type answer struct {
	token string
	err   error
}

// fetch asks the source for a token. The caller holds t.fetching.
func (t *Cache) fetch(ctx context.Context, scope string, topics []string) (string, error) {
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
	token, err := t.source(context.WithValue(ctx, asking{t}, true), r)
	if err == nil {
		err = Check(token)
	}
	if err != nil {
		return "", err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	g.token, g.valid, g.refused = token, true, ""
	return token, nil
}

// Renew makes Get ask the source again, after the server refused a token with a code. It does
// nothing if the cache has another token already.
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

// Extend makes Get ask the source for a special token for topics, after the server denied them
// with a code.
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

// A Denial collects topics that need a token of their own, because the server denied them at the
// same time. The zero value has none.
type Denial struct {
	tokens *Cache
	topics []string
	code   string
}

// Add adds a topic that the server denied with a code. All topics have the same cache.
func (d *Denial) Add(t *Cache, topic, code string) {
	d.tokens, d.topics, d.code = t, append(d.topics, topic), code
}

// Extend is [Cache.Extend] for the topics, if there are any.
func (d *Denial) Extend(scope string) {
	if len(d.topics) > 0 {
		d.tokens.Extend(scope, d.topics, d.code)
	}
}

// An Error is an error of the source, or that ctx ended before the source returned.
type Error struct{ err error }

// Error returns the text of the error of the source.
func (e *Error) Error() string { return "get a token: " + e.err.Error() }

// Unwrap returns the error of the source.
func (e *Error) Unwrap() error { return e.err }
