// Package auth decides whom to believe: it holds the public keys, verifies the
// tokens that clients bring, and says what they allow.
//
// A token is a JWT (RFC 7519). It is judged in this order, cheap checks before
// expensive ones: its form, byte by byte; whether it was verified before (a cache
// by SHA-256 of the token); its header and its claims, decoded strictly; its
// signature, by a key whose algorithm is pinned; the clock. Everything that is
// wrong with a token is a [notiflux.Error] with the code TokenInvalid, but
// TokenMissing for none and TokenExpired for one that was right once.
//
// A check of a signature takes tens of microseconds, so event loops do not make
// them: they ask [Verifier.Cached], and have the token verified elsewhere if need be.
// HTTP handlers call [Verifier.Verify] on their own goroutine.
//
// Invariants: only what a configured key signed becomes [Claims]; what is
// cached was verified, and is checked against the clock at each hit; memory is
// bounded, whatever strangers send; a token is neither kept nor printed. A token that
// was refused after a check of its signature is refused without one for a minute, or
// until nbf and iat may have come.
//
// Scope words other than subscribe and broadcast are ignored, as are claims
// that mean nothing here: one token may serve several services.
//
// The package never signs for the server: [Signer] is for the command line, the
// dev mode and tests.
package auth

import (
	"encoding/base64"
	"errors"
	"sync/atomic"
	"time"

	"github.com/ikornaselur/notiflux"
)

// Leeway is how far the clocks of a token's issuer and of the server may be
// apart: a token is accepted that long before nbf and iat, and after exp.
const Leeway = 60 * time.Second

const defaultCacheSize = 65536

// Config is what a [Verifier] works with. The zero value refuses every token.
type Config struct {
	Keys *Keys            // nil: no key, so that every token is refused
	Now  func() time.Time // the wall clock; nil: time.Now. Called concurrently

	// CacheSize is how many verified tokens are remembered, the ones used
	// last; zero: 65,536, negative: none. A token with much in it counts as
	// several: one for each 512 bytes of subject and topics.
	CacheSize int
}

// A Verifier verifies tokens. Its methods are safe for concurrent use.
type Verifier struct {
	// Immutable after New.
	keys *Keys
	now  func() time.Time

	cache    *cache
	failures failures

	// Stats.
	verified, refused, hits atomic.Uint64
}

// New returns a Verifier.
func New(c Config) *Verifier {
	if c.Keys == nil {
		c.Keys = new(Keys)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.CacheSize == 0 {
		c.CacheSize = defaultCacheSize
	}
	return &Verifier{keys: c.Keys, now: c.Now, cache: newCache(c.CacheSize)}
}

// Cached returns the claims of a token that was verified before and is still
// accepted. It never checks a signature and does not allocate: an event loop
// may call it. Without an answer, [Verifier.Verify] has to judge the token.
func (v *Verifier) Cached(t Token) (*Claims, bool) {
	if t.check() != nil {
		return nil, false
	}
	return v.cached(v.cacheKey(t))
}

// Recall returns what Verify would, if that takes no check of a signature: because
// the token has a wrong form, was verified before, or was refused a short while ago.
// known is false if it takes one, or the token has to be decoded to find out.
func (v *Verifier) Recall(t Token) (claims *Claims, known bool, err error) {
	if err = t.check(); err == nil {
		claims, known, err = v.recall(v.cacheKey(t))
	}
	if err != nil {
		v.refused.Add(1)
		known = true
	}
	return claims, known, err
}

func (v *Verifier) recall(k cacheKey) (claims *Claims, known bool, err error) {
	if claims, ok := v.cached(k); ok {
		return claims, true, nil
	}
	if err := v.failures.get(k, v.now()); err != nil {
		return nil, true, err
	}
	return nil, false, nil
}

func (v *Verifier) cached(k cacheKey) (*Claims, bool) {
	claims := v.cache.get(k, v.now())
	if claims == nil {
		return nil, false
	}
	v.hits.Add(1)
	return claims, true
}

func (v *Verifier) cacheKey(t Token) cacheKey { return cacheKey{t.digest(), v.keys.generation} }

// Verify returns the claims of t when it is what the server accepts, else a
// [notiflux.Error] with TokenMissing, TokenInvalid or TokenExpired, fit for
// strangers. It takes one check of a signature, at worst one for each key.
func (v *Verifier) Verify(t Token) (*Claims, error) {
	claims, err := v.verify(t)
	if err != nil {
		v.refused.Add(1)
	}
	return claims, err
}

func (v *Verifier) verify(t Token) (*Claims, error) {
	if err := t.check(); err != nil {
		return nil, err
	}
	k := v.cacheKey(t)
	if claims, known, err := v.recall(k); known {
		return claims, err
	}
	claims, err := v.verifyUncached(t)
	if e, ok := errors.AsType[*checkedError](err); ok {
		v.failures.put(k, e, v.now())
	}
	if err != nil {
		return nil, err
	}
	v.verified.Add(1)
	v.cache.put(k, claims)
	return claims, nil
}

// errSignature refuses a token that no key of the server has signed.
var errSignature = invalid("the signature of the token fits no key of this server")

// A checkedError is a refusal that followed a check of the signature.
type checkedError struct {
	refusal *notiflux.Error
	validAt time.Time // when the token may be accepted; zero: never
}

func (e *checkedError) Error() string { return e.refusal.Error() }
func (e *checkedError) Unwrap() error { return e.refusal }

// CostSignature reports whether Verify checked the signature of the token that it
// refused with err. It is false for a refusal that was remembered.
func CostSignature(err error) bool {
	_, ok := errors.AsType[*checkedError](err)
	return ok
}

// verifyUncached returns the claims of a token whose form was checked.
func (v *Verifier) verifyUncached(t Token) (*Claims, error) {
	head, body, tail := t.parts()
	h, err := decodePart(head, decodeHeader)
	if err != nil {
		return nil, err
	}
	keys, err := v.keys.match(h)
	if err != nil {
		return nil, err
	}
	signature, err := decodePart(tail, keys.checkForm)
	if err != nil {
		return nil, err
	}
	p, err := decodePart(body, decodePayload)
	if err != nil {
		return nil, err
	}
	if signed := t[:len(head)+len(".")+len(body)]; !keys.verify(string(signed), signature) {
		return nil, &checkedError{refusal: errSignature}
	}
	if err := p.checkTime(v.now()); err != nil {
		return nil, err
	}
	claims := p.Claims // a copy, so that the rest of the payload can be freed
	return &claims, nil
}

func decodePart[T any](part string, decode func([]byte) (T, error)) (T, error) {
	data, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		var zero T
		return zero, errTokenForm
	}
	return decode(data)
}

// Check returns nil when claims that were verified before still hold, else a
// [notiflux.Error] with TokenExpired: for who keeps them over several commands.
func (v *Verifier) Check(c *Claims) error {
	if !c.liveAt(v.now()) {
		return c.expired()
	}
	return nil
}

// Stats are the counters of a [Verifier] since it was made.
type Stats struct {
	Verified uint64 // tokens accepted after a check of their signature
	Refused  uint64 // tokens refused
	Hits     uint64 // tokens accepted because they were verified before
}

// Stats returns the counters.
func (v *Verifier) Stats() Stats {
	return Stats{Verified: v.verified.Load(), Refused: v.refused.Load(), Hits: v.hits.Load()}
}
