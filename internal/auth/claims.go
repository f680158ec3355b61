package auth

import (
	"slices"
	"time"

	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// A Scope names an action that a token allows.
type Scope string

// The scopes.
const (
	Subscribe Scope = "subscribe" // receive messages, live and stored
	Broadcast Scope = "broadcast" // publish messages
)

// bit returns the set that contains only s, or 0 if the server does not know s.
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

// Claims are the contents of a verified token: who its user is, what it allows, and until
// when. They are immutable. All clients with the same token share them.
type Claims struct {
	Subject string // the claim sub, any text of up to 255 bytes

	expires   instant        // the claim exp
	issuedAt  instant        // the claim iat; 0: absent
	id        *string        // the claim jti; nil: absent
	scopes    scopeSet       // of topics and rare.patterns
	anonymous bool           // the client has no token
	key       *key           // verified the token; nil: the client has no token
	topics    []pubsub.Topic // sorted, without duplicates
	rare      *rareClaims    // nil if the token has none of them
	public    *Public        // not in the token
}

// An instant is a time in microseconds since 1970. Claims hold times in this form to save
// memory.
type instant int64

func instantOf(t time.Time) instant { return instant(t.UnixMicro()) }

func (i instant) time() time.Time { return time.UnixMicro(int64(i)) }

// rareClaims are claims that few tokens have. They are a separate struct to save memory,
// because the server keeps the claims of every client.
type rareClaims struct {
	until    time.Time       // zero: absent
	info     []byte          // compact JSON; nil: absent or invalid
	infoErr  error           // why info is invalid
	patterns pubsub.Patterns // with all of the token's scopes

	subscribe, broadcast rights // with one scope, in addition

	identity *Claims // see Claims.Identity; nil: the claims are small
}

// ensureRare returns c.rare, and creates it if necessary.
func (c *Claims) ensureRare() *rareClaims {
	if c.rare == nil {
		c.rare = new(rareClaims)
	}
	return c.rare
}

// of returns the rights with only this scope.
func (r *rareClaims) of(scope Scope) *rights {
	if scope == Subscribe {
		return &r.subscribe
	}
	return &r.broadcast
}

// Expires returns the claim exp. The server accepts the token until [Leeway] after it.
func (c *Claims) Expires() time.Time { return c.expires.time() }

// IssuedAt returns the claim iat, or the zero time if the token has none.
func (c *Claims) IssuedAt() time.Time {
	if c.issuedAt == 0 {
		return time.Time{}
	}
	return c.issuedAt.time()
}

// ID returns the claim jti, or its JSON if it is not a string. It is empty if the token has none.
func (c *Claims) ID() string {
	if c.id == nil {
		return ""
	}
	return *c.id
}

// KeyID returns the kid of the key that verified the token. It is empty if that key has none,
// such as a key from PEM, or if the client has no token.
func (c *Claims) KeyID() string {
	if c.key == nil {
		return ""
	}
	return c.key.id
}

// Issuer returns the issuer whose key verified the token. A user is identified by the issuer
// and the subject. It is empty if the server has the key without an issuer, whatever the claim
// iss says, or if the client has no token.
func (c *Claims) Issuer() string {
	if c.key == nil {
		return ""
	}
	return c.key.issuer
}

// PatternUser returns what identifies the user who subscribes to a pattern topic, or nothing if name
// is another topic or the client has no token.
func (c *Claims) PatternUser(name pubsub.Topic) string {
	if c.anonymous || !name.IsPattern() {
		return ""
	}
	return c.Issuer() + "\n" + c.Subject
}

// maxKeptBytes is the size of claims above which a subscription keeps only a part of them.
const maxKeptBytes = 512

// setIdentity sets what Identity returns, once the other fields are set.
func (c *Claims) setIdentity() {
	if c.bytes() > maxKeptBytes {
		c.ensureRare().identity = &Claims{Subject: c.Subject, expires: c.expires, issuedAt: c.issuedAt, id: c.id, key: c.key}
	}
}

// Identity returns claims of the same token for what lasts longer than the token, such as a
// subscription. They allow nothing, so they are small even if the token has many topics.
// All users of c get the same.
func (c *Claims) Identity() *Claims {
	if c.rare == nil || c.rare.identity == nil {
		return c
	}
	return c.rare.identity
}

// Allow returns nil if the token allows scope on topic, or if the topic is public and scope is
// Subscribe. Otherwise it returns a [pubsub.Error] with ScopeDenied, TopicDenied or, for a
// client without a token, TokenMissing. It compares topics byte by byte, and does not check
// times. For the topic of a pattern, it must allow, or must be public, all that the pattern matches.
func (c *Claims) Allow(scope Scope, topic pubsub.Topic) error {
	if p, ok := topic.Pattern(); ok {
		return c.allowPattern(scope, p)
	}
	switch {
	case scope == Subscribe && c.public.Allow(topic):
		return nil
	case c.anonymous:
		return errTokenMissing
	}
	if !c.Has(scope) {
		return pubsub.Errorf(pubsub.ScopeDenied, "the token does not have the scope %s", string(scope))
	}
	every := c.scopes&scope.bit() != 0
	if _, ok := slices.BinarySearch(c.topics, topic); ok && every {
		return nil
	}
	if c.rare != nil && (every && c.rare.patterns.Match(topic) || c.rare.of(scope).allow(topic)) {
		return nil
	}
	if c.hasOnlyTopics() {
		return pubsub.Errorf(pubsub.TopicDenied, "the token does not allow this topic: its claim `topic` or `topics` must contain exactly this name")
	}
	return pubsub.Errorf(pubsub.TopicDenied, "the token does not allow this topic: one of its lists of topics must contain exactly this name, or one of its patterns must be a beginning of it followed by *")
}

// hasOnlyTopics reports whether the token allows nothing beside the names in topic and topics.
func (c *Claims) hasOnlyTopics() bool {
	r := c.rare
	return r == nil || len(r.patterns) == 0 && r.subscribe.isEmpty() && r.broadcast.isEmpty()
}

// IsPublic reports whether everyone may subscribe to topic.
func (c *Claims) IsPublic(topic pubsub.Topic) bool { return c.public.Allow(topic) }

// Has reports whether the token has scope, on any topic.
func (c *Claims) Has(scope Scope) bool {
	return c.scopes&scope.bit() != 0 || c.rare != nil && !c.rare.of(scope).isEmpty()
}

// NeedUser returns a [pubsub.Error] with TokenMissing if the client has no token, so that its
// user is not known. Members of a topic are users, and only users may see them.
func (c *Claims) NeedUser() error {
	if c.anonymous {
		return errMembersToken
	}
	return nil
}

// Info returns the claim info as compact JSON: an object that other clients may see. It
// returns nil if the token has none. If the claim is not an object, or is longer than 1
// KiB, Info returns a [pubsub.Error] with TokenInvalid; if the client has no token, with
// TokenMissing. The caller must not change the slice.
func (c *Claims) Info() ([]byte, error) {
	if err := c.NeedUser(); err != nil {
		return nil, err
	}
	if c.rare == nil {
		return nil, nil
	}
	return c.rare.info, c.rare.infoErr
}

// Until returns the claim until: the time at which subscriptions made with the token end.
// It is zero if the token has none.
func (c *Claims) Until() time.Time {
	if c.rare == nil {
		return time.Time{}
	}
	return c.rare.until
}

// CheckUntil returns nil if the token has no claim until, or if now is before it. Otherwise
// the token allows no more subscriptions, and CheckUntil returns a [pubsub.Error] with
// TokenExpired.
func (c *Claims) CheckUntil(now time.Time) error {
	until := c.Until()
	if until.IsZero() || now.Before(until) {
		return nil
	}
	return pubsub.Errorf(pubsub.TokenExpired, "the token allows subscriptions only until %s", until.UTC().Format(time.RFC3339))
}

// acceptedAt reports whether the claim exp still allows the token.
func (c *Claims) acceptedAt(now time.Time) bool { return now.Before(c.Expires().Add(Leeway)) }

func (c *Claims) expired() *pubsub.Error {
	return pubsub.Errorf(pubsub.TokenExpired, "the token expired at %s", c.Expires().UTC().Format(time.RFC3339))
}

// bytes returns the approximate memory that the variable part of the claims takes.
func (c *Claims) bytes() int {
	const perRare, perClaims = 192, 96 // a rareClaims; Claims
	n := len(c.Subject) + bytesOf(c.topics)
	if c.id != nil {
		n += 16 + len(*c.id)
	}
	if r := c.rare; r != nil {
		if r.identity != nil {
			n += perClaims
		}
		n += perRare + len(r.info) + bytesOf(r.patterns) + r.subscribe.bytes() + r.broadcast.bytes()
	}
	return n
}
