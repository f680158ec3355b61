package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/golang-jwt/jwt/v5"

	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// GenerateKey returns a new P-256 key pair in PEM. The private key has the form that
// `openssl ecparam -name prime256v1 -genkey -noout` writes (RFC 5915), the public key that
// of `openssl ec -pubout`.
func GenerateKey() (private, public []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("generate key: %w", err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, nil, fmt.Errorf("encode private key: %w", err)
	}
	private = pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
	public, err = publicPEM(key.Public())
	return private, public, err
}

func publicPEM(key crypto.PublicKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode public key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), nil
}

// A Signer signs tokens. It is safe for concurrent use.
type Signer struct {
	method jwt.SigningMethod
	key    crypto.Signer
	public []byte // PEM
}

// ParsePrivateKey parses one private key in PEM: EC PRIVATE KEY (SEC 1, with or without EC
// PARAMETERS before it) or PRIVATE KEY (PKCS #8), of the kinds that [ParseKeys] supports.
// For anything else it returns an error that says what would be right.
func ParsePrivateKey(data []byte) (*Signer, error) {
	if err := mistake(data); err != nil {
		return nil, err
	}
	blocks, err := pemBlocks(data)
	if err != nil {
		return nil, err
	}
	if len(blocks) > 1 {
		return nil, fmt.Errorf("the file holds %d keys: use one private key", len(blocks))
	}
	key, err := parsePrivateKey(blocks[0])
	if err != nil {
		return nil, err
	}
	methods, err := methodsOf(key.Public())
	if err != nil {
		return nil, err
	}
	public, err := publicPEM(key.Public())
	if err != nil {
		return nil, err
	}
	return &Signer{method: methods[0], key: key, public: public}, nil
}

func parsePrivateKey(b *pem.Block) (crypto.Signer, error) {
	var key any
	var err error
	switch {
	case b.Type == "ENCRYPTED PRIVATE KEY" || b.Headers["DEK-Info"] != "":
		return nil, errors.New("this private key is encrypted: use an unencrypted one, as `openssl pkcs8 -topk8 -nocrypt` writes it")
	case b.Type == "PUBLIC KEY":
		return nil, errors.New("this is a public key: signing needs the matching private key")
	case b.Type == "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(b.Bytes)
	case b.Type == "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(b.Bytes)
	case b.Type == "RSA PRIVATE KEY":
		return nil, fmt.Errorf("this is a PEM block of type %q: a private RSA key has type PRIVATE KEY, as `openssl pkcs8 -topk8 -nocrypt -in key.pem` writes it", b.Type)
	default:
		return nil, fmt.Errorf("this is a PEM block of type %q: a private key has type EC PRIVATE KEY or PRIVATE KEY; %s", b.Type, rightKey)
	}
	switch {
	case err != nil && strings.HasSuffix(err.Error(), "unknown elliptic curve"): // crypto/x509 exports no error for this
		return nil, errPrivateCurve
	case err != nil:
		return nil, fmt.Errorf("parse private key: this PEM block holds no readable private key; %s", rightKey)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("a key of this kind (%T) cannot sign; %s", key, rightKey)
	}
	return signer, nil
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
