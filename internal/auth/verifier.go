// Package auth verifies the tokens that clients send, and says what each token allows.
//
// A token is a JWT (RFC 7519). A [Verifier] checks, with the cheap checks first:
//
//  1. the token's form, byte by byte
//  2. the caches of verified and of refused tokens, by SHA-256 of the token
//  3. the header, the claims, and the form of the signature, all decoded strictly; iss says
//     whose keys may verify the token
//  4. the signature, with a key whose algorithms are fixed
//  5. the times: exp, nbf and iat
//
// A refusal is a [pubsub.Error] with TokenMissing if there is no token, TokenExpired if a
// correctly signed token has expired, and TokenInvalid otherwise.
//
// A signature check takes tens of microseconds, so event loops do not make it. They call
// [Verifier.Cached], and let a worker verify other tokens with [Verifier.Start]. HTTP handlers use a [Pooled],
// which waits for such a worker.
//
// Invariants:
//   - Only a token that a configured key signed yields [Claims]. A key with an issuer verifies
//     only its tokens.
//   - Cached claims are checked against the clock at each use.
//   - Memory is bounded, whatever clients send.
//   - The package neither stores nor prints tokens.
//   - If a token is refused after a signature check, its signature is not checked again for
//     a minute. That time is shorter if the token becomes valid earlier (nbf, iat).
//
// The package ignores unknown claims and scopes, because one token may serve several
// services. The server does not sign tokens: [Signer] is for the command line, dev mode and
// tests.
package auth

import (
	"encoding/base64"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// Leeway is the permitted difference between the clocks of the server and of a token's
// issuer. The server accepts a token from that long before nbf and iat until that long
// after exp.
const Leeway = 60 * time.Second

const defaultCacheSize = 65536

// Config configures a [Verifier]. The zero value refuses every token.
type Config struct {
	Keys     *Keys     // nil: none
	Issuer   string    // Keys verify only tokens with this iss; empty: any, but not that of Provider
	Audience string    // aud of tokens that Keys verify must contain it; empty: any
	Provider *Provider // whose keys verify its tokens; nil: none

	Public *Public          // what everyone may subscribe to; nil: nothing
	Now    func() time.Time // the wall clock, called concurrently; nil: time.Now

	// MaxLife limits the time from iat to exp, and makes iat required. Zero means no limit.
	MaxLife time.Duration

	Failures Failures // limits the tokens that are refused; nil: no limit

	// CacheSize is the number of verified tokens to cache. Zero means 65,536, negative
	// means none. A token with large claims counts as several tokens: one more for each 512
	// bytes of subject, topics and info.
	CacheSize int
}

// A Verifier verifies tokens. Its methods are safe for concurrent use.
type Verifier struct {
	// Immutable after New.
	now       func() time.Time
	public    *Public
	anonymous *Claims
	maxLife   time.Duration
	limit     failureLimit

	keys     atomic.Pointer[keyring]
	setting  sync.Mutex // held to replace keys
	cache    *cache
	failures failures

	// Stats.
	verified, refused, hits atomic.Uint64
}

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
	v := &Verifier{now: c.Now, public: c.Public, anonymous: c.Public.claims(), maxLife: c.MaxLife, limit: failureLimit{c.Failures}, cache: newCache(c.CacheSize)}
	v.keys.Store(newKeyring(unitsOf(c)...))
	return v
}

// Anonymous returns the claims of clients without a token, which allow them to subscribe to
// public topics. It returns nil if no topics are public.
func (v *Verifier) Anonymous() *Claims { return v.anonymous }

// Cached returns the claims of a token that is in the cache and has not expired. If it
// returns false, call [Verifier.Verify]. It neither checks a signature nor allocates, so
// event loops may call it.
func (v *Verifier) Cached(t Token) (*Claims, bool) {
	if t.check() != nil {
		return nil, false
	}
	claims := v.cached(t.digest())
	return claims, claims != nil
}

// Recall returns the result of [Verifier.Start] if it is known without decoding t, because
// the form of t is wrong, a cache holds the result, or too many tokens from the address
// remote were refused. Otherwise known is false.
func (v *Verifier) Recall(t Token, remote string) (claims *Claims, known bool, err error) {
	claims, _, err = v.recall(t)
	if claims == nil && t != "" {
		err = v.limit.apply(remote, err)
	}
	return claims, claims != nil || err != nil, err
}

