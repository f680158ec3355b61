package explain_test

import (
	"strings"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/explain"
	"github.com/ikornaselur/notiflux/internal/internaltest/authtest"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

func TestText(t *testing.T) {
	signer := authtest.NewSigner(t)
	verifier := authtest.NewVerifier(t, signer)
	now := time.Now().Truncate(time.Second)
	for _, c := range []struct {
		grant  auth.Grant
		broken bool
		want   string // with the times taken out
		all    bool
	}{
		{auth.Grant{Subject: "ann", Topics: []pubsub.Topic{"b", "a"}, Patterns: []pubsub.Pattern{"c:*"}, Scopes: []auth.Scope{auth.Subscribe}, Expires: now.Add(time.Hour), Issued: now, ID: "1", Until: now.Add(time.Minute)}, false,
			`token:      accepted
key:        ES256
user:       "ann"
jti:        "1"
issued:     … (in 0s)
expires:    … (in 1h0m0s)
until:      … (in 1m0s)
subscribe:  "a", "b", every topic that begins with "c:"
broadcast:  nothing

topic "a"
subscribe:  accepted
broadcast:  refused (scope_denied): the token does not have the scope broadcast
`, true},
		{auth.Grant{Subject: "", Patterns: []pubsub.Pattern{"*"}, Scopes: []auth.Scope{auth.Broadcast}, Expires: now.Add(-time.Hour)}, false,
			`token:      refused (token_expired): the token expired at …
key:        ES256
user:       ""
expires:    … (1h0m0s ago)
subscribe:  nothing
broadcast:  every topic

topic "a"
subscribe:  refused (token_expired): the token expired at …
broadcast:  refused (token_expired): the token expired at …
`, false},
		// Of a token that is refused, it shows the claims that say for whom the token is meant.
		{auth.Grant{Topics: []pubsub.Topic{"b"}, Scopes: []auth.Scope{auth.Broadcast}, Expires: now.Add(-time.Hour), Issuer: "shop", Audience: "rooms"}, false,
			`token:      refused (token_expired): the token expired at …
key:        ES256
user:       ""
issuer:     "shop"
audience:   "rooms"
expires:    … (1h0m0s ago)
subscribe:  nothing
broadcast:  "b"

topic "a"
subscribe:  refused (token_expired): the token expired at …
broadcast:  refused (token_expired): the token expired at …
`, false},
		// The verifier's key has no issuer, so none can be named in a revocation.
		{auth.Grant{Topics: []pubsub.Topic{"a"}, Scopes: []auth.Scope{auth.Broadcast}, Expires: now.Add(time.Hour), Issuer: "shop"}, false,
			`token:      accepted
key:        ES256
user:       ""
expires:    … (in 1h0m0s)
subscribe:  nothing
broadcast:  "a"

topic "a"
subscribe:  refused (scope_denied): the token does not have the scope subscribe
broadcast:  accepted
`, true},
		{auth.Grant{Subject: "ann", Topics: []pubsub.Topic{"a"}, Scopes: []auth.Scope{auth.Subscribe}, Expires: now.Add(time.Hour)}, true,
			`token:      refused (token_invalid): the token is not a JWT: a JWT has three parts in base64url without padding, separated by dots

topic "a"
subscribe:  refused (token_invalid): the token is not a JWT: a JWT has three parts in base64url without padding, separated by dots
broadcast:  refused (token_invalid): the token is not a JWT: a JWT has three parts in base64url without padding, separated by dots
`, false},
	} {
		token, err := signer.Sign(c.grant)
		if err != nil {
			t.Fatal(err)
		}
		if c.broken {
			token = "x"
		}
		report := explain.Explain(verifier, nil, now, token, "a")
		var text strings.Builder
		if err := report.WriteText(&text, now); err != nil {
			t.Fatal(err)
		}
		got := text.String()
		for _, at := range []time.Time{c.grant.Expires, c.grant.Issued, c.grant.Until} {
			got = strings.ReplaceAll(got, at.UTC().Format(time.RFC3339), "…")
		}
		if got != c.want || report.AllowsAll() != c.all {
			t.Errorf("the report is\n%s\nwant\n%s", got, c.want)
		}
	}
}

func TestSettingsInALine(t *testing.T) {
	for _, c := range []struct {
		settings explain.Settings
		want     string
	}{
		{explain.Settings{Section: "room:*", At: "notiflux.yaml:3", MaxMessageBytes: 1000}, `section "room:*" (notiflux.yaml:3); history: off; presence: off; message: at most 1000 bytes`},
		{explain.Settings{History: &explain.History{Messages: 5, Bytes: 1024, Age: "5m0s"}, Presence: true, MaxMessageBytes: 65536},
			"those of topics without a section; history: 5 messages, 1024 bytes, 5m0s; presence: on; message: at most 65536 bytes"},
	} {
		if got := c.settings.String(); got != c.want {
			t.Errorf("the settings are %q, want %q", got, c.want)
		}
	}
}
