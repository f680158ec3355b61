package auth

import (
	"slices"

	"github.com/golang-jwt/jwt/v5"

	"github.com/ikornaselur/notiflux"
)

const (
	maxSubjectBytes = 255
	maxTopics       = 1000    // in one token
	maxInfoBytes    = 1 << 10 // as compact JSON
)

// A payload is the second part of a token: the claims that are kept, and those
// that are judged once.
type payload struct {
	Claims
	notBefore *jwt.NumericDate // nil: none
	issuedAt  *jwt.NumericDate // nil: none
}

// claimNames are the claims that have a meaning, here or in JWTs at large.
var claimNames = []string{"exp", "nbf", "iat", "iss", "aud", "sub", "jti", "scope", "topic", "topics", "info", "until"}

// decodePayload judges the shape of the claims. Whether their time has come,
// and whether they are signed, is not looked at.
func decodePayload(data []byte) (*payload, error) {
	p := new(payload)
	has := make(map[string]bool, len(claimNames))
	err := decodeObject(data, claimNames, func(o object, name string) error {
		has[name] = true
		return p.decodeClaim(o, name)
	})
	switch {
	case err != nil:
		return nil, err
	case !has["exp"]:
		return nil, invalid("the token has no exp: every token needs one, in seconds since 1970")
	case !has["sub"]:
		return nil, invalid("the token has no sub: every token needs one, a string that says who")
	case p.scopes == 0:
		return nil, invalid("the token has no scope: it must hold subscribe, broadcast, or both with a space between them")
	case len(p.topics) == 0:
		return nil, invalid("the token has no topic: it must have topic, a string, or topics, a list of strings")
	}
	slices.Sort(p.topics)
	p.topics = slices.Compact(p.topics)
	if len(p.topics) > maxTopics {
		return nil, invalid("the token has %d topics, the limit is %d", len(p.topics), maxTopics)
	}
	return p, nil
}

// optionalClaims mean the same when they are null and when they are not there: many
// encoders write null for what is not set.
var optionalClaims = []string{"nbf", "iat", "topic", "topics", "info", "until"}

func (p *payload) decodeClaim(o object, name string) (err error) {
	if o.isNull() && slices.Contains(optionalClaims, name) {
		return o.skip()
	}
	switch name {
	case "exp":
		p.Expires, err = o.date(name)
	case "nbf":
		p.notBefore, err = numericDate(o, name)
	case "iat":
		p.issuedAt, err = numericDate(o, name)
	case "sub":
		if p.Subject, err = o.text(name); len(p.Subject) > maxSubjectBytes {
			err = invalid("sub in the token has %d bytes, the limit is %d", len(p.Subject), maxSubjectBytes)
		}
	case "scope":
		var words []string
		words, err = o.words(name)
		for _, word := range words {
			p.scopes |= Scope(word).bit()
		}
	case "topic":
		var topic string
		if topic, err = o.text(name); err == nil {
			err = p.addTopics(topic)
		}
	case "info":
		rare := p.ensureRare()
		rare.info, rare.infoErr, err = o.info()
	case "until":
		p.ensureRare().until, err = o.date(name)
	case "topics":
		var topics []string
		if topics, err = o.texts(name); err == nil {
			err = p.addTopics(topics...)
		}
	default:
		err = o.skip()
	}
	return err
}

func numericDate(o object, name string) (*jwt.NumericDate, error) {
	t, err := o.date(name)
	return &jwt.NumericDate{Time: t}, err
}

func (p *payload) addTopics(names ...string) error {
	for _, name := range names {
		topic, err := notiflux.ParseTopic(name)
		if err != nil {
			return invalid("a topic in the token is refused: %s", notiflux.Refusal(err).Detail)
		}
		p.topics = append(p.topics, topic)
	}
	return nil
}

// UnmarshalJSON does nothing. It keeps the JWT library from decoding over what
// [decodePayload] read, more strictly than encoding/json would.
func (p *payload) UnmarshalJSON([]byte) error { return nil }

// The methods below are [jwt.Claims]: what the library judges by the clock.

func (p *payload) GetExpirationTime() (*jwt.NumericDate, error) {
	return &jwt.NumericDate{Time: p.Expires}, nil
}
func (p *payload) GetNotBefore() (*jwt.NumericDate, error) { return p.notBefore, nil }
func (p *payload) GetIssuedAt() (*jwt.NumericDate, error)  { return p.issuedAt, nil }
func (p *payload) GetSubject() (string, error)             { return p.Subject, nil }
func (p *payload) GetIssuer() (string, error)              { return "", nil }
func (p *payload) GetAudience() (jwt.ClaimStrings, error)  { return nil, nil }
