package auth_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux"
	"github.com/ikornaselur/notiflux/internal/auth"
)

// A token that was refused after a check of its signature is refused without one for a
// minute, and no longer: a clock that was wrong may be right by then.
func TestFailuresAreRemembered(t *testing.T) {
	issuer, stranger := newIssuer(t, 1), newIssuer(t, 2)
	began := time.Unix(now, 0)
	clock := began
	verifier := issuer.verifier(t, auth.Config{Now: func() time.Time { return clock }})
	for name, c := range map[string]struct {
		token auth.Token
		code  notiflux.Code
	}{
		"a wrong signature": {stranger.token(t, goodHeader, goodPayload), notiflux.TokenInvalid},
		"an expired token":  {issuer.token(t, goodHeader, `{`+goodMembers+`,"exp":1}`), notiflux.TokenExpired},
	} {
		recalls := func(want bool) {
			t.Helper()
			claims, known, err := verifier.Recall(c.token)
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
		if !auth.CostSignature(err) {
			t.Errorf("%s: CostSignature(%v) = false, want true", name, err)
		}
		clock = began.Add(time.Minute)
		recalls(true)
		_, err = verifier.Verify(c.token)
		wantRefused(t, c.token, err, c.code)
		clock = began.Add(time.Minute + 1)
		recalls(false)
		clock = began.Add(-1) // the clock was put back
		recalls(false)
	}
}

// What costs no signature is not remembered, and neither is what may pass.
func TestOtherRefusalsAreNotRemembered(t *testing.T) {
	issuer := newIssuer(t, 1)
	verifier := issuer.verifier(t, auth.Config{})
	for name, token := range map[string]auth.Token{
		"not valid yet":   issuer.token(t, goodHeader, `{`+goodMembers+`,"exp":1767326645,"nbf":1767326000}`),
		"no scope":        issuer.token(t, goodHeader, `{"exp":1767326645,"sub":"u","topic":"a"}`),
		"a wrong alg":     issuer.token(t, `{"alg":"none"}`, goodPayload),
		"not valid at it": issuer.token(t, goodHeader, `{`+goodMembers+`,"exp":1767326645,"iat":1767326000}`),
	} {
		_, err := verifier.Verify(token)
		wantRefused(t, token, err, notiflux.TokenInvalid)
		if _, known, _ := verifier.Recall(token); known || auth.CostSignature(err) {
			t.Errorf("%s: known %t, cost a signature %t; want neither", name, known, auth.CostSignature(err))
		}
	}
	for _, token := range []auth.Token{"", "x", "a.b.c.d"} {
		if _, known, err := verifier.Recall(token); !known || err == nil || auth.CostSignature(err) {
			t.Errorf("Recall(%q) = %t, %v; want its form refused at once", string(token), known, err)
		}
	}
	good := issuer.token(t, goodHeader, goodPayload)
	if _, known, err := verifier.Recall(good); known || err != nil {
		t.Errorf("Recall of a good token that is new = %t, %v; want false, nil", known, err)
	}
	claims, err := verifier.Verify(good)
	if recalled, known, recallErr := verifier.Recall(good); err != nil || !known || recalled != claims || recallErr != nil {
		t.Errorf("Recall of a token that was verified = %v, %t, %v; want its claims", recalled, known, recallErr)
	}
}

// Strangers who send ever new tokens make the server forget older ones, and take no
// memory beyond that.
func TestFailuresAreBounded(t *testing.T) {
	issuer := newIssuer(t, 1)
	verifier := issuer.verifier(t, auth.Config{})
	input := b64(goodHeader) + "." + b64(goodPayload)
	wrong := func(i int) auth.Token { return join(input, []byte(fmt.Sprintf("%064d", i))) }
	const most = 8192
	for i := range most + 10 {
		_, err := verifier.Verify(wrong(i))
		wantRefused(t, "", err, notiflux.TokenInvalid)
	}
	for _, i := range []int{0, 9, 10, most + 9} {
		if _, known, _ := verifier.Recall(wrong(i)); known != (i >= 10) {
			t.Errorf("the failure number %d is known: %t, want the last %d known", i, known, most)
		}
	}
}

// Other keys may accept what these have refused.
func TestFailuresAreOfTheirKeys(t *testing.T) {
	one, two := newIssuer(t, 1), newIssuer(t, 2)
	token := two.token(t, goodHeader, goodPayload)
	if _, err := one.verifier(t, auth.Config{}).Verify(token); err == nil {
		t.Error("accepted by other keys")
	}
	if _, err := two.verifier(t, auth.Config{}).Verify(token); err != nil {
		t.Errorf("Verify = %v, want nil", err)
	}
}
