package auth_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/internaltest/authtest"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// A token is accepted whatever its claim info is. If info is invalid, only Info returns an
// error.
func TestInfo(t *testing.T) {
	issuer := newIssuer(t, 1)
	verifier := issuer.verifier(t, auth.Config{})
	for text, want := range map[string]string{
		``:                      "",
		`,"info":{}`:            "{}",
		`,"info":{ "a" : [1] }`: `{"a":[1]}`,
		`,"info":{"x":"` + strings.Repeat("x", 1016) + `"}`: `{"x":"` + strings.Repeat("x", 1016) + `"}`,
		`,"info":{"x":"` + strings.Repeat("x", 1017) + `"}`: "info in the token has 1025 bytes of JSON; the limit is 1024",
		`,"info":"x"`:  "info in the token must be a JSON object",
		`,"info":null`: "",
		`,"info":[{}]`: "info in the token must be a JSON object",
	} {
		claims, err := verifier.Verify(issuer.token(t, goodHeader, `{`+goodMembers+`,"exp":1767326645`+text+`}`))
		if err != nil {
			t.Errorf("%.40s: Verify = %v", text, err)
			continue
		}
		info, err := claims.Info()
		got := string(info)
		if err != nil {
			got = pubsub.Refusal(err).Detail
		}
		if got != want {
			t.Errorf("%.40s: Info = %q, %v; want %q", text, info, err, want)
		}
	}
}

func TestUntil(t *testing.T) {
	issuer := newIssuer(t, 1)
	verifier := issuer.verifier(t, auth.Config{})
	verify := func(until string) (*auth.Claims, error) {
		return verifier.Verify(issuer.token(t, goodHeader, `{`+goodMembers+`,"exp":1767326645,"until":`+until+`}`))
	}
	if claims, err := verify("null"); err != nil || !claims.Until().IsZero() {
		t.Errorf("until null: %v, want a token without it", err)
	}
	for _, until := range []string{`"1"`, `-1`, `1e300`} {
		_, err := verify(until)
		wantRefused(t, "", err, pubsub.TokenInvalid)
	}
	claims, err := verify("1767323000.5")
	if err != nil {
		t.Fatal(err)
	}
	end := time.UnixMilli(1767323000500)
	if err := claims.CheckUntil(end.Add(-time.Millisecond)); err != nil {
		t.Errorf("before its end: %v", err)
	}
	if err := claims.CheckUntil(end); err == nil || pubsub.Refusal(err).Code != pubsub.TokenExpired {
		t.Errorf("at its end: %v, want %s", err, pubsub.TokenExpired)
	}
	if err := new(auth.Claims).CheckUntil(end); err != nil {
		t.Errorf("without until: %v", err)
	}
}

// A token allows a topic if one of its lists for the scope has its name or a pattern for it.
func TestRights(t *testing.T) {
	issuer := newIssuer(t, 1)
	verifier := issuer.verifier(t, auth.Config{})
	for _, c := range []struct{ claims, subscribe, broadcast string }{
		{`"scope":"subscribe","topic":"a"`, "a", "scope"},
		{`"scope":"subscribe broadcast","topics":["a*","chat:1"]`, "a* chat:1", "a* chat:1"},
		{`"scope":"subscribe","patterns":["chat:*"],"topic":"a"`, "a chat: chat:* chat:1 chat:10", "scope"},
		{`"scope":"subscribe broadcast","patterns":["chat:1*"]`, "chat:1 chat:10", "chat:1 chat:10"},
		{`"scope":"broadcast","patterns":["*"]`, "scope", "a a* ab b chat chat: chat:* chat:1 chat:10"},
		{`"scope":"broadcast","patterns":["chat:1*","chat:*","chat:10*"]`, "scope", "chat: chat:* chat:1 chat:10"},
		{`"subscribe":{"patterns":["chat:*"]},"broadcast":{"topics":["chat:1"]}`, "chat: chat:* chat:1 chat:10", "chat:1"},
		{`"subscribe":{"topics":["a"]}`, "a", "scope"},
		{`"subscribe":{"topics":["a"]},"broadcast":{}`, "a", "scope"},
		{`"scope":"subscribe","broadcast":{"topics":["a"]}`, "", "a"},
		{`"scope":"subscribe","topic":"a","subscribe":{"topics":["ab"]},"broadcast":{"patterns":["*"]}`, "a ab", "a a* ab b chat chat: chat:* chat:1 chat:10"},
	} {
		claims, err := verifier.Verify(issuer.token(t, goodHeader, `{"sub":"u","exp":1767326645,`+c.claims+`}`))
		if err != nil {
			t.Errorf("%s: %v", c.claims, err)
			continue
		}
		for scope, want := range map[auth.Scope]string{auth.Subscribe: c.subscribe, auth.Broadcast: c.broadcast} {
			var allowed []string
			code := pubsub.TopicDenied
			if want == "scope" {
				want, code = "", pubsub.ScopeDenied
			}
			for _, topic := range []string{"a", "a*", "ab", "b", "chat", "chat:", "chat:*", "chat:1", "chat:10"} {
				if err := claims.Allow(scope, pubsub.Topic(topic)); err == nil {
					allowed = append(allowed, topic)
				} else if pubsub.Refusal(err).Code != code {
					t.Errorf("%s: %s %s: %v, want %s", c.claims, scope, topic, err, code)
				}
			}
			if got := strings.Join(allowed, " "); got != want {
				t.Errorf("%s: %s %q, want %q", c.claims, scope, got, want)
			}
			if got := claims.Has(scope); got != (code != pubsub.ScopeDenied) {
				t.Errorf("%s: Has(%s) = %t", c.claims, scope, got)
			}
		}
	}
}