// Verify returns the claims of t, or why the server refuses it: a [pubsub.Error] with
// TokenMissing, TokenInvalid or TokenExpired, whose text is safe to send to the client. On
// the caller's goroutine, it makes at most one signature check per key that may have signed
// t. If the keys of the token's issuer are not loaded, or may be older than the key of t, it
// does not wait for them, and returns Unavailable or OverCapacity.
func (v *Verifier) Verify(t Token) (*Claims, error) {
	claims, err := v.verify(t, v.keys.Load())
	if missing, ok := errors.AsType[*missingKeyError](err); ok {
		err = v.refuse(missing)
	}
	return claims, err
}

// verify is like Verify, but returns a *missingKeyError, which is not counted, if the key of t
// is not among those that were loaded.
func (v *Verifier) verify(t Token, keys *keyring) (*Claims, error) {
	claims, digest, err := v.recall(t)
	if claims != nil || err != nil {
		return claims, err
	}
	claims, err = v.verifyUncached(t, keys)
	if _, missing := errors.AsType[*missingKeyError](err); missing {
		return nil, err
	}
	if err != nil {
		v.refused.Add(1)
		if e, ok := errors.AsType[*checkedError](err); ok {
			v.failures.put(failureKey{digest, keys.generation}, e, v.now())
		}
		return nil, err
	}
	v.verified.Add(1)
	v.cache.put(digest, claims)
	return claims, nil
}

// recall returns the claims or the refusal of t, if known, and its digest.
func (v *Verifier) recall(t Token) (claims *Claims, d digest, err error) {
	if err = t.check(); err == nil {
		d = t.digest()
		if claims = v.cached(d); claims == nil {
			err = v.failures.get(failureKey{d, v.keys.Load().generation}, v.now())
		}
	}
	if err != nil {
		v.refused.Add(1)
	}
	return claims, d, err
}

func (v *Verifier) cached(d digest) *Claims {
	claims := v.cache.get(d, v.now())
	if claims == nil || !v.keys.Load().has(claims.key) {
		return nil
	}
	v.hits.Add(1)
	return claims
}

var errSignature = invalid("the signature of the token does not match any key of this server: sign the token with the private key of one of the server's keys")

// A checkedError refuses a token after a signature check.
type checkedError struct {
	refusal *pubsub.Error
	validAt time.Time // when the token may become valid; zero: never
}

func (e *checkedError) Error() string { return e.refusal.Error() }
func (e *checkedError) Unwrap() error { return e.refusal }

// CheckedSignature reports whether Verify made a signature check before it returned err. It
// is false if a cache held the refusal.
func CheckedSignature(err error) bool {
	_, ok := errors.AsType[*checkedError](err)
	return ok
}

// verifyUncached returns the claims of a token whose form is right.
func (v *Verifier) verifyUncached(t Token, all *keyring) (*Claims, error) {
	head, body, tail := t.parts()
	h, err := decodePart(head, decodeHeader)
	if err != nil {
		return nil, err
	}
	p, err := decodePart(body, decodePayload)
	if err != nil {
		return nil, err
	}
	unit, err := all.unitOf(p)
	if err != nil {
		return nil, err
	}
	keys, err := unit.find(h)
	if err != nil {
		return nil, err
	}
	signature, err := decodePart(tail, keys.checkForm)
	if err != nil {
		return nil, err
	}
	if err := p.checkLife(v.maxLife); err != nil {
		return nil, err
	}
	signed := t[:len(head)+len(".")+len(body)]
	key := keys.verify(string(signed), signature)
	if key == nil {
		return nil, &checkedError{refusal: errSignature}
	}
	if err := p.checkTime(v.now()); err != nil {
		return nil, err
	}
	claims := p.Claims // a copy, so that the rest of the payload can be freed
	claims.key, claims.public = key, v.public
	claims.setIdentity()
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

// Check returns nil if the token of c has not expired, and the key that verified it has not
// been withdrawn. Otherwise it returns a [pubsub.Error] with TokenExpired or TokenInvalid.
// Callers that keep claims call Check before each use.
func (v *Verifier) Check(c *Claims) error {
	switch {
	case !c.acceptedAt(v.now()):
		return c.expired()
	case !c.anonymous && !v.keys.Load().has(c.key):
		return errWithdrawn
	}
	return nil
}

var errWithdrawn = invalid("the key that signed the token was withdrawn: sign the token with a key that the server has now")

// Stats are the counters of a [Verifier] since New.
type Stats struct {
	Verified uint64 // accepted after a signature check
	Refused  uint64 // refused by Verify or Recall
	Hits     uint64 // accepted from the cache
}

func (v *Verifier) Stats() Stats {
	return Stats{Verified: v.verified.Load(), Refused: v.refused.Load(), Hits: v.hits.Load()}
}
