package auth_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

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

// FuzzClaims checks that a lax decoder, which ignores case and uses the last of two
// members, reads the same claims from any accepted payload.
func FuzzClaims(f *testing.F) {
	issuer := newIssuer(f, 1)
	verifier := issuer.verifier(f, auth.Config{CacheSize: -1})
	f.Add(goodPayload)
	f.Add(`{` + goodMembers + `,"exp":1767326645.25,"topics":["b","\u00e9"],"nbf":1,"iat":2e9,"info":{"a":[1]}}`)
	f.Add(`{` + goodMembers + `,"exp":1767326645,"TOPICS":["b"]}`)
	f.Add(`{` + goodMembers + `,"exp":1e300}`)
	f.Add(`{` + goodMembers + `,"exp":1767326645,"nbf":null,"topics":null,"until":null}`)
	f.Add(`{"exp":1767326645,"sub":"u","scope":["x","broadcast"],"topic":"a"}`)
	f.Add(`{"exp":1767326645,"sub":"","scope":"x  broadcast","topics":["a","a","\ud83d\ude00"]}`)
	f.Fuzz(func(t *testing.T, payload string) {
		claims, err := verifier.Verify(issuer.token(t, goodHeader, payload))
		if err != nil {
			if code := pubsub.Refusal(err).Code; code != pubsub.TokenInvalid && code != pubsub.TokenExpired {
				t.Errorf("Verify(%q) = %s", payload, code)
			}
			return
		}
		var want struct {
			Exp    float64
			Sub    *string
			Scope  any
			Topic  *string
			Topics []string
		}
		if err := json.Unmarshal([]byte(payload), &want); err != nil {
			t.Fatalf("encoding/json refuses %q: %v", payload, err)
		}
		if claims.Subject != *want.Sub || len(claims.Subject) > 255 {
			t.Errorf("Subject = %q, want %q", claims.Subject, *want.Sub)
		}
		if d := claims.Expires().Sub(time.UnixMicro(int64(want.Exp * 1e6))); d.Abs() > time.Millisecond {
			t.Errorf("Expires = %v, want %v", claims.Expires(), want.Exp)
		}
		topics := want.Topics
		if want.Topic != nil {
			topics = append(topics, *want.Topic)
		}
		if len(topics) == 0 {
			t.Errorf("%q names no topic", payload)
		}
		var words []string
		switch scope := want.Scope.(type) {
		case string:
			words = strings.Split(scope, " ")
		case []any:
			for _, word := range scope {
				words = append(words, word.(string))
			}
		}
		for _, scope := range []auth.Scope{auth.Subscribe, auth.Broadcast} {
			for _, topic := range topics {
				err := claims.Allow(scope, pubsub.Topic(topic))
				if (err == nil) != slices.Contains(words, string(scope)) {
					t.Errorf("Allow(%s, %q) = %v with the scope %v", scope, topic, err, want.Scope)
				}
			}
			if claims.Allow(scope, pubsub.Topic(strings.Join(topics, "")+"x")) == nil {
				t.Errorf("%q allows a topic that it does not name", payload)
			}
		}
	})
}
