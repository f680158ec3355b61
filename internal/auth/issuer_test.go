package auth_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// now is the time of the tests: 2026-01-02T03:04:05Z.
const now = 1767323045

// Parts of tokens that are valid for an hour after now.
const (
	goodHeader  = `{"alg":"ES256","typ":"JWT"}`
	goodMembers = `"sub":"u","scope":"subscribe broadcast","topic":"a"`
	goodPayload = `{` + goodMembers + `,"exp":1767326645}`
	goodExpiry  = 1767326645
)

func at(seconds int64) func() time.Time {
	return func() time.Time { return time.Unix(seconds, 0) }
}

// An issuer signs any header and payload, valid or not, with a P-256 key.
type issuer struct {
	key *ecdsa.PrivateKey
}

// newIssuer returns an issuer whose key depends only on number, because a fuzzing run
// consists of many processes.
func newIssuer(t testing.TB, number byte) issuer {
	t.Helper()
	raw := sha256.Sum256([]byte{number})
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), raw[:])
	if err != nil {
		t.Fatal(err)
	}
	return issuer{key}
}

// verifier returns a verifier with the public key of the issuer.
func (i issuer) verifier(t testing.TB, config auth.Config) *auth.Verifier {
	t.Helper()
	config.Keys = parseKeys(t, i.key.Public())
	if config.Now == nil {
		config.Now = at(now)
	}
	return auth.New(config)
}

// token returns a signed token with this header and payload.
func (i issuer) token(t testing.TB, header, payload string) auth.Token {
	t.Helper()
	input := b64(header) + "." + b64(payload)
	return join(input, i.sign(t, input))
}

// sign returns an ES256 signature: r and s of 32 bytes each. It is deterministic (RFC
// 6979), so that a fuzzing run takes the same path for the same input.
func (i issuer) sign(t testing.TB, input string) []byte {
	t.Helper()
	hash := sha256.Sum256([]byte(input))
	der, err := i.key.Sign(nil, hash[:], crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	var number struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(der, &number); err != nil {
		t.Fatal(err)
	}
	signature := make([]byte, 64)
	number.R.FillBytes(signature[:32])
	number.S.FillBytes(signature[32:])
	return signature
}

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

func join(input string, signature []byte) auth.Token {
	return auth.Token(input + "." + base64.RawURLEncoding.EncodeToString(signature))
}

func ed25519Key(number byte) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte{number})
	return ed25519.NewKeyFromSeed(seed[:])
}

func publicPEM(t testing.TB, key crypto.PublicKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

func privatePEM(t testing.TB, key crypto.PrivateKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func parseKeys(t testing.TB, public ...crypto.PublicKey) *auth.Keys {
	t.Helper()
	var data []byte
	for _, key := range public {
		data = append(data, publicPEM(t, key)...)
	}
	keys, err := auth.ParseKeys(data)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// wantRefused checks that err has this code, and reveals neither the token nor a library's
// error.
func wantRefused(t *testing.T, token auth.Token, err error, code pubsub.Code) {
	t.Helper()
	if err == nil {
		t.Fatalf("Verify accepted the token, want %s", code)
	}
	refusal := pubsub.Refusal(err)
	if refusal.Code != code || refusal.Err != nil {
		t.Errorf("Verify = %s (%q, wrapped %v), want %s", refusal.Code, refusal.Detail, refusal.Err, code)
	}
	for part := range strings.SplitSeq(string(token), ".") {
		if len(part) > 8 && strings.Contains(err.Error(), part) {
			t.Errorf("Verify's error %q shows a part of the token", err)
		}
	}
}
