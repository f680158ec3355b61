package auth_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"math/big"
	"strings"
	"testing"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// ecJWK returns the members of a public JWK on P-256.
func ecJWK(t testing.TB, public crypto.PublicKey) string {
	t.Helper()
	point, err := public.(*ecdsa.PublicKey).Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf(`"kty":"EC","crv":"P-256","x":%q,"y":%q`, b64(string(point[1:33])), b64(string(point[33:])))
}

// jwkOf returns a public JWK.
func jwkOf(t testing.TB, public crypto.PublicKey) string {
	t.Helper()
	switch public := public.(type) {
	case ed25519.PublicKey:
		return ed25519JWK(public)
	case *rsa.PublicKey:
		return `{"kty":"RSA","n":"` + b64(string(public.N.Bytes())) + `","e":"AQAB"}`
	}
	return `{` + ecJWK(t, public) + `}`
}

func verifierOf(t testing.TB, keys string) *auth.Verifier {
	t.Helper()
	parsed, err := auth.ParseKeys([]byte(keys))
	if err != nil {
		t.Fatalf("ParseKeys(%s) = %v", keys, err)
	}
	return auth.New(auth.Config{Keys: parsed, Now: at(now)})
}

// A key with a kid verifies tokens with the same kid or none. A key without a kid verifies
// all tokens.
func TestKeysMatchTheirKid(t *testing.T) {
	one, two := newIssuer(t, 1), newIssuer(t, 2)
	named := func(issuer issuer, name string) string {
		if name != "" {
			name = `,"kid":"` + name + `"`
		}
		return `{` + ecJWK(t, issuer.key.Public()) + name + `}`
	}
	set := func(keys ...string) string { return `{"keys":[` + strings.Join(keys, ",") + `]}` }
	for _, c := range []struct {
		keys   string
		signer issuer
		kid    string
		ok     bool
	}{
		{string(publicPEM(t, one.key.Public())), one, "", true},
		{string(publicPEM(t, one.key.Public())), one, "any", true},
		{string(publicPEM(t, one.key.Public())), two, "any", false},
		{named(one, ""), one, "any", true},
		{named(one, "1"), one, "1", true},
		{named(one, "1"), one, "", true},
		{named(one, "1"), one, "2", false},
		{named(one, "1"), one, "1 ", false},
		{set(named(one, "1"), named(two, "2")), one, "1", true},
		{set(named(one, "1"), named(two, "2")), two, "2", true},
		{set(named(one, "1"), named(two, "2")), two, "1", false},
		{set(named(one, "1"), named(two, "2")), two, "", true},
		{set(named(one, "1"), named(two, "")), two, "1", true},
		{set(named(one, "1"), named(two, "")), two, "3", true},
		{set(named(one, "1"), named(two, "")), one, "3", false},
		{set(named(one, "1"), named(two, "1")), two, "1", true}, // while one key replaces the other
		{" \n" + set(named(one, "1")), one, "1", true},
	} {
		header := `{"alg":"ES256","kid":"` + c.kid + `"}`
		if c.kid == "" {
			header = goodHeader
		}
		token := c.signer.token(t, header, goodPayload)
		_, err := verifierOf(t, c.keys).Verify(token)
		if c.ok && err != nil {
			t.Errorf("keys %s, kid %q: Verify = %v, want nil", c.keys, c.kid, err)
		}
		if !c.ok {
			wantRefused(t, token, err, pubsub.TokenInvalid)
		}
	}
	_, err := verifierOf(t, named(one, "1")).Verify(one.token(t, `{"alg":"ES256","kid":"2"}`, goodPayload))
	if want := "kid in the token does not name a key of this server: use the kid of the server's key, or omit kid"; err == nil || err.Error() != want {
		t.Errorf("Verify = %v, want %s", err, want)
	}
}

// The error names what is wrong: kid or alg.
func TestKidOfAKeyForAnotherAlg(t *testing.T) {
	verifier, _ := fuzzVerifier(t)
	for header, want := range map[string]string{
		`{"alg":"RS256","kid":"ec"}`: "kid in the token names a key for another alg: use the kid of the key that signed the token, or omit kid",
		`{"alg":"HS256","kid":"ec"}`: "the server has no key for the token's alg; it accepts ",
	} {
		token := newIssuer(t, 1).token(t, header, goodPayload)
		_, err := verifier.Verify(token)
		wantRefused(t, token, err, pubsub.TokenInvalid)
		if !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v, want %q", header, err, want)
		}
	}
}

