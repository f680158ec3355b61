package auth_test

import (
	"fmt"
	"testing"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// BenchmarkVerify measures a token that the verifier has not seen, which it decodes and
// whose signature it checks.
func BenchmarkVerify(b *testing.B) {
	issuer := newIssuer(b, 1)
	verifier := issuer.verifier(b, auth.Config{CacheSize: -1})
	token := issuer.token(b, goodHeader, goodPayload)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := verifier.Verify(token); err != nil {
			b.Fatal(err)
		}
	}
}

// Every connection with a new token has this cost, so it must not grow unnoticed.
func TestVerifyAllocations(t *testing.T) {
	issuer := newIssuer(t, 1)
	verifier := issuer.verifier(t, auth.Config{CacheSize: -1})
	token := issuer.token(t, goodHeader, goodPayload)
	if n := testing.AllocsPerRun(100, func() { _, _ = verifier.Verify(token) }); n > 70 {
		t.Errorf("%v allocations, want at most 70", n)
	}
}

// BenchmarkRefuse measures a token with a wrong signature that was just refused: the
// verifier remembers it, and does not check it again.
func BenchmarkRefuse(b *testing.B) {
	issuer := newIssuer(b, 1)
	token := newIssuer(b, 2).token(b, goodHeader, goodPayload)
	verifier := issuer.verifier(b, auth.Config{})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := verifier.Verify(token); err == nil {
			b.Fatal("accepted")
		}
	}
}

// BenchmarkCached measures a token that was verified before, as when a client reconnects.
func BenchmarkCached(b *testing.B) {
	issuer := newIssuer(b, 1)
	for _, topics := range []int{1, 100} {
		b.Run(fmt.Sprintf("topics=%d", topics), func(b *testing.B) {
			verifier := issuer.verifier(b, auth.Config{})
			token := issuer.token(b, goodHeader, `{`+goodMembers+`,"exp":1767326645,"topics":`+topicList(topics)+`}`)
			if _, err := verifier.Verify(token); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, ok := verifier.Cached(token); !ok {
					b.Fatal("not cached")
				}
			}
		})
	}
}

func BenchmarkAllow(b *testing.B) {
	issuer := newIssuer(b, 1)
	verifier := issuer.verifier(b, auth.Config{})
	b.Run("patterns=20", func(b *testing.B) {
		patterns := `"AA*"`
		for i := range 19 {
			patterns += fmt.Sprintf(`,"room:%d:*"`, i)
		}
		claims, err := verifier.Verify(issuer.token(b, goodHeader, `{"exp":1767326645,"sub":"u","scope":"subscribe","patterns":[`+patterns+`]}`))
		if err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		for b.Loop() {
			if err := claims.Allow(auth.Subscribe, pubsub.Topic("AA")); err != nil {
				b.Fatal(err)
			}
		}
	})
	for _, topics := range []int{1, 900} {
		b.Run(fmt.Sprintf("topics=%d", topics), func(b *testing.B) {
			claims, err := verifier.Verify(issuer.token(b, goodHeader, `{`+goodMembers+`,"exp":1767326645,"topics":`+topicList(topics)+`}`))
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if err := claims.Allow(auth.Subscribe, pubsub.Topic("AA")); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
