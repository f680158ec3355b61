package auth_test

import (
	"context"
	"strings"
	"testing"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// A source has its keys from the test.
type source struct {
	stale, missing error
	awaited        []string
	then           []func()
}

func (s *source) Stale() error         { return s.stale }
func (s *source) Missing(string) error { return s.missing }
func (s *source) Await(kid string, then func()) bool {
	s.awaited = append(s.awaited, kid)
	if s.then == nil {
		return false
	}
	s.then = append(s.then, then)
	return true
}

// published returns a JWK Set with the issuers' keys, whose kids are "1", "2" and so on.
func published(t *testing.T, issuers ...issuer) *auth.Keys {
	t.Helper()
	var list []string
	for i, issuer := range issuers {
		list = append(list, `{"kid":"`+string(rune('1'+i))+`",`+ecJWK(t, issuer.key.Public())+`}`)
	}
	keys, skipped, err := auth.ParsePublishedKeys([]byte(`{"keys":[` + strings.Join(list, ",") + `]}`))
	if err != nil || skipped != nil {
		t.Fatal(err, skipped)
	}
	return keys
}

// A key verifies only tokens of its issuer, for this server (RFC 7519, sections 4.1.1 and 4.1.3).
func TestKeysVerifyTokensOfTheirIssuer(t *testing.T) {
	own, provider := newIssuer(t, 1), newIssuer(t, 2)
	verifier := func(issuer, audience string) *auth.Verifier {
		v := auth.New(auth.Config{Keys: parseKeys(t, own.key.Public()), Issuer: issuer, Audience: audience, Now: at(now),
			Provider: &auth.Provider{Issuer: "https://id/", Audience: "rooms", Source: new(source)}})
		v.SetProviderKeys(published(t, provider))
		return v
	}
	open, bound := verifier("", ""), verifier("https://own/", "chat")
	const good = "accepted"
	for _, c := range []struct {
		claims                                         string
		ownOpen, providerOpen, ownBound, providerBound string // what open and bound say of a token of own and of provider
	}{
		{``, good, "signature", "has no iss", "has no iss"},
		{`,"iss":null`, good, "signature", "has no iss", "has no iss"},
		{`,"iss":5,"aud":{}`, good, "signature", "has no iss", "has no iss"},
		{`,"iss":["https://id/"]`, good, "signature", "has no iss", "has no iss"},
		{`,"iss":"https://ID/","aud":"rooms"`, good, "signature", "not an issuer", "not an issuer"},
		{`,"iss":"https://id","aud":"rooms"`, good, "signature", "not an issuer", "not an issuer"},
		{`,"iss":"https://id/"`, "not meant", "not meant", "not meant", "not meant"},
		{`,"iss":"https://id/","aud":"chat"`, "not meant", "not meant", "not meant", "not meant"},
		{`,"iss":"https://id/","aud":"Rooms"`, "not meant", "not meant", "not meant", "not meant"},
		{`,"iss":"https://id/","aud":null`, "not meant", "not meant", "not meant", "not meant"},
		{`,"iss":"https://id/","aud":[]`, "not meant", "not meant", "not meant", "not meant"},
		{`,"iss":"https://id/","aud":["rooms",1]`, "not meant", "not meant", "not meant", "not meant"},
		{`,"iss":"https://id/","aud":["roomsx","x"]`, "not meant", "not meant", "not meant", "not meant"},
		{`,"iss":"https://id/","aud":"rooms"`, "signature", good, "signature", good},
		{`,"iss":"https://id/","aud":["x","rooms"]`, "signature", good, "signature", good},
		{`,"iss":"https://own/"`, good, "signature", "not meant", "not meant"},
		{`,"iss":"https://own/","aud":"chat"`, good, "signature", good, "signature"},
		{`,"iss":"https://own/","aud":["chat","rooms"]`, good, "signature", good, "signature"},
	} {
		check := func(v *auth.Verifier, i issuer, want string) {
			t.Helper()
			token := i.token(t, goodHeader, `{`+goodMembers+`,"exp":1767326645`+c.claims+`}`)
			_, err := v.Verify(token)
			switch {
			case want == good && err != nil:
				t.Errorf("%s: %v", c.claims, err)
			case want != good:
				wantRefused(t, token, err, pubsub.TokenInvalid)
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%s: %v, want %q", c.claims, err, want)
				}
			}
		}
		check(open, own, c.ownOpen)
		check(open, provider, c.providerOpen)
		check(bound, own, c.ownBound)
		check(bound, provider, c.providerBound)
	}
}

// A token of a provider that names a key is not verified with one that has no name.
func TestNamelessKeysOfAProvider(t *testing.T) {
	named, nameless := newIssuer(t, 1), newIssuer(t, 2)
	keys, _, err := auth.ParsePublishedKeys([]byte(`{"keys":[{"kid":"1",` + ecJWK(t, named.key.Public()) + `},{` + ecJWK(t, nameless.key.Public()) + `}]}`))
	if err != nil {
		t.Fatal(err)
	}
	v := auth.New(auth.Config{Now: at(now), Provider: &auth.Provider{Issuer: "https://id/", Audience: "rooms", Source: new(source)}})
	v.SetProviderKeys(keys)
	const claims = `{` + goodMembers + `,"exp":1767326645,"iss":"https://id/","aud":"rooms"}`
	for header, want := range map[string][2]bool{`{"alg":"ES256","kid":"1"}`: {true, false}, `{"alg":"ES256"}`: {true, true}} {
		for i, issuer := range []issuer{named, nameless} {
			token := issuer.token(t, header, claims)
			if _, err := v.Verify(token); (err == nil) != want[i] {
				t.Errorf("a token with the header %s of key %d: %v", header, i, err)
			}
		}
	}
}