func TestJWKsOfEachKind(t *testing.T) {
	issuer, edKey := newIssuer(t, 1), ed25519Key(1)
	rsaKey := rsaKey()
	sign := map[string]func(hash, input []byte) []byte{
		"ES256": func(_, input []byte) []byte { return issuer.sign(t, string(input)) },
		"EdDSA": func(_, input []byte) []byte { return ed25519.Sign(edKey, input) },
		"RS256": func(hash, _ []byte) []byte { return must(rsa.SignPKCS1v15(nil, rsaKey, crypto.SHA256, hash)) },
		"PS256": func(hash, _ []byte) []byte {
			return must(rsa.SignPSS(rand.Reader, rsaKey, crypto.SHA256, hash, saltLikeHash))
		},
	}
	ec := ecJWK(t, issuer.key.Public())
	ed := `"kty":"OKP","crv":"Ed25519","x":"` + b64(string(edKey.Public().(ed25519.PublicKey))) + `"`
	rs := `"kty":"RSA","n":"` + b64(string(rsaKey.N.Bytes())) + `","e":"AQAB"`
	for keys, accepted := range map[string]string{
		`{` + ec + `}`: "ES256",
		`{` + ed + `}`: "EdDSA",
		`{` + rs + `}`: "RS256 PS256",
		`{` + ec + `,"alg":"ES256","use":"sig","key_ops":["verify"],"x5t":"AA","x5c":["AA"],"ext":true}`: "ES256",
		`{` + ed + `,"alg":"EdDSA"}`:                        "EdDSA",
		`{` + ed + `,"alg":"Ed25519"}`:                      "EdDSA",
		`{` + rs + `,"alg":"RS256"}`:                        "RS256",
		`{` + rs + `,"alg":"PS256"}`:                        "PS256",
		`{"keys":[{` + ec + `},{` + ed + `},{` + rs + `}]}`: "ES256 EdDSA RS256 PS256",
		// Other keys, which identity providers publish in the same set, are skipped.
		`{"keys":[{` + rs + `,"use":"enc","alg":"RSA-OAEP"},{"kty":"EC","crv":"P-384","x":"AA","y":"AA"},{"kty":"AKP"},{` + ec + `}],"other":1}`: "ES256",
		// A member that is null counts as absent.
		`{` + ec + `,"d":null,"p":null,"q":null,"dp":null,"k":null,"kid":null,"use":null,"alg":null,"key_ops":null}`: "ES256",
		`{"keys":null,` + ec + `}`: "ES256",
		// A key that cannot be used does not affect the others, and unknown members may
		// hold anything.
		`{"keys":[null,5,[],{"kty":"RSA","n":5},{"kty":1},{"kty":"EC","key_ops":"verify"},{` + rs + `,"kid":1},{` + rs + `,"kid":"a","kid":"b"},{` + ec + `}]}`: "ES256",
		`{"keys":[{` + ec + `,"x5c":7,"ext":"no","a":{"b":1,"b":2}}],"keys2":5}`:                                                                                "ES256",
	} {
		verifier := verifierOf(t, keys)
		for algorithm, sign := range sign {
			input := b64(`{"alg":"`+algorithm+`","kid":"x"}`) + "." + b64(goodPayload)
			hash := sha256.Sum256([]byte(input))
			_, err := verifier.Verify(join(input, sign(hash[:], []byte(input))))
			if want := strings.Contains(accepted, algorithm); (err == nil) != want {
				t.Errorf("keys %.120s: Verify(%s) = %v, want it accepted: %t", keys, algorithm, err, want)
			}
		}
	}
	b64Keys, err := auth.ParseKeysBase64(base64.StdEncoding.EncodeToString([]byte(`{` + ec + `}`)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := auth.New(auth.Config{Keys: b64Keys, Now: at(now)}).Verify(issuer.token(t, goodHeader, goodPayload)); err != nil {
		t.Errorf("a JWK in base64: Verify = %v", err)
	}
}

func TestJWKsRefused(t *testing.T) {
	ec := ecJWK(t, newIssuer(t, 1).key.Public())
	weak := b64(string(new(big.Int).Lsh(big.NewInt(3), 1022).Bytes()))
	zero := b64(string(make([]byte, 32)))
	for keys, want := range map[string]string{
		`{` + ec + `,"d":"AA"}`:                                             "this is a private JWK, which must stay secret; use public keys only",
		`{"kty":"RSA","n":"AA","e":"AQAB","p":"AA"}`:                        "this is a private JWK",
		`{"kty":"oct","k":"c2VjcmV0","alg":"HS256"}`:                        "this is a symmetric JWK (kty oct), with which anyone who can verify tokens can also sign them",
		`{"kty":"EC","k":"c2VjcmV0"}`:                                       "this is a symmetric JWK",
		`{"keys":[{` + ec + `},{` + ec + `,"d":"A"}]}`:                      "key 2 of the JWK Set: this is a private JWK",
		`{"keys":[{` + ec + `},{"kty":"oct"}]}`:                             "key 2 of the JWK Set: this is a symmetric JWK",
		`{"keys":[]}`:                                                       "the JWK Set has no keys",
		`{"keys":[{` + ec + `,"use":"enc"}]}`:                               `no key of the JWK Set can be used; key 1: the JWK member "use" is "enc"`,
		`{` + ec + `,"use":"enc"}`:                                          `the JWK member "use" is "enc": in a key that verifies tokens it must be "sig" or absent`,
		`{` + ec + `,"key_ops":["sign"]}`:                                   `"key_ops" lacks "verify"`,
		`{` + ec + `,"alg":"ES384"}`:                                        `the JWK member "alg" is "ES384": in a key of this type it must be ES256 or absent`,
		`{` + ec + `,"alg":"none"}`:                                         `the JWK member "alg" is "none": in a key of this type it must be ES256 or absent`,
		`{"kty":"EC","crv":"P-384","x":"AA","y":"AA"}`:                      "a key on the curve P-384 cannot be used; a P-256 key is made with",
		`{"kty":"EC","crv":"secp256k1","x":"A"}`:                            "a key on the curve secp256k1 cannot be used",
		`{"kty":"EC","crv":"P-256","x":"AA","y":"A"}`:                       "32 bytes each",
		`{"kty":"EC","crv":"P-256","x":"` + zero + `","y":"` + zero + `"}`:  "not a point on P-256",
		`{"kty":"EC","crv":"P-256","x":"` + zero + `=","y":"` + zero + `"}`: "without padding",
		`{"kty":"OKP","crv":"X25519","x":"AA"}`:                             "a key on the curve X25519 cannot be used; the only supported OKP curve is Ed25519",
		`{"kty":"OKP","crv":"Ed25519","x":"AA"}`:                            "must be 32 bytes",
		`{"kty":"RSA","n":"` + weak + `","e":"AQAB"}`:                       "an RSA key of 1024 bits is too weak",
		`{"kty":"AKP"}`:                                                     `a JWK with kty "AKP" cannot be used`,
		`{}`:                                                                "not a JWK or a JWK Set",
		`{"keys":null}`:                                                     "not a JWK or a JWK Set",
		`{"keys":1}`:                                                        "not a JWK or a JWK Set",
		`{"kty":1}`:                                                         "not a JWK or a JWK Set",
		`{"issuer":"https://id.example.com"}`:                               "not a JWK or a JWK Set",
		`{` + ec + `,"kid":"a","kid":"b"}`:                                  "not a JWK or a JWK Set",
		`{` + ec + `,"kid":7}`:                                              `"kid" is not a string`,
		`{` + ec + `,"key_ops":"verify"}`:                                   `"key_ops" is not a list of strings`,
		`{"keys":[{"kty":"RSA","n":5}]}`:                                    `no key of the JWK Set can be used; key 1: the JWK member "n" is not a string`,
		`{"keys":[{` + ec + `,"kid":"a","kid":"b"}]}`:                       `key 1 (kid "b"): the JWK has the member "kid" twice`,
		`{"keys":[7]}`:                                                      "key 1: a JWK must be a JSON object",
		`{"keys":{}}`:                                                       "not a JWK or a JWK Set",
		`{"keys":[{` + ec + `},{` + ec + `,"kid":"x","d":"A"}]}`:            `key 2 (kid "x") of the JWK Set: this is a private JWK`,
		`{"keys":[{` + ec + `},{"kty":"RSA","n":5,"d":"A"}]}`:               "key 2 of the JWK Set: this is a private JWK",
		`{"keys":[{` + ec + `},{"kty":"RSA","dp":"A","dp":"B"}]}`:           "key 2 of the JWK Set: this is a private JWK",
		`{"keys":[{` + ec + `},{"kty":7,"k":{"a":1}}]}`:                     "key 2 of the JWK Set: this is a symmetric JWK",
		`{` + ec: "not a JWK or a JWK Set",
		`{"keys":[` + strings.Repeat(`{`+ec+`},`, 16) + `{` + ec + `}]}`: "there are 17 public keys; the limit is 16",
	} {
		_, err := auth.ParseKeys([]byte(keys))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseKeys(%.100s) = %v, want %q", keys, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "c2VjcmV0") {
			t.Errorf("ParseKeys shows a secret: %v", err)
		}
	}
	if _, err := auth.ParseKeysBase64(`{` + ec + `}`); err == nil || !strings.Contains(err.Error(), "this is plain JSON: encode it in base64") {
		t.Errorf("ParseKeysBase64 of JSON = %v", err)
	}
}
