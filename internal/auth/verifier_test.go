package auth_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

func TestBadHeaders(t *testing.T) {
	issuer := newIssuer(t, 1)
	verifier := issuer.verifier(t, auth.Config{})
	for _, header := range badHeaders {
		t.Run(header[:min(len(header), 60)], func(t *testing.T) {
			token := issuer.token(t, header, goodPayload)
			_, err := verifier.Verify(token)
			wantRefused(t, token, err, pubsub.TokenInvalid)
		})
	}
}

func TestBadPayloads(t *testing.T) {
	issuer := newIssuer(t, 1)
	verifier := issuer.verifier(t, auth.Config{})
	for code, payloads := range badPayloads {
		for _, payload := range payloads {
			t.Run(payload[max(0, len(payload)-60):], func(t *testing.T) {
				token := issuer.token(t, goodHeader, payload)
				_, err := verifier.Verify(token)
				wantRefused(t, token, err, code)
				if _, ok := verifier.Cached(token); ok {
					t.Error("Cached = true, want false")
				}
			})
		}
	}
}

func TestGoodTokens(t *testing.T) {
	issuer := newIssuer(t, 1)
	verifier := issuer.verifier(t, auth.Config{})
	for name, parts := range goodTokens {
		t.Run(name, func(t *testing.T) {
			token := issuer.token(t, parts.header, parts.payload)
			claims, err := verifier.Verify(token)
			if err != nil {
				t.Fatalf("Verify = %v, want nil", err)
			}
			if err := claims.Allow(auth.Broadcast, "a"); err != nil {
				t.Errorf("Allow(broadcast, a) = %v, want nil", err)
			}
			if again, ok := verifier.Cached(token); !ok || again != claims {
				t.Errorf("Cached = %p, %t, want %p, true", again, ok, claims)
			}
		})
	}
}

