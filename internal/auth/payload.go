package auth

import (
	"slices"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/ikornaselur/notiflux/internal/pubsub"
)

const (
	maxSubjectBytes = 255
	maxTopics       = 1000    // of one token
	maxInfoBytes    = 1 << 10 // as compact JSON
)

// A payload is the second part of a token: the claims that the server keeps, and those that
// only verification needs.
type payload struct {
	Claims
	hasSubject          bool
	notBefore, issuedAt time.Time // zero: absent
}

// claimNames are the claims that have a meaning for this server or in every JWT.
var claimNames = []string{"exp", "nbf", "iat", "iss", "aud", "sub", "jti", "scope", "topic", "topics", "info", "until"}

// decodePayload decodes the claims of a token strictly. It checks neither the signature nor
// the times.
func decodePayload(data []byte) (*payload, error) {
	p := new(payload)
	err := decodeObject(data, claimNames, p.decodeClaim)
	switch {
	case err != nil:
		return nil, err
	case p.Expires.IsZero():
		return nil, invalid("the token has no exp: add the expiry time, in seconds since 1970")
	case !p.hasSubject:
		return nil, invalid("the token has no sub: add a string that names the user")
	case p.scopes == 0:
		return nil, invalid("the token has no scope: add subscribe, broadcast, or both separated by a space")
	case len(p.topics) == 0:
		return nil, invalid("the token has no topic: add topic (a string) or topics (a list of strings)")
	}
	slices.Sort(p.topics)
	p.topics = slices.Compact(p.topics)
	if len(p.topics) > maxTopics {
		return nil, invalid("the token has %d topics; the limit is %d", len(p.topics), maxTopics)
	}
	return p, nil
}

// optionalClaims may be null, which means absent: many encoders write null for a value that
// is not set.
var optionalClaims = []string{"nbf", "iat", "topic", "topics", "info", "until"}

func (p *payload) decodeClaim(m member) (err error) {
	if m.value.Kind() == jsontext.KindNull && slices.Contains(optionalClaims, m.name) {
		return nil
	}
	switch m.name {
	case "exp":
		p.Expires, err = m.date()
	case "nbf":
		p.notBefore, err = m.date()
	case "iat":
		p.issuedAt, err = m.date()
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
		}
	case "topic":
		var topic string
		if topic, err = m.text(); err == nil {
			err = p.addTopics(topic)
		}
	case "info":
		rare := p.ensureRare()
		rare.info, rare.infoErr = m.info()
	case "until":
		p.ensureRare().until, err = m.date()
	case "topics":
		var topics []string
		if topics, err = m.texts(); err == nil {
			err = p.addTopics(topics...)
		}
	}
	return err
}

func (p *payload) addTopics(names ...string) error {
	for _, name := range names {
		topic, err := pubsub.ParseTopic(name)
		if err != nil {
			return invalid("a topic in the token is invalid: %s", pubsub.Refusal(err).Detail)
		}
		p.topics = append(p.topics, topic)
	}
	return nil
}

// checkTime returns a *checkedError if the token has expired or is not valid yet.
func (p *payload) checkTime(now time.Time) error {
	switch {
	case !p.acceptedAt(now):
		return &checkedError{refusal: p.expired()}
	case now.Before(p.notBefore.Add(-Leeway)):
		return &checkedError{invalid("the token is not valid before %s", p.notBefore.UTC().Format(time.RFC3339)), p.validAt()}
	case now.Before(p.issuedAt.Add(-Leeway)):
		return &checkedError{invalid("the token was issued at %s, which is ahead of the server's clock", p.issuedAt.UTC().Format(time.RFC3339)), p.validAt()}
	}
	return nil
}

// validAt returns the time from which nbf and iat allow the token.
func (p *payload) validAt() time.Time {
	last := p.notBefore
	if p.issuedAt.After(last) {
		last = p.issuedAt
	}
	return last.Add(-Leeway)
}
