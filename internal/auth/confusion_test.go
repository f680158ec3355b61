package auth_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"hash"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// A public key is not a secret: no text that a confused verifier might use as the key of an HMAC
// makes a token.
func TestPublicKeysAreNoSecrets(t *testing.T) {
	issuer := newIssuer(t, 1)
	for kind, public := range map[string]any{"EC": issuer.key.Public(), "Ed25519": ed25519Key(1).Public(), "RSA": rsaKey().Public()} {
		block := publicPEM(t, public)
		spki := must(x509.MarshalPKIXPublicKey(public))
		decoded, _ := pem.Decode(block)
		secrets := [][]byte{
			nil, make([]byte, 32), block, []byte(strings.TrimSpace(string(block))), []byte(strings.ReplaceAll(string(block), "\n", "\r\n")),
			spki, decoded.Bytes, []byte(base64.StdEncoding.EncodeToString(spki)), []byte(base64.StdEncoding.EncodeToString(block)),
			[]byte(`{` + ecJWK(t, issuer.key.Public()) + `}`), must(issuer.key.PublicKey.Bytes()), rsaKey().N.Bytes(), []byte("secret"),
		}
		verifier := auth.New(auth.Config{Keys: parseKeys(t, public), Now: at(now)})
		for alg, newHash := range map[string]func() hash.Hash{"HS256": sha256.New, "HS384": sha512.New384, "HS512": sha512.New, "ES256": sha256.New, "RS256": sha256.New, "EdDSA": sha512.New, "none": sha256.New} {
			for _, secret := range secrets {
				mac := hmac.New(newHash, secret)
				mac.Write([]byte(inputWith(alg)))
				token := join(inputWith(alg), mac.Sum(nil))
				_, err := verifier.Verify(token)
				wantRefused(t, token, err, pubsub.TokenInvalid)
			}
			for _, signature := range []string{"", "AA"} {
				token := auth.Token(inputWith(alg) + "." + signature)
				_, err := verifier.Verify(token)
				wantRefused(t, token, err, pubsub.TokenInvalid)
			}
		}
		if _, err := verifier.Verify(auth.Token(b64(`{"alg":"none"}`) + "." + b64(goodPayload) + ".")); err == nil {
			t.Errorf("%s: a token without a signature is accepted", kind)
		}
	}
}

// No header makes the server use a key that it does not have: whoever signs with another key
// and names it, or the server's key, is refused.
func TestHeadersDoNotChooseKeys(t *testing.T) {
	ours, theirs := newIssuer(t, 1), newIssuer(t, 2)
	jwk := `{` + ecJWK(t, theirs.key.Public()) + `,"kid":"k"}`
	certificate := base64.StdEncoding.EncodeToString(must(x509.MarshalPKIXPublicKey(theirs.key.Public())))
	named, err := auth.ParseKeys([]byte(`{` + ecJWK(t, ours.key.Public()) + `,"kid":"ours"}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, keys := range []*auth.Keys{parseKeys(t, ours.key.Public()), named} {
		verifier := auth.New(auth.Config{Keys: keys, Now: at(now)})
		for _, members := range []string{
			``, `,"jwk":` + jwk, `,"jku":"https://example.com/jwks.json"`, `,"x5u":"https://example.com/cert.pem"`, `,"x5c":["` + certificate + `"]`,
			`,"x5t":"AA"`, `,"x5t#S256":"AA"`, `,"key":` + jwk, `,"keys":[` + jwk + `]`, `,"iss":"x"`,
			`,"kid":"ours"`, `,"kid":"k"`, `,"kid":"/dev/null"`, `,"kid":"../../../../dev/null"`, `,"kid":"' OR '1'='1"`, `,"kid":"ours\u0000"`,
			`,"kid":"OURS"`, `,"kid":"ours "`, `,"kid":"file:///etc/passwd"`, `,"kid":"https://example.com/key"`, `,"kid":"$(id)"`, `,"kid":"%s%n"`,
			`,"kid":` + fmt.Sprintf("%q", jwk), `,"kid":"` + strings.Repeat("k", 4000) + `"`,
		} {
			token := theirs.token(t, `{"alg":"ES256"`+members+`}`, goodPayload)
			_, err := verifier.Verify(token)
			wantRefused(t, token, err, pubsub.TokenInvalid)
		}
	}
}

// A JWK on P-256 must be a point on P-256, with both coordinates in full.
func TestECKeys(t *testing.T) {
	key := must(newIssuer(t, 1).key.PublicKey.Bytes())
	x, y := key[1:33], key[33:]
	p := p256.P.FillBytes(make([]byte, 32))
	jwk := func(kind, curve string, x, y []byte) string {
		return fmt.Sprintf(`{"kty":%q,"crv":%q,"x":%q,"y":%q}`, kind, curve, b64(string(x)), b64(string(y)))
	}
	changed := slices.Clone(y)
	changed[31] ^= 1
	small := pointAt(one)
	huge := new(big.Int).Add(small.x, p256.P) // the same x modulo p, if it fits
	if huge.BitLen() > 256 {
		t.Fatal("the smallest x has only one form of 32 bytes: this test needs two")
	}
	for keys, want := range map[string]string{
		jwk("EC", "P-256", x, y):                                  "",
		jwk("EC", "P-256", bytes32(small.x), bytes32(small.y)):    "",
		jwk("EC", "P-256", x, p256.P.FillBytes(make([]byte, 32))): "not a point on P-256",
		jwk("EC", "P-256", x, changed):                            "not a point on P-256",
		jwk("EC", "P-256", y, x):                                  "not a point on P-256",
		jwk("EC", "P-256", make([]byte, 32), make([]byte, 32)):    "not a point on P-256",
		jwk("EC", "P-256", p, p):                                  "not a point on P-256",
		jwk("EC", "P-256", bytes32(huge), bytes32(small.y)):       "not a point on P-256",
		jwk("EC", "P-256", x, nil):                                "32 bytes each",
		jwk("EC", "P-256", nil, nil):                              "32 bytes each",
		jwk("EC", "P-256", x[:31], y):                             "32 bytes each",
		jwk("EC", "P-256", append([]byte{0}, x...), y):            "32 bytes each",
		jwk("EC", "P-256", small.x.Bytes(), bytes32(small.y)):     "32 bytes each",
		jwk("EC", "P-256", key, y):                                "32 bytes each",
		jwk("EC", "P-384", x, y):                                  "a key on the curve P-384 cannot be used",
		jwk("EC", "secp256k1", x, y):                              "a key on the curve secp256k1 cannot be used",
		jwk("EC", "Ed25519", x, y):                                "a key on the curve Ed25519 cannot be used",
		jwk("EC", "p-256", x, y):                                  "a key on the curve p-256 cannot be used",
		jwk("EC", "", x, y):                                       "a key on the curve",
		jwk("RSA", "P-256", x, y):                                 "n and e of an RSA JWK",
		jwk("OKP", "P-256", x, y):                                 "the only supported OKP curve is Ed25519",
		jwk("ec", "P-256", x, y):                                  `kty "ec" cannot be used`,
	} {
		_, err := auth.ParseKeys([]byte(keys))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("ParseKeys(%s) = %v, want %q", keys, err, want)
		}
	}
}
