package auth

import (
	"slices"
	"time"

	"github.com/ikornaselur/notiflux"
)

// A Scope is a word for what a token allows.
type Scope string

// The scopes.
const (
	Subscribe Scope = "subscribe" // to be given messages, live and earlier ones
	Broadcast Scope = "broadcast" // to publish
)

// bit returns the place of s in a set of scopes, or 0 for a word that is no scope.
func (s Scope) bit() scopeSet {
	switch s {
	case Subscribe:
		return 1
	case Broadcast:
		return 2
	}
	return 0
}

type scopeSet uint8

// Claims are what a verified token says: who has it, and what it allows until
// when. They are immutable, and shared by all who bring the same token.
type Claims struct {
	Subject string    // up to 255 bytes of any text
	Expires time.Time // the claim exp; the token is accepted for [Leeway] longer

	scopes scopeSet
	topics []notiflux.Topic // sorted, so that Allow is quick with many
	rare   *rareClaims      // nil: the token has none of them
}

// rareClaims are apart because the claims of all clients are kept, and few have these.
type rareClaims struct {
	until   time.Time // zero: not there
	info    []byte    // compact; nil: not there
	infoErr error     // why info cannot be shown
}

// ensureRare returns where a rare claim is written to.
func (c *Claims) ensureRare() *rareClaims {
	if c.rare == nil {
		c.rare = new(rareClaims)
	}
	return c.rare
}

// Allow returns nil when the token allows scope on topic, which is compared
// byte by byte; else an [notiflux.Error] with ScopeDenied or TopicDenied. It
// does not look at the clock.
func (c *Claims) Allow(scope Scope, topic notiflux.Topic) error {
	if !c.Has(scope) {
		return notiflux.Errorf(notiflux.ScopeDenied, "the token does not have the scope %s", string(scope))
	}
	if _, ok := slices.BinarySearch(c.topics, topic); !ok {
		return notiflux.Errorf(notiflux.TopicDenied, "the token does not name this topic, letter for letter, in topic or topics")
	}
	return nil
}

// Has reports whether the token has scope, for whatever topics.
func (c *Claims) Has(scope Scope) bool { return c.scopes&scope.bit() != 0 }

// Info returns the claim info, a JSON object that others may see, compact; nil if
// there is none. It is a [notiflux.Error] with TokenInvalid when the claim is
// anything else, or longer than 1 KiB. The caller must not change it.
func (c *Claims) Info() ([]byte, error) {
	if c.rare == nil {
		return nil, nil
	}
	return c.rare.info, c.rare.infoErr
}

// Until returns the claim until, when subscriptions made with the token end; the
// zero time if they do not.
func (c *Claims) Until() time.Time {
	if c.rare == nil {
		return time.Time{}
	}
	return c.rare.until
}

// Ended returns nil until the time of the claim until; from then on a
// [notiflux.Error] with TokenExpired: no subscription is made with the token.
func (c *Claims) Ended(now time.Time) error {
	until := c.Until()
	if until.IsZero() || now.Before(until) {
		return nil
	}
	return notiflux.Errorf(notiflux.TokenExpired, "subscriptions with this token ended at %s", until.UTC().Format(time.RFC3339))
}

// liveAt reports whether the token is still accepted at this time.
func (c *Claims) liveAt(now time.Time) bool { return now.Before(c.Expires.Add(Leeway)) }

func (c *Claims) expired() *notiflux.Error {
	return notiflux.Errorf(notiflux.TokenExpired, "the token expired at %s", c.Expires.UTC().Format(time.RFC3339))
}

// bytes returns about how much memory the claims take.
func (c *Claims) bytes() int {
	const (
		perTopic = 16 // the header of a string
		perRare  = 64 // a rareClaims
	)
	n := len(c.Subject)
	if c.rare != nil {
		n += perRare + len(c.rare.info)
	}
	for _, t := range c.topics {
		n += perTopic + len(t)
	}
	return n
}