func TestSignInfoAndUntil(t *testing.T) {
	signer := authtest.NewSigner(t)
	grant := auth.Grant{
		Subject: "u", Scopes: []auth.Scope{auth.Subscribe}, Topics: []pubsub.Topic{"a"}, Expires: time.Now().Add(time.Hour),
		Until: time.Now().Add(2 * time.Hour).Truncate(time.Second), Info: json.RawMessage(`{"name":"N"}`),
	}
	token, err := signer.Sign(grant)
	if err != nil {
		t.Fatal(err)
	}
	claims, err := authtest.NewVerifier(t, signer).Verify(token)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := claims.Info(); err != nil || string(info) != `{"name":"N"}` || !claims.Until().Equal(grant.Until) {
		t.Errorf("info %s, %v, until %v; want %s until %v", info, err, claims.Until(), grant.Info, grant.Until)
	}
	for _, info := range []string{`[]`, `null`} {
		grant.Info = json.RawMessage(info)
		if _, err := signer.Sign(grant); err == nil {
			t.Errorf("signed the invalid info %s", info)
		}
	}
}

// The claims say which token they are from, so that the token can be revoked.
func TestIdentity(t *testing.T) {
	issuer := newIssuer(t, 1)
	long := strings.Repeat("x", 3000)
	for members, want := range map[string]struct {
		id     string
		issued int64
	}{
		``:                                {"", 0},
		`,"jti":null,"iat":null`:          {"", 0},
		`,"jti":"","iat":0`:               {"", 0},
		`,"jti":"a b","iat":1767323044.5`: {"a b", 1767323044500},
		`,"jti":"` + long + `"`:           {long, 0},
		`,"jti":12`:                       {"12", 0},
		`,"jti":["x"]`:                    {`["x"]`, 0},
	} {
		token := issuer.token(t, `{"alg":"ES256","kid":"one"}`, `{`+goodMembers+`,"iss":"I","exp":1767326645`+members+`}`)
		for kid, keys := range map[string]string{"": string(publicPEM(t, issuer.key.Public())), "one": `{"kid":"one",` + ecJWK(t, issuer.key.Public()) + `}`} {
			claims, err := verifierOf(t, keys).Verify(token)
			if err != nil {
				t.Fatal(err)
			}
			if claims.ID() != want.id || claims.KeyID() != kid || claims.Issuer() != "" {
				t.Errorf("%.40s: ID = %.40q, KeyID = %q, Issuer = %q; want %.40q, %q, none", members, claims.ID(), claims.KeyID(), claims.Issuer(), want.id, kid)
			}
			issued := claims.IssuedAt()
			if want.issued == 0 && !issued.IsZero() || want.issued != 0 && issued.UnixMilli() != want.issued {
				t.Errorf("%.40s: IssuedAt = %v, want %d", members, issued, want.issued)
			}
		}
	}
}

// What a subscription keeps of a token with many topics names the token and its user, and
// allows nothing. A small token is kept whole.
func TestIdentityOfManyTopics(t *testing.T) {
	issuer := newIssuer(t, 1)
	verifier := issuer.verifier(t, auth.Config{})
	for n, kept := range map[int]bool{1: true, 5: true, 100: false} {
		names := []string{"A"}
		for i := range n - 1 {
			names = append(names, fmt.Sprintf("%050d", i))
		}
		text, _ := json.Marshal(names)
		claims, err := verifier.Verify(issuer.token(t, goodHeader, `{"sub":"u","scope":"subscribe","jti":"id","iat":1767322000,"exp":1767326645,"topics":`+string(text)+`}`))
		if err != nil {
			t.Fatal(err)
		}
		id := claims.Identity()
		if (id == claims) != kept || id != claims.Identity() || id != id.Identity() {
			t.Errorf("with %d topics, the claims are kept whole: %t, want %t", n, id == claims, kept)
		}
		if id.Subject != "u" || id.ID() != "id" || !id.IssuedAt().Equal(claims.IssuedAt()) || !id.Expires().Equal(claims.Expires()) || id.KeyID() != claims.KeyID() || id.NeedUser() != nil {
			t.Errorf("with %d topics, the identity is %+v of %+v", n, id, claims)
		}
		if allows := id.Allow(auth.Subscribe, "A") == nil; allows != kept {
			t.Errorf("the identity of %d topics allows one: %t", n, allows)
		}
	}
}
