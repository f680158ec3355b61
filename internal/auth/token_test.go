package auth_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

func TestTokenIsNeverPrinted(t *testing.T) {
	token := newIssuer(t, 1).token(t, goodHeader, goodPayload)
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T"} {
		fmt.Fprintf(&out, verb+"\n", token)
		if verb != "%T" {
			fmt.Fprintf(&out, verb+"\n", []auth.Token{token})
			fmt.Fprintf(&out, verb+"\n", struct{ Token auth.Token }{token})
		}
	}
	fmt.Fprintln(&out, token, token.String(), token.GoString())
	slog.New(slog.NewTextHandler(&out, nil)).Info("text", "token", token)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("json", "token", token, "inside", struct{ Token auth.Token }{token})
	if strings.Contains(out.String(), "eyJ") {
		t.Errorf("a token was printed:\n%s", &out)
	}
	if !strings.Contains(out.String(), `token=REDACTED`) {
		t.Errorf("slog does not print REDACTED:\n%s", &out)
	}
}

func TestTokenForm(t *testing.T) {
	issuer := newIssuer(t, 1)
	verifier := issuer.verifier(t, auth.Config{})
	good := string(issuer.token(t, goodHeader, goodPayload))
	header, rest, _ := strings.Cut(good, ".")
	payload, signature, _ := strings.Cut(rest, ".")
	if len(signature)%4 != 2 {
		t.Fatalf("a signature of %d digits has no unused bits: this test needs some", len(signature))
	}
	longSignature := signature[:len(signature)-1] + string(signature[len(signature)-1]+1)

	for name, token := range map[string]string{
		"one part":                header,
		"two parts":               header + "." + payload,
		"four parts":              good + "." + signature,
		"no header":               "." + payload + "." + signature,
		"no payload":              header + ".." + signature,
		"no signature":            header + "." + payload + ".",
		"dot in front":            "." + good,
		"dot behind":              good + ".",
		"padding":                 good + "==",
		"padded header":           header + "=." + payload + "." + signature,
		"standard base64":         header + "." + payload + "." + strings.Repeat("+/", len(signature)/2),
		"newline at the end":      good + "\n",
		"newline inside":          header[:5] + "\n" + header[5:] + "." + payload + "." + signature,
		"carriage return":         header + "\r." + payload + "." + signature,
		"space in front":          " " + good,
		"non-zero pad bits":       header + "." + payload + "." + longSignature,
		"one digit too many":      header + "." + payload + "." + signature + "AAA",
		"not ASCII":               header + "." + payload + "é." + signature,
		"NUL":                     header + "." + payload + "\x00." + signature,
		"8 KiB + 1":               header + "." + strings.Repeat("A", 8<<10+1-len(header)-len(signature)-2) + "." + signature,
		"a megabyte of dots":      strings.Repeat(".", 1<<20),
		"a megabyte of digits":    strings.Repeat("A", 1<<20),
		"8 KiB of dots":           strings.Repeat(".", 8<<10),
		"Bearer in front":         "Bearer " + good,
		"JSON":                    goodPayload,
		"JWE: five parts":         good + ".AAAA.AAAA",
		"signature of one digit":  header + "." + payload + ".A",
		"the word null":           "null",
		"percent-encoded padding": good + "%3D",
	} {
		t.Run(name, func(t *testing.T) {
			claims, err := verifier.Verify(auth.Token(token))
			wantRefused(t, auth.Token(token), err, pubsub.TokenInvalid)
			if claims != nil {
				t.Errorf("Verify = %v with an error, want nil", claims)
			}
			if _, ok := verifier.Cached(auth.Token(token)); ok {
				t.Error("Cached = true, want false")
			}
		})
	}
	_, err := verifier.Verify("")
	wantRefused(t, "", err, pubsub.TokenMissing)
}

func TestLongestToken(t *testing.T) {
	issuer := newIssuer(t, 1)
	verifier := issuer.verifier(t, auth.Config{})
	padded := func(n int) auth.Token {
		return issuer.token(t, goodHeader, `{`+goodMembers+`,"exp":1767326645,"info":"`+strings.Repeat("x", n)+`"}`)
	}
	n := 5900
	for len(padded(n+1)) <= 8<<10 {
		n++
	}
	if _, err := verifier.Verify(padded(n)); err != nil {
		t.Errorf("Verify(token of %d bytes) = %v, want nil", len(padded(n)), err)
	}
	_, err := verifier.Verify(padded(n + 1))
	wantRefused(t, "", err, pubsub.TokenInvalid)
}

func TestRefusingTheFormAllocatesNothing(t *testing.T) {
	verifier := newIssuer(t, 1).verifier(t, auth.Config{})
	for name, token := range map[string]auth.Token{
		"none":               "",
		"a megabyte of dots": auth.Token(strings.Repeat(".", 1<<20)),
		"8 KiB of dots":      auth.Token(strings.Repeat(".", 8<<10)),
		"8 KiB of digits":    auth.Token(strings.Repeat("A", 8<<10)),
	} {
		if n := testing.AllocsPerRun(100, func() { _, _ = verifier.Verify(token) }); n > 0 {
			t.Errorf("%s: %v allocations, want 0", name, n)
		}
	}
}
