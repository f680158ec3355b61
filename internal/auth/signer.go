package auth

import (
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/golang-jwt/jwt/v5"

	"github.com/ikornaselur/notiflux/internal/keyfile"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// A Signer signs tokens. It is safe for concurrent use.
type Signer struct {
	method jwt.SigningMethod
	key    crypto.Signer
	public []byte // PEM
}

// GenerateKey returns a new key pair; see [keyfile.Generate].
func GenerateKey() (private, public []byte, err error) { return keyfile.Generate() }

// ParsePrivateKey parses one private key; see [keyfile.ParsePrivate].
func ParsePrivateKey(data []byte) (*Signer, error) {
	key, err := keyfile.ParsePrivate(data)
	if err != nil {
		return nil, err
	}
	methods, err := keyfile.Methods(key.Public())
	if err != nil {
		return nil, err
	}
	public, err := keyfile.PublicPEM(key.Public())
	if err != nil {
		return nil, err
	}
	return &Signer{method: methods[0], key: key, public: public}, nil
}

// PublicPEM returns the public key of s in PEM. The caller owns the slice.
func (s *Signer) PublicPEM() []byte { return slices.Clone(s.public) }

// A Grant is the contents of a token to be signed.
type Grant struct {
	Subject  string           // identifies the user; up to 255 bytes
	Scopes   []Scope          // at least one
	Topics   []pubsub.Topic   // at least one, or one of Patterns
	Patterns []pubsub.Pattern // also allowed
	Expires  time.Time        // required; truncated to seconds
	Until    time.Time        // when subscriptions made with the token end, truncated to seconds; zero: never
	Info     json.RawMessage  // a JSON object that other clients may see; nil for none

	ID     string    // identifies the token, so that it can be revoked; empty: none
	Issued time.Time // truncated to seconds; zero: the token does not say

	Issuer, Audience string // iss and aud, for servers that demand them; empty: none
}

// Sign returns a token for g. If no server would accept the token, Sign returns an error
// that says why. It does not compare times with the clock.
func (s *Signer) Sign(g Grant) (Token, error) {
	claims, err := g.claims()
	if err != nil {
		return "", err
	}
	signed, err := jwt.NewWithClaims(s.method, claims).SignedString(s.key)
	if err != nil {
		return "", fmt.Errorf("sign token: %w", err)
	}
	if len(signed) > maxTokenBytes {
		return "", fmt.Errorf("the token would have %d bytes; the limit is %d: name fewer topics", len(signed), maxTokenBytes)
	}
	return Token(signed), nil
}

func (g Grant) claims() (jwt.MapClaims, error) {
	words := make([]string, len(g.Scopes))
	for i, scope := range g.Scopes {
		if scope.bit() == 0 {
			return nil, fmt.Errorf("%q is not a scope: it must be %s or %s", string(scope), Subscribe, Broadcast)
		}
		words[i] = string(scope)
	}
	// The encoder would replace invalid UTF-8, and the token would grant something else.
	if !utf8.ValidString(g.Subject) {
		return nil, errors.New("the subject is not UTF-8")
	}
	if !utf8.ValidString(g.ID) {
		return nil, errors.New("the token's ID is not UTF-8")
	}
	if !utf8.ValidString(g.Issuer) || !utf8.ValidString(g.Audience) {
		return nil, errors.New("the issuer or the audience is not UTF-8")
	}
	for _, topic := range g.Topics {
		if _, err := pubsub.ParseTopic(string(topic)); err != nil {
			return nil, err
		}
	}
	for _, pattern := range g.Patterns {
		if _, err := pubsub.ParsePattern(string(pattern)); err != nil {
			return nil, err
		}
	}
	claims := jwt.MapClaims{"sub": g.Subject, "scope": strings.Join(words, " "), "exp": g.Expires.Unix()}
	if !g.Until.IsZero() {
		claims["until"] = g.Until.Unix()
	}
	if g.Info != nil {
		claims["info"] = g.Info
	}
	for name, text := range map[string]string{"jti": g.ID, "iss": g.Issuer, "aud": g.Audience} {
		if text != "" {
			claims[name] = text
		}
	}
	if !g.Issued.IsZero() {
		claims["iat"] = g.Issued.Unix()
	}
	switch len(g.Topics) {
	case 0: // refused below, unless there is a pattern
	case 1:
		claims["topic"] = g.Topics[0]
	default:
		claims["topics"] = g.Topics
	}
	if len(g.Patterns) > 0 {
		claims["patterns"] = g.Patterns
	}
	data, err := json.Marshal(claims)
	if err != nil {
		return nil, fmt.Errorf("encode claims: %w", err)
	}
	p, err := decodePayload(data) // the rules are only there
	if err != nil {
		return nil, err
	}
	if info, err := p.Info(); err != nil {
		return nil, err
	} else if g.Info != nil && info == nil {
		return nil, invalid("info in the token must be a JSON object")
	}
	return claims, nil
}
