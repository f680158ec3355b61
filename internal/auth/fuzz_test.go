package auth_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// FuzzVerify checks that Verify accepts only tokens that the test signed, and refuses any
// other input with a code for tokens.
func FuzzVerify(f *testing.F) {
	issuer := newIssuer(f, 1)
	verifier := issuer.verifier(f, auth.Config{})
	ours := []string{
		b64(goodHeader) + "." + b64(goodPayload),
		b64(`{"alg":"ES256"}`) + "." + b64(`{"exp":1767326645.5,"sub":"","scope":"broadcast x","topics":["b","é"],"iat":1}`),
	}
	for _, input := range ours {
		good := join(input, issuer.sign(f, input))
		f.Add(string(good))
		f.Add(string(good) + "\n")
		f.Add(string(good[:len(good)-1]))
		f.Add(strings.Replace(string(good), ".", "..", 1))
	}
	f.Add(string(newIssuer(f, 2).token(f, goodHeader, goodPayload)))
	f.Add(string(issuer.token(f, `{"alg":"none"}`, goodPayload)))
	f.Add(strings.Repeat(".", 100))
	f.Fuzz(func(t *testing.T, token string) {
		claims, err := verifier.Verify(auth.Token(token))
		cached, ok := verifier.Cached(auth.Token(token))
		if err == nil {
			signed := token[:max(0, strings.LastIndexByte(token, '.'))]
			if !slices.Contains(ours, signed) {
				t.Errorf("Verify(%q) = nil, but we did not sign it", token)
			}
			if !ok || cached != claims {
				t.Errorf("Cached = %v, %t, want %v", cached, ok, claims)
			}
			return
		}
		if code := pubsub.Refusal(err).Code; !strings.HasPrefix(string(code), "token_") || claims != nil || ok {
			t.Errorf("Verify(%q) = %v, %s, cached %t", token, claims, code, ok)
		}
	})
}
