package auth_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// A fewFailures limit lets a number of failures of each address pass.
type fewFailures map[string]int

func (f fewFailures) Check(remote string) error {
	if f[remote] > 0 {
		return nil
	}
	return pubsub.Errorf(pubsub.TooMany, "too many")
}

func (f fewFailures) Count(remote string) { f[remote]-- }

// Only tokens that are refused as invalid count. Once there are too many, the address can use
// the tokens that it has used before, and no other ones.
func TestFailuresAreLimited(t *testing.T) {
	own, stranger := newIssuer(t, 1), newIssuer(t, 2)
	failures := fewFailures{"a": 3, "b": 1}
	v := own.verifier(t, auth.Config{Now: func() time.Time { return time.Unix(now, 0) }, Failures: failures})
	verify := func(token auth.Token, remote string) (code pubsub.Code) {
		t.Helper()
		done := func(_ *auth.Claims, err error) {
			if err != nil {
				code = pubsub.Refusal(err).Code
			}
		}
		if claims, known, err := v.Recall(token, remote); known {
			done(claims, err)
		} else if err := v.Start(atOnce{}, token, remote, done); err != nil {
			done(nil, err)
		}
		return code
	}
	token := func(i issuer, id int) auth.Token {
		return i.token(t, goodHeader, fmt.Sprintf(`{%s,"exp":%d,"jti":"%d"}`, goodMembers, now+60, id))
	}
	used := token(own, 0)
	expired := own.token(t, goodHeader, `{`+goodMembers+`,"exp":1}`)
	for i, step := range []struct {
		token  auth.Token
		remote string
		want   pubsub.Code
		left   int // of address a
	}{
		{used, "a", "", 3},
		{expired, "a", pubsub.TokenExpired, 3},
		{expired, "a", pubsub.TokenExpired, 3},
		{"", "a", pubsub.TokenMissing, 3},
		{token(stranger, 1), "a", pubsub.TokenInvalid, 2},
		{token(stranger, 1), "a", pubsub.TokenInvalid, 1}, // again, from the cache
		{"not a token", "b", pubsub.TokenInvalid, 1},
		{token(own, 1), "a", "", 1},
		{"not a token", "a", pubsub.TokenInvalid, 0},
		{token(own, 2), "a", pubsub.TooMany, 0},
		{token(stranger, 2), "a", pubsub.TooMany, 0},
		{token(stranger, 1), "a", pubsub.TooMany, 0},
		{"not a token", "a", pubsub.TooMany, 0},
		{expired, "a", pubsub.TooMany, 0},
		{"", "a", pubsub.TokenMissing, 0},
		{used, "a", "", 0},
		{token(own, 1), "a", "", 0},
		{token(own, 1), "b", "", 0},
		{token(own, 3), "b", pubsub.TooMany, 0},
		{token(own, 4), "c", pubsub.TooMany, 0},
		{token(own, 3), "", "", 0}, // no address: no limit
		{token(stranger, 3), "", pubsub.TokenInvalid, 0},
	} {
		if got := verify(step.token, step.remote); got != step.want || failures["a"] != step.left {
			t.Errorf("step %d: %q, and %d failures are left; want %q, %d", i, got, failures["a"], step.want, step.left)
		}
	}
	if checked := v.Stats().Verified; checked != 3 {
		t.Errorf("%d tokens were verified, want 3", checked)
	}
}
