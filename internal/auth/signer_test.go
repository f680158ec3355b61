package auth_test

import (
	"crypto"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/internaltest/authtest"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

func TestSignedTokensAreAccepted(t *testing.T) {
	for _, key := range []crypto.PrivateKey{newIssuer(t, 1).key, ed25519Key(1), rsaKey()} {
		signer, err := auth.ParsePrivateKey(privatePEM(t, key))
		if err != nil {
			t.Fatal(err)
		}
		keys, err := auth.ParseKeys(signer.PublicPEM())
		if err != nil {
			t.Fatal(err)
		}
		for _, topics := range [][]pubsub.Topic{{"a"}, {"a", "<b> & é", "$JS.API.x"}} {
			token, err := signer.Sign(auth.Grant{
				Subject: "who", Scopes: []auth.Scope{auth.Subscribe, auth.Broadcast}, Topics: topics,
				Expires: time.Unix(goodExpiry, 999),
			})
			if err != nil {
				t.Fatalf("%T: Sign = %v, want nil", key, err)
			}
			claims, err := auth.New(auth.Config{Keys: keys, Now: at(now)}).Verify(token)
			if err != nil {
				t.Fatalf("%T: Verify = %v, want nil", key, err)
			}
			if claims.Subject != "who" || claims.Expires().Unix() != goodExpiry {
				t.Errorf("%T: Verify = %q until %v, want who until %d", key, claims.Subject, claims.Expires(), goodExpiry)
			}
			for _, topic := range topics {
				if err := claims.Allow(auth.Broadcast, topic); err != nil {
					t.Errorf("%T: Allow(broadcast, %q) = %v, want nil", key, topic, err)
				}
			}
		}
	}
}

func TestSignRefusesWhatNoServerAccepts(t *testing.T) {
	signer := authtest.NewSigner(t)
	many := make([]pubsub.Topic, 1001)
	for i := range many {
		many[i] = pubsub.Topic(fmt.Sprint(i))
	}
	long := make([]pubsub.Topic, 40)
	for i := range long {
		long[i] = pubsub.Topic(fmt.Sprint(i) + strings.Repeat("x", 200))
	}
	good := auth.Grant{Subject: "u", Scopes: []auth.Scope{auth.Subscribe}, Topics: []pubsub.Topic{"a"}, Expires: time.Unix(goodExpiry, 0)}
	for name, c := range map[string]struct {
		change func(*auth.Grant)
		want   string
	}{
		"no scope":         {func(g *auth.Grant) { g.Scopes = nil }, "the token has no scope"},
		"unknown scope":    {func(g *auth.Grant) { g.Scopes = []auth.Scope{auth.Subscribe, "admin"} }, `"admin" is not a scope: it must be subscribe or broadcast`},
		"no topic":         {func(g *auth.Grant) { g.Topics = nil }, "the token allows no topic"},
		"issuer not UTF-8": {func(g *auth.Grant) { g.Issuer = "\xff" }, "the issuer or the audience is not UTF-8"},
		"empty topic":      {func(g *auth.Grant) { g.Topics = []pubsub.Topic{""} }, "the topic is empty"},
		"topic not UTF-8":  {func(g *auth.Grant) { g.Topics = []pubsub.Topic{"a", "\xff"} }, "not UTF-8"},
		"1,001 topics":     {func(g *auth.Grant) { g.Topics = many }, "the token has 1001 topics; the limit is 1000"},
		"no pattern":       {func(g *auth.Grant) { g.Patterns = []pubsub.Pattern{"a"} }, "does not end with *"},
		"subscribe to all": {func(g *auth.Grant) { g.Patterns = []pubsub.Pattern{"*"} }, "would allow subscribing to every topic"},
		"too long":         {func(g *auth.Grant) { g.Topics = long }, "name fewer topics"},
		"long subject":     {func(g *auth.Grant) { g.Subject = strings.Repeat("x", 256) }, "256 bytes; the limit is 255"},
		"subject no UTF-8": {func(g *auth.Grant) { g.Subject = "\xff" }, "the subject is not UTF-8"},
		"no expiry":        {func(g *auth.Grant) { g.Expires = time.Time{} }, "exp in the token must be"},
	} {
		t.Run(name, func(t *testing.T) {
			grant := good
			c.change(&grant)
			token, err := signer.Sign(grant)
			if err == nil || token != "" || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Sign = %v, %v, want %q", token, err, c.want)
			}
		})
	}
}
