package httpapi_test

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/httpapi"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

func TestSourcesOfTokens(t *testing.T) {
	open := newService(t, httpapi.Config{})
	listed := newService(t, httpapi.Config{}, "https://app.example.com")
	strict := newService(t, httpapi.Config{NoQueryTokens: true})
	const host = "push.example.com:8443"
	for _, c := range []struct {
		name   string
		s      *service
		query  string   // GOOD and BAD stand for tokens, here and in headers
		header []string // pairs of name and value
		code   pubsub.Code
	}{
		{"none", open, "", nil, pubsub.TokenMissing},
		{"header", open, "", []string{"Authorization", "Bearer GOOD"}, ""},
		{"cookie", open, "", []string{"Cookie", "notiflux_token=GOOD"}, ""},
		{"query", open, "&token=GOOD", nil, ""},
		{"empty query", open, "&token=", nil, pubsub.TokenMissing},
		{"empty cookie", open, "", []string{"Cookie", "notiflux_token="}, pubsub.TokenMissing},
		{"another cookie", open, "", []string{"Cookie", "token=GOOD"}, pubsub.TokenMissing},
		{"the header wins", open, "&token=BAD", []string{"Authorization", "Bearer GOOD", "Cookie", "notiflux_token=BAD"}, ""},
		{"the header wins though it is bad", open, "&token=GOOD", []string{"Authorization", "Bearer BAD", "Cookie", "notiflux_token=GOOD"}, pubsub.TokenInvalid},
		{"another scheme, and the query", open, "&token=GOOD", []string{"Authorization", "Basic dTpw"}, ""},
		{"another scheme, and the cookie", open, "", []string{"Authorization", "Basic dTpw", "Cookie", "notiflux_token=GOOD"}, ""},
		{"another scheme, and a bad cookie", open, "&token=GOOD", []string{"Authorization", "Basic dTpw", "Cookie", "notiflux_token=BAD"}, pubsub.TokenInvalid},
		{"another scheme alone", open, "", []string{"Authorization", "Digest username=u"}, pubsub.TokenInvalid},
		{"another scheme, query switched off", strict, "&token=GOOD", []string{"Authorization", "Basic dTpw"}, pubsub.TokenInvalid},
		{"an empty header counts as absent", open, "&token=GOOD", []string{"Authorization", ""}, ""},
		{"an empty header counts as absent, with a cookie", open, "", []string{"Authorization", " ", "Cookie", "notiflux_token=GOOD"}, ""},
		{"an empty header alone", open, "", []string{"Authorization", ""}, pubsub.TokenMissing},
		{"Bearer without a token, and the query", open, "&token=GOOD", []string{"Authorization", "Bearer"}, ""},
		{"Bearer without a token, and the cookie", open, "", []string{"Authorization", "bearer ", "Cookie", "notiflux_token=GOOD"}, ""},
		{"Bearer without a token, and a bad token", open, "&token=BAD", []string{"Authorization", "Bearer"}, pubsub.TokenInvalid},
		{"Bearer without a token alone", open, "", []string{"Authorization", "Bearer"}, pubsub.TokenInvalid},
		{"a broken header is not passed over", open, "&token=GOOD", []string{"Authorization", "Bearer GOOD GOOD"}, pubsub.TokenInvalid},
		{"no scheme is not passed over", open, "&token=GOOD", []string{"Authorization", "GOOD"}, pubsub.TokenInvalid},
		{"the cookie goes before the query", open, "&token=GOOD", []string{"Cookie", "notiflux_token=BAD"}, pubsub.TokenInvalid},
		{"an empty cookie counts as absent", open, "&token=GOOD", []string{"Cookie", "notiflux_token="}, ""},
		{"two cookies", open, "&token=GOOD", []string{"Cookie", "notiflux_token=GOOD; notiflux_token=GOOD"}, pubsub.TokenInvalid},
		{"query switched off", strict, "&token=GOOD", nil, pubsub.TokenMissing},
		{"query switched off, twice", strict, "&token=GOOD&token=GOOD", nil, pubsub.TokenMissing},
		{"two in the query", open, "&token=GOOD&token=GOOD", nil, pubsub.Malformed},

		{"cookie from this host", open, "", []string{"Cookie", "notiflux_token=GOOD", "Origin", "https://" + host}, ""},
		{"cookie from this host, other case", open, "", []string{"Cookie", "notiflux_token=GOOD", "Origin", "http://PUSH.example.com:8443"}, ""},
		{"cookie from a listed page", listed, "", []string{"Cookie", "notiflux_token=GOOD", "Origin", "https://app.example.com"}, ""},
		{"cookie from a page that * allows", open, "", []string{"Cookie", "notiflux_token=GOOD", "Origin", "https://app.example.com"}, pubsub.TokenMissing},
		{"query from a page that * allows", open, "&token=GOOD", []string{"Cookie", "notiflux_token=BAD", "Origin", "https://app.example.com"}, ""},
		{"two foreign cookies", open, "&token=GOOD", []string{"Cookie", "notiflux_token=BAD; notiflux_token=BAD", "Origin", "https://app.example.com"}, ""},
		{"cookie from this page", open, "", []string{"Cookie", "notiflux_token=GOOD", "Sec-Fetch-Site", "same-origin"}, ""},
		{"cookie from the address bar", open, "", []string{"Cookie", "notiflux_token=GOOD", "Sec-Fetch-Site", "none"}, ""},
		{"cookie embedded by another site", open, "", []string{"Cookie", "notiflux_token=GOOD", "Sec-Fetch-Site", "cross-site"}, pubsub.TokenMissing},
		{"cookie embedded by another host", open, "", []string{"Cookie", "notiflux_token=GOOD", "Sec-Fetch-Site", "same-site"}, pubsub.TokenMissing},
		{"cookie from null", open, "", []string{"Cookie", "notiflux_token=GOOD", "Origin", "null"}, pubsub.TokenMissing},
		{"cookie from *", open, "", []string{"Cookie", "notiflux_token=GOOD", "Origin", "*"}, pubsub.TokenMissing},
		{"cookie from an empty origin", open, "", []string{"Cookie", "notiflux_token=GOOD", "Origin", ""}, pubsub.TokenMissing},
		{"cookie from two origins", open, "", []string{"Cookie", "notiflux_token=GOOD", "Origin", "https://" + host, "Origin", "https://evil.example.com"}, pubsub.TokenMissing},
		{"cookie from another port", open, "", []string{"Cookie", "notiflux_token=GOOD", "Origin", "https://push.example.com"}, pubsub.TokenMissing},
		{"cookie from a longer name", open, "", []string{"Cookie", "notiflux_token=GOOD", "Origin", "https://" + host + ".evil.example.com"}, pubsub.TokenMissing},
		{"cookie from a shorter name", open, "", []string{"Cookie", "notiflux_token=GOOD", "Origin", "https://example.com:8443"}, pubsub.TokenMissing},
		{"cookie from a sub-domain", open, "", []string{"Cookie", "notiflux_token=GOOD", "Origin", "https://x." + host}, pubsub.TokenMissing},
		{"cookie from a user name", open, "", []string{"Cookie", "notiflux_token=GOOD", "Origin", "https://" + host + "@evil.example.com"}, pubsub.TokenMissing},
		{"cookie from a path", open, "", []string{"Cookie", "notiflux_token=GOOD", "Origin", "https://evil.example.com/https://" + host}, pubsub.TokenMissing},
		{"cookie from another scheme", open, "", []string{"Cookie", "notiflux_token=GOOD", "Origin", "chrome-extension://" + host}, pubsub.TokenMissing},
		{"cookie without a scheme", open, "", []string{"Cookie", "notiflux_token=GOOD", "Origin", host}, pubsub.TokenMissing},
	} {
		fill := strings.NewReplacer("GOOD", token(t, c.s.signer, auth.Subscribe, "a", "b"), "BAD", "eyJhbGciOiJub25lIn0.e30.AA")
		for i := range c.header {
			c.header[i] = fill.Replace(c.header[i])
		}
		for _, path := range []string{"/history?topic=a&limit=0", "/poll?topic=a&topic=b&wait=0"} {
			r := c.s.serve(t, t.Context(), "GET", "http://"+host+path+fill.Replace(c.query), c.header...)
			if r.problem.Code != c.code {
				t.Errorf("%s: GET %s = %d %q (%s), want %q", c.name, path, r.status, r.problem.Code, r.body, c.code)
			}
			if (r.status == 401) != (r.header.Get("WWW-Authenticate") != "") {
				t.Errorf("%s: %d with WWW-Authenticate %q", c.name, r.status, r.header.Get("WWW-Authenticate"))
			}
		}
	}
}

