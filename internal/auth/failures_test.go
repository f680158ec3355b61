package auth_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// After a signature check, a refused token costs no other one for a minute. Later it does,
// because a wrong clock may have been corrected.
func TestFailuresAreRemembered(t *testing.T) {
	issuer, stranger := newIssuer(t, 1), newIssuer(t, 2)
	began := time.Unix(now, 0)
	clock := began
	verifier := issuer.verifier(t, auth.Config{Now: func() time.Time { return clock }})
	for name, c := range map[string]struct {
		token auth.Token
		code  pubsub.Code
	}{
		"a wrong signature": {stranger.token(t, goodHeader, goodPayload), pubsub.TokenInvalid},
		"an expired token":  {issuer.token(t, goodHeader, `{`+goodMembers+`,"exp":1}`), pubsub.TokenExpired},
	} {
		recalls := func(want bool) {
			t.Helper()
			claims, known, err := verifier.Recall(c.token, "")
			if known != want || claims != nil || (err != nil) != want {
				t.Fatalf("%s: Recall = %v, %t, %v; want it known: %t", name, claims, known, err, want)
			}
			if want {
				wantRefused(t, c.token, err, c.code)
			}
		}
		clock = began
		recalls(false)
		_, err := verifier.Verify(c.token)
		wantRefused(t, c.token, err, c.code)
		if !auth.CheckedSignature(err) {
			t.Errorf("%s: CheckedSignature(%v) = false, want true", name, err)
		}
		clock = began.Add(time.Minute)
		recalls(true)
		_, err = verifier.Verify(c.token)
		wantRefused(t, c.token, err, c.code)
		clock = began.Add(time.Minute + 1)
		recalls(false)
		clock = began.Add(-1) // the clock was set back
		recalls(false)
	}
}

// The refusal of a token that is not valid yet is also kept for a minute, but only until
// the leeway before nbf and iat begins.
func TestTokensAheadOfTheClockAreRemembered(t *testing.T) {
	issuer := newIssuer(t, 1)
	began := time.Unix(now, 0)
	clock := began
	verifier := issuer.verifier(t, auth.Config{Now: func() time.Time { return clock }})
	for name, c := range map[string]struct {
		nbf, iat time.Duration // after the start
		forgets  time.Duration
		accepted bool // once the verifier drops the refusal
	}{
		"nbf in an hour":               {time.Hour, 0, time.Minute + 1, false},
		"iat in an hour":               {0, time.Hour, time.Minute + 1, false},
		"nbf soon":                     {auth.Leeway + 10*time.Second, 0, 10 * time.Second, true},
		"iat soon":                     {0, auth.Leeway + 10*time.Second, 10 * time.Second, true},
		"nbf soon, and iat after that": {auth.Leeway + 10*time.Second, auth.Leeway + 20*time.Second, 20 * time.Second, true},
	} {
		token := issuer.token(t, goodHeader, fmt.Sprintf(`{%s,"exp":%d,"nbf":%d,"iat":%d}`, goodMembers,
			began.Add(2*time.Hour).Unix(), began.Add(c.nbf).Unix(), began.Add(c.iat).Unix()))
		clock = began
		_, err := verifier.Verify(token)
		wantRefused(t, token, err, pubsub.TokenInvalid)
		if !auth.CheckedSignature(err) {
			t.Errorf("%s: CheckedSignature(%v) = false, want true", name, err)
		}
		clock = began.Add(c.forgets - 1)
		_, known, recalled := verifier.Recall(token, "")
		if !known || recalled == nil || recalled.Error() != err.Error() || auth.CheckedSignature(recalled) {
			t.Errorf("%s: Recall after %v = %t, %v; want the same refusal, without a check", name, c.forgets-1, known, recalled)
		}
		clock = began.Add(c.forgets)
		if _, known, _ := verifier.Recall(token, ""); known {
			t.Errorf("%s: known after %v", name, c.forgets)
		}
		if _, err := verifier.Verify(token); err == nil != c.accepted {
			t.Errorf("%s: Verify after %v = %v, want it accepted: %t", name, c.forgets, err, c.accepted)
		}
	}
}

// A refusal without a signature check is not kept.
func TestOtherRefusalsAreNotRemembered(t *testing.T) {
	issuer := newIssuer(t, 1)
	verifier := issuer.verifier(t, auth.Config{})
	for name, token := range map[string]auth.Token{
		"no scope":    issuer.token(t, goodHeader, `{"exp":1767326645,"sub":"u","topic":"a"}`),
		"a wrong alg": issuer.token(t, `{"alg":"none"}`, goodPayload),
	} {
		_, err := verifier.Verify(token)
		wantRefused(t, token, err, pubsub.TokenInvalid)
		if _, known, _ := verifier.Recall(token, ""); known || auth.CheckedSignature(err) {
			t.Errorf("%s: known %t, checked a signature %t; want neither", name, known, auth.CheckedSignature(err))
		}
	}
	for _, token := range []auth.Token{"", "x", "a.b.c.d"} {
		if _, known, err := verifier.Recall(token, ""); !known || err == nil || auth.CheckedSignature(err) {
			t.Errorf("Recall(%q) = %t, %v; want its form refused at once", string(token), known, err)
		}
	}
	good := issuer.token(t, goodHeader, goodPayload)
	if _, known, err := verifier.Recall(good, ""); known || err != nil {
		t.Errorf("Recall of a new valid token = %t, %v; want false, nil", known, err)
	}
	claims, err := verifier.Verify(good)
	if recalled, known, recallErr := verifier.Recall(good, ""); err != nil || !known || recalled != claims || recallErr != nil {
		t.Errorf("Recall of a token that was verified = %v, %t, %v; want its claims", recalled, known, recallErr)
	}
}

// A client that keeps sending new tokens displaces older failures, and takes no more
// memory.
func TestFailuresAreBounded(t *testing.T) {
	issuer := newIssuer(t, 1)
	verifier := issuer.verifier(t, auth.Config{})
	input := b64(goodHeader) + "." + b64(goodPayload)
	wrong := func(i int) auth.Token { return join(input, []byte(fmt.Sprintf("%064d", i))) }
	const most = 8192
	for i := range most + 10 {
		_, err := verifier.Verify(wrong(i))
		wantRefused(t, "", err, pubsub.TokenInvalid)
	}
	for _, i := range []int{0, 9, 10, most + 9} {
		if _, known, _ := verifier.Recall(wrong(i), ""); known != (i >= 10) {
			t.Errorf("the failure number %d is known: %t, want the last %d known", i, known, most)
		}
	}
}

// A refusal by one set of keys does not apply to another set.
func TestFailuresBelongToTheirKeys(t *testing.T) {
	one, two := newIssuer(t, 1), newIssuer(t, 2)
	token := two.token(t, goodHeader, goodPayload)
	if _, err := one.verifier(t, auth.Config{}).Verify(token); err == nil {
		t.Error("accepted by other keys")
	}
	if _, err := two.verifier(t, auth.Config{}).Verify(token); err != nil {
		t.Errorf("Verify = %v, want nil", err)
	}
}
