package auth

import (
	"slices"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

const (
	maxSubjectBytes = 255
	maxInfoBytes    = 1 << 10 // as compact JSON
)

// A payload is the second part of a token: the claims that the server keeps, and those that
// only verification needs.
type payload struct {
	Claims
	every     rights    // with all of the token's scopes
	issuer    string    // iss; empty if it is absent or not a string
	audiences []string  // aud; empty if it is absent or has another type
	notBefore time.Time // zero: absent

	hasExpiry, hasSubject, hasScope bool // the claim is present, and a scope not empty
}

// claimNames are the claims that have a meaning for this server or in every JWT.
var claimNames = []string{"exp", "nbf", "iat", "iss", "aud", "sub", "jti", "scope", "topic", "topics", "patterns", "subscribe", "broadcast", "info", "until"}

// decodePayload decodes the claims of a token strictly. It checks neither the signature nor
// the times.
func decodePayload(data []byte) (*payload, error) {
	p := new(payload)
	err := decodeObject(data, claimNames, p.decodeClaim)
	switch {
	case err != nil:
		return nil, err
	case !p.hasExpiry:
		return nil, invalid("the token has no exp: add the expiry time, in seconds since 1970")
	case !p.hasSubject:
		return nil, invalid("the token has no sub: add a string that names the user")
	}
	return p, p.setRights()
}

// setRights gives the claims the rights that were decoded, and checks them.
func (p *payload) setRights() error {
	if len(p.every.patterns) > 0 {
		p.ensureRare()
	}
	all := []*rights{&p.every}
	if p.rare != nil {
		all = append(all, &p.rare.subscribe, &p.rare.broadcast)
	}
	topics, patterns := 0, 0
	for _, r := range all {
		patterns += len(r.patterns) // also those that others contain
		r.normalize()
		topics += len(r.topics)
	}
	switch {
	case p.scopes == 0 && p.hasScope && !p.every.isEmpty():
		return invalid("scope in the token has neither subscribe nor broadcast: add one of them, or both separated by a space")
	case p.scopes == 0 && !p.hasScope && (!p.every.isEmpty() || topics+patterns == 0):
		return invalid("the token has no scope: add subscribe, broadcast, or both separated by a space")
	case topics+patterns == 0:
		return invalid("the token allows no topic: add topic (a string), or topics or patterns (lists of strings)")
	case topics > maxTopics:
		return invalid("the token has %d topics; the limit is %d", topics, maxTopics)
	case patterns > maxPatterns:
		return invalid("the token has %d patterns; the limit is %d", patterns, maxPatterns)
	}
	p.topics = p.every.topics
	if p.rare == nil {
		return nil
	}
	p.rare.patterns = p.every.patterns
	if p.scopes&Subscribe.bit() != 0 && p.every.patterns.All() || p.rare.subscribe.patterns.All() {
		return invalid("the pattern * in the token would allow subscribing to every topic, which is not permitted: use * only in the claim `broadcast`, or in a token whose only scope is broadcast")
	}
	return nil
}

// optionalClaims may be null, which means absent: many encoders write null for a value that
// is not set.
var optionalClaims = []string{"nbf", "iat", "jti", "topic", "topics", "patterns", "subscribe", "broadcast", "info", "until"}

func (p *payload) decodeClaim(m member) (err error) {
	if m.value.Kind() == jsontext.KindNull && slices.Contains(optionalClaims, m.name) {
		return nil
	}
	switch m.name {
	case "exp":
		p.hasExpiry = true
		p.expires, err = m.instant()
	case "nbf":
		p.notBefore, err = m.date()
	case "iat":
		p.issuedAt, err = m.instant()
	case "iss": // Units decide whether they need it.
		p.issuer, _ = m.text()
	case "aud":
		p.audiences = m.audiences()
	case "jti":
		p.id, err = m.id()
	case "sub":
		p.hasSubject = true
		if p.Subject, err = m.text(); len(p.Subject) > maxSubjectBytes {
			err = invalid("sub in the token has %d bytes; the limit is %d", len(p.Subject), maxSubjectBytes)
		}
	case "scope":
		var words []string
		words, err = m.words()
		for _, word := range words {
			p.scopes |= Scope(word).bit()
			p.hasScope = p.hasScope || word != ""
		}
	case "topic":
		var topic string
		if topic, err = m.text(); err == nil {
			err = invalidTopic(p.every.addTopics(topic))
		}
	case "info":
		rare := p.ensureRare()
		rare.info, rare.infoErr = m.info()
	case "until":
		p.ensureRare().until, err = m.date()
	case "topics":
		err = m.topics(&p.every)
	case "patterns":
		err = m.patterns(&p.every)
	case "subscribe":
		p.ensureRare().subscribe, err = m.rights()
	case "broadcast":
		p.ensureRare().broadcast, err = m.rights()
	}
	return err
}

// checkTime returns a *checkedError if the token has expired or is not valid yet.
func (p *payload) checkTime(now time.Time) error {
	switch {
	case !p.acceptedAt(now):
		return &checkedError{refusal: p.expired()}
	case now.Before(p.notBefore.Add(-Leeway)):
		return &checkedError{invalid("the token is not valid before %s", p.notBefore.UTC().Format(time.RFC3339)), p.validAt()}
	case now.Before(p.IssuedAt().Add(-Leeway)):
		return &checkedError{invalid("the token was issued at %s, which is ahead of the server's clock", p.IssuedAt().UTC().Format(time.RFC3339)), p.validAt()}
	}
	return nil
}

// checkLife returns an error if the token is valid for longer than most; zero means no limit.
func (p *payload) checkLife(most time.Duration) error {
	switch {
	case most == 0:
		return nil
	case p.issuedAt == 0:
		return invalid("the token has no iat, which this server requires: add the time of issue, in seconds since 1970")
	case p.Expires().Sub(p.IssuedAt()) > most:
		return invalid("the token is valid for %v, from iat to exp; this server accepts at most %v", p.Expires().Sub(p.IssuedAt()), most)
	}
	return nil
}

// validAt returns the time from which nbf and iat allow the token.
func (p *payload) validAt() time.Time {
	last := p.notBefore
	if issued := p.IssuedAt(); issued.After(last) {
		last = issued
	}
	return last.Add(-Leeway)
}