func TestAuthorizeCoversAllTopics(t *testing.T) {
	s := newService(t, httpapi.Config{})
	one, both := token(t, s.signer, auth.Subscribe, "a"), token(t, s.signer, auth.Subscribe, "a", "b")
	for _, c := range []struct {
		token  string
		topics []pubsub.Topic
		code   pubsub.Code
	}{
		{both, []pubsub.Topic{"a", "b"}, ""},
		{both, nil, ""},
		{one, []pubsub.Topic{"a"}, ""},
		{one, []pubsub.Topic{"a", "b"}, pubsub.TopicDenied},
		{one, []pubsub.Topic{"A"}, pubsub.TopicDenied},
		{token(t, s.signer, auth.Broadcast, "a"), []pubsub.Topic{"a"}, pubsub.ScopeDenied},
	} {
		r := httptest.NewRequest("GET", "/events?token="+c.token, nil)
		claims, err := s.api.Authorize(r, c.topics...)
		switch {
		case c.code != "":
			if err == nil || pubsub.Refusal(err).Code != c.code || claims != nil {
				t.Errorf("Authorize(%q) = %v, %v; want %s", c.topics, claims, err, c.code)
			}
		case err != nil || claims.Subject != "test" || time.Until(claims.Expires()) < time.Minute:
			t.Errorf("Authorize(%q) = %v, %v; want the claims", c.topics, claims, err)
		}
	}
}

// Whatever the outcome of a request, its query is not logged: newService looks for tokens
// in the log.
func TestTokensInQueriesAreNotLogged(t *testing.T) {
	s := newService(t, httpapi.Config{})
	good, foreign := token(t, s.signer, auth.Subscribe, "a"), token(t, s.signer, auth.Broadcast, "a")
	for _, target := range []string{
		"/history?topic=a&token=" + good,
		"/history?topic=a&token=" + foreign,
		"/history?topic=a&token=" + good + "x",
		"/history?topic=a&token=" + good + "%zz",
		"/history?topic=a&token=" + good + ";x",
		"/history?topic=" + good + "%00",
		"/history?topic=a&since=" + good,
		"/history?topic=a&limit=" + good,
		"/poll?topic=a&since=" + good,
		"/poll?topic=a&wait=" + good,
		"/poll?topic=b&token=" + good,
		"/broadcast?token=" + good,
		"/nothing?token=" + good,
		"/" + good,
	} {
		r := s.do(t, "GET", target, "")
		if strings.Contains(r.body, "eyJ") {
			t.Errorf("GET %s returned the token: %s", target, r.body)
		}
	}
	if !strings.Contains(s.log.String(), "request refused") {
		t.Errorf("the log is %q, want it to contain refusals", s.log)
	}
}
