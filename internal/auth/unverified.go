package auth

import (
	"time"

	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// Unverified is what a token says about itself. Nothing of it is checked against a key or the
// clock, so it is only for showing it to people.
type Unverified struct {
	Claims    *Claims
	Algorithm string    // alg of the header
	KeyID     string    // kid of the header; empty: absent
	NotBefore time.Time // the claim nbf; zero: absent
	Issuer    string    // the claim iss; empty: absent, or not a string
	Audiences []string  // the claim aud; empty: absent, or neither a string nor a list of strings
}

// DecodeUnverified decodes t as [Verifier.Verify] does, without verifying it. If Verify would
// refuse what the token says whatever signed it, DecodeUnverified returns the same error.
func DecodeUnverified(t Token) (Unverified, error) {
	if err := t.check(); err != nil {
		return Unverified{}, err
	}
	head, body, _ := t.parts()
	h, err := decodePart(head, decodeHeader)
	if err != nil {
		return Unverified{}, err
	}
	p, err := decodePart(body, decodePayload)
	if err != nil {
		return Unverified{}, err
	}
	return Unverified{&p.Claims, h.algorithm, h.keyID, p.notBefore, p.issuer, p.audiences}, nil
}

// Rights returns the topics and patterns that the token allows with a scope. The caller owns
// the slices.
func (c *Claims) Rights(scope Scope) (topics []pubsub.Topic, patterns []pubsub.Pattern) {
	if c.scopes&scope.bit() != 0 {
		topics = append(topics, c.topics...)
		if c.rare != nil {
			patterns = append(patterns, c.rare.patterns...)
		}
	}
	if c.rare != nil {
		r := c.rare.of(scope)
		topics, patterns = append(topics, r.topics...), append(patterns, r.patterns...)
	}
	all := rights{topics, patterns}
	all.normalize()
	return all.topics, all.patterns
}