func TestAlgorithmIsPinnedToTheKey(t *testing.T) {
	issuer := newIssuer(t, 1)
	edKey := ed25519Key(1)
	rsaKey := rsaKey()
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public := publicPEM(t, issuer.key.Public())
	sign := map[string]func(input string) []byte{
		"ES256":   func(input string) []byte { return issuer.sign(t, input) },
		"EdDSA":   func(input string) []byte { return ed25519.Sign(edKey, []byte(input)) },
		"Ed25519": func(input string) []byte { return ed25519.Sign(edKey, []byte(input)) }, // the same, by its newer name
		"RS256": func(input string) []byte {
			hash := sha256.Sum256([]byte(input))
			return must(rsa.SignPKCS1v15(nil, rsaKey, crypto.SHA256, hash[:]))
		},
		"PS256": func(input string) []byte {
			hash := sha256.Sum256([]byte(input))
			return must(rsa.SignPSS(rand.Reader, rsaKey, crypto.SHA256, hash[:], saltLikeHash))
		},
		"HS256": func(input string) []byte { // the public key as a shared secret
			mac := hmac.New(sha256.New, public)
			mac.Write([]byte(input))
			return mac.Sum(nil)
		},
		"ES384": func(input string) []byte {
			hash := sha512.Sum384([]byte(input))
			r, s, err := ecdsa.Sign(rand.Reader, p384, hash[:])
			if err != nil {
				t.Fatal(err)
			}
			signature := make([]byte, 96)
			r.FillBytes(signature[:48])
			s.FillBytes(signature[48:])
			return signature
		},
	}
	for _, c := range []struct {
		keys     []crypto.PublicKey
		accepted string
	}{
		{nil, ""},
		{[]crypto.PublicKey{issuer.key.Public()}, "ES256"},
		{[]crypto.PublicKey{edKey.Public()}, "EdDSA Ed25519"},
		{[]crypto.PublicKey{rsaKey.Public()}, "RS256 PS256"},
		{[]crypto.PublicKey{newIssuer(t, 2).key.Public(), issuer.key.Public(), edKey.Public()}, "ES256 EdDSA Ed25519"},
	} {
		config := auth.Config{Now: at(now)}
		if c.keys != nil {
			config.Keys = parseKeys(t, c.keys...)
		}
		verifier := auth.New(config)
		for named := range sign {
			for signed := range sign {
				input := b64(`{"alg":"`+named+`"}`) + "." + b64(goodPayload)
				token := join(input, sign[signed](input))
				_, err := verifier.Verify(token)
				if isEd := func(alg string) bool { return alg == "EdDSA" || alg == "Ed25519" }; (named == signed || isEd(named) && isEd(signed)) && strings.Contains(c.accepted, named) {
					if err != nil {
						t.Errorf("keys %q: Verify(%s) = %v, want nil", c.accepted, named, err)
					}
					continue
				}
				wantRefused(t, token, err, pubsub.TokenInvalid)
			}
		}
	}
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func TestClock(t *testing.T) {
	issuer := newIssuer(t, 1)
	for _, c := range []struct {
		payload string
		seconds float64 // of the clock
		want    pubsub.Code
		detail  string
	}{
		{`"exp":1000`, 1059.999, "", ""},
		{`"exp":1000`, 1060, pubsub.TokenExpired, "the token expired at 1970-01-01T00:16:40Z"},
		{`"exp":1000.75`, 1060.5, "", ""},
		{`"exp":1000.75`, 1060.75, pubsub.TokenExpired, ""},
		{`"exp":2000,"nbf":1000`, 940, "", ""},
		{`"exp":2000,"nbf":1000`, 939.999, pubsub.TokenInvalid, "the token is not valid before 1970-01-01T00:16:40Z"},
		{`"exp":2000,"iat":1000`, 940, "", ""},
		{`"exp":2000,"iat":1000`, 939.999, pubsub.TokenInvalid, "the token was issued at 1970-01-01T00:16:40Z, which is ahead of the server's clock"},
	} {
		t.Run(fmt.Sprintf("%s at %v", c.payload, c.seconds), func(t *testing.T) {
			clock := time.UnixMilli(int64(c.seconds * 1000))
			verifier := issuer.verifier(t, auth.Config{Now: func() time.Time { return clock }})
			token := issuer.token(t, goodHeader, `{`+goodMembers+`,`+c.payload+`}`)
			_, err := verifier.Verify(token)
			_, cached := verifier.Cached(token)
			if c.want == "" {
				if err != nil || !cached {
					t.Errorf("Verify = %v, Cached = %t, want nil, true", err, cached)
				}
				return
			}
			wantRefused(t, token, err, c.want)
			if cached {
				t.Error("Cached = true, want false")
			}
			if c.detail != "" && err.Error() != c.detail {
				t.Errorf("Verify = %q, want %q", err, c.detail)
			}
		})
	}
}

// The refusal of a token with a wrong signature reveals nothing about its claims, not even
// that it has expired.
func TestSignatureIsCheckedBeforeTheClock(t *testing.T) {
	verifier := newIssuer(t, 1).verifier(t, auth.Config{})
	token := newIssuer(t, 2).token(t, goodHeader, `{`+goodMembers+`,"exp":1000}`)
	_, err := verifier.Verify(token)
	wantRefused(t, token, err, pubsub.TokenInvalid)
}

func TestAllow(t *testing.T) {
	issuer := newIssuer(t, 1)
	verifier := issuer.verifier(t, auth.Config{})
	claims, err := verifier.Verify(issuer.token(t, goodHeader,
		`{"exp":1767326645.25,"sub":"who","scope":"subscribe","topic":"one","topics":["two","caf\u00e9","a b","*"]}`))
	if err != nil {
		t.Fatal(err)
	}
	if want := time.Unix(goodExpiry, 250e6); claims.Subject != "who" || !claims.Expires().Equal(want) {
		t.Errorf("Verify = %q until %v, want who until %v", claims.Subject, claims.Expires(), want)
	}
	for _, c := range []struct {
		scope auth.Scope
		topic pubsub.Topic
		want  pubsub.Code
	}{
		{auth.Subscribe, "one", ""},
		{auth.Subscribe, "two", ""},
		{auth.Subscribe, "café", ""},
		{auth.Subscribe, "a b", ""},
		{auth.Subscribe, "*", ""},
		{auth.Subscribe, "One", pubsub.TopicDenied},
		{auth.Subscribe, "ONE", pubsub.TopicDenied},
		{auth.Subscribe, "one ", pubsub.TopicDenied},
		{auth.Subscribe, "on", pubsub.TopicDenied},
		{auth.Subscribe, "cafe\u0301", pubsub.TopicDenied},
		{auth.Subscribe, "three", pubsub.TopicDenied},
		{auth.Subscribe, "", pubsub.TopicDenied},
		{auth.Broadcast, "one", pubsub.ScopeDenied},
		{auth.Broadcast, "three", pubsub.ScopeDenied},
		{"", "one", pubsub.ScopeDenied},
		{"admin", "one", pubsub.ScopeDenied},
	} {
		err := claims.Allow(c.scope, c.topic)
		if c.want == "" && err != nil || c.want != "" && (err == nil || pubsub.Refusal(err).Code != c.want) {
			t.Errorf("Allow(%q, %q) = %v, want %q", c.scope, c.topic, err, c.want)
		}
	}
}

func TestStats(t *testing.T) {
	issuer := newIssuer(t, 1)
	verifier := issuer.verifier(t, auth.Config{})
	token := issuer.token(t, goodHeader, goodPayload)
	verifier.Cached(token)            // not cached yet
	_, _ = verifier.Verify(token)     // verified
	_, _ = verifier.Verify(token)     // hit
	verifier.Cached(token)            // hit
	_, _ = verifier.Verify("")        // refused
	_, _ = verifier.Verify(token[1:]) // refused
	if got, want := verifier.Stats(), (auth.Stats{Verified: 1, Refused: 2, Hits: 2}); got != want {
		t.Errorf("Stats = %+v, want %+v", got, want)
	}
}

func TestConcurrentUse(t *testing.T) {
	issuer := newIssuer(t, 1)
	verifier := issuer.verifier(t, auth.Config{CacheSize: 3})
	var tokens []auth.Token
	for i := range 6 {
		tokens = append(tokens, issuer.token(t, goodHeader, fmt.Sprintf(`{"exp":1767326645,"sub":"%d","scope":"subscribe","topic":"a"}`, i)))
	}
	var all sync.WaitGroup
	for g := range 8 {
		all.Go(func() {
			for n := range 50 {
				i := (g + n) % len(tokens)
				claims, err := verifier.Verify(tokens[i])
				if err != nil || claims.Subject != fmt.Sprint(i) {
					t.Errorf("Verify(%d) = %v, %v, want its own claims", i, claims, err)
				}
				verifier.Cached(tokens[(i+1)%len(tokens)])
			}
		})
	}
	all.Wait()
}