// Claims name the configured issuer of the key, not the claim iss. The same key of another
// issuer is another key.
func TestIssuerOfClaims(t *testing.T) {
	i := newIssuer(t, 1)
	token := i.token(t, `{"alg":"ES256","kid":"1"}`, `{`+goodMembers+`,"exp":1767326645,"iss":"https://id/","aud":"rooms"}`)
	v := auth.New(auth.Config{Now: at(now), Provider: &auth.Provider{Issuer: "https://id/", Audience: "rooms", Source: new(source)}})
	v.SetProviderKeys(published(t, i))
	claims, err := v.Verify(token)
	if err != nil || claims.Issuer() != "https://id/" || claims.KeyID() != "1" {
		t.Fatalf("%v, issuer %q, kid %q", err, claims.Issuer(), claims.KeyID())
	}
	v.SetKeys(published(t, i))
	v.SetProviderKeys(published(t, newIssuer(t, 2)))
	if _, ok := v.Cached(token); ok {
		t.Error("the provider withdrew the key, but the cache has its token")
	}
	wantRefused(t, "", v.Check(claims), pubsub.TokenInvalid)
	v.SetProviderKeys(published(t, i))
	if again, ok := v.Cached(token); !ok || again != claims {
		t.Error("the key is back, but the cache does not have its token")
	}

	own, err := newIssuer(t, 1).verifier(t, auth.Config{}).Verify(token)
	if err != nil || own.Issuer() != "" {
		t.Errorf("a key without an issuer: %v, issuer %q", err, own.Issuer())
	}
}

// at once runs work on the caller's goroutine.
type atOnce struct{ full bool }

func (w atOnce) Do(work func(context.Context), done func(error)) error {
	if w.full {
		return pubsub.Errorf(pubsub.OverCapacity, "full")
	}
	work(context.Background())
	done(nil)
	return nil
}

// A token whose kid is not known waits until the keys are loaded again, once.
func TestStartAwaitsKeys(t *testing.T) {
	old, fresh := newIssuer(t, 1), newIssuer(t, 2)
	token := fresh.token(t, `{"alg":"ES256","kid":"2"}`, `{`+goodMembers+`,"exp":1767326645,"iss":"I","aud":"A"}`)
	soon := pubsub.Errorf(pubsub.OverCapacity, "soon")
	down := pubsub.Errorf(pubsub.Unavailable, "down")
	for name, c := range map[string]struct {
		source source
		loaded bool // the key, while the token waits
		want   pubsub.Code
	}{
		"loaded":                {source{then: []func(){}}, true, ""},
		"not there":             {source{then: []func(){}}, false, pubsub.TokenInvalid},
		"not loaded":            {source{then: []func(){}, missing: soon}, false, pubsub.OverCapacity},
		"cannot be awaited":     {source{missing: soon}, false, pubsub.OverCapacity},
		"known not to be there": {source{}, false, pubsub.TokenInvalid},
		"stale":                 {source{stale: down, missing: down}, false, pubsub.Unavailable},
	} {
		t.Run(name, func(t *testing.T) {
			v := auth.New(auth.Config{Now: at(now), Provider: &auth.Provider{Issuer: "I", Audience: "A", Source: &c.source}})
			v.SetProviderKeys(published(t, old))
			calls := 0
			var claims *auth.Claims
			var err error
			if full := v.Start(atOnce{}, token, "", func(c *auth.Claims, e error) { calls, claims, err = calls+1, c, e }); full != nil {
				t.Fatal(full)
			}
			if len(c.source.then) > 0 {
				if calls != 0 {
					t.Fatal("the token did not wait")
				}
				if c.loaded {
					v.SetProviderKeys(published(t, old, fresh))
				}
				c.source.then[0]()
			}
			switch {
			case calls != 1 || strings.Join(c.source.awaited, ",") != "2":
				t.Errorf("done was called %d times, Await with %q", calls, c.source.awaited)
			case c.want == "" && (err != nil || claims.KeyID() != "2"):
				t.Errorf("done(%v)", err)
			case c.want != "":
				wantRefused(t, token, err, c.want)
			}
			if stats := v.Stats(); stats.Refused+stats.Verified != 1 {
				t.Errorf("Stats = %+v, want one token", stats)
			}
		})
	}
	v := auth.New(auth.Config{Now: at(now)})
	if err := v.Start(atOnce{full: true}, token, "", nil); pubsub.Refusal(err).Code != pubsub.OverCapacity {
		t.Errorf("without room, Start = %v", err)
	}
}

// Verify does not wait.
func TestVerifyWithoutKeys(t *testing.T) {
	i := newIssuer(t, 1)
	down := pubsub.Errorf(pubsub.Unavailable, "down")
	v := auth.New(auth.Config{Now: at(now), Provider: &auth.Provider{Issuer: "I", Audience: "A", Source: &source{stale: down, missing: down}}})
	token := i.token(t, goodHeader, `{`+goodMembers+`,"exp":1767326645,"iss":"I","aud":"A"}`)
	_, err := v.Verify(token)
	wantRefused(t, token, err, pubsub.Unavailable)
	other := i.token(t, goodHeader, goodPayload)
	_, err = v.Verify(other)
	wantRefused(t, other, err, pubsub.TokenInvalid)
}
