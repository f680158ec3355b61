package auth_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ikornaselur/notiflux/internal/auth"
)

// cacheModel models the cache of verified tokens as a list with the most recently used
// token in front.
type cacheModel struct {
	capacity int
	expires  []int64 // by token
	clock    int64
	recent   []int // tokens
	stats    auth.Stats
}

func (m *cacheModel) live(token int) bool { return m.clock < m.expires[token]+60 }

func (m *cacheModel) cached(token int) bool {
	i := slices.Index(m.recent, token)
	if i < 0 {
		return false
	}
	m.recent = slices.Delete(m.recent, i, i+1)
	if !m.live(token) {
		return false
	}
	m.recent = slices.Insert(m.recent, 0, token)
	m.stats.Hits++
	return true
}

func (m *cacheModel) verify(token int) bool {
	if m.cached(token) {
		return true
	}
	if !m.live(token) {
		m.stats.Refused++
		return false
	}
	m.stats.Verified++
	m.recent = slices.Insert(m.recent, 0, token)
	m.recent = m.recent[:min(len(m.recent), m.capacity)]
	return true
}

func TestCacheAgainstModel(t *testing.T) {
	issuer := newIssuer(t, 1)
	var expires []int64
	var tokens []auth.Token
	for i := range int64(8) {
		exp := now + 30*i
		expires = append(expires, exp)
		tokens = append(tokens, issuer.token(t, goodHeader, fmt.Sprintf(`{%s,"exp":%d}`, goodMembers, exp)))
	}
	keys := parseKeys(t, issuer.key.Public())
	rapid.Check(t, func(t *rapid.T) {
		model := &cacheModel{capacity: rapid.IntRange(1, 6).Draw(t, "capacity"), expires: expires, clock: now}
		verifier := auth.New(auth.Config{
			Keys:      keys,
			Now:       func() time.Time { return time.Unix(model.clock, 0) },
			CacheSize: model.capacity,
		})
		token := rapid.IntRange(0, len(tokens)-1)
		t.Repeat(map[string]func(*rapid.T){
			"verify": func(t *rapid.T) {
				i := token.Draw(t, "token")
				_, err := verifier.Verify(tokens[i])
				if want := model.verify(i); (err == nil) != want {
					t.Fatalf("Verify(%d) = %v, want success: %t", i, err, want)
				}
			},
			"cached": func(t *rapid.T) {
				i := token.Draw(t, "token")
				claims, ok := verifier.Cached(tokens[i])
				if want := model.cached(i); ok != want || (claims != nil) != want {
					t.Fatalf("Cached(%d) = %v, %t, want %t", i, claims, ok, want)
				}
			},
			"wait": func(t *rapid.T) { model.clock += rapid.Int64Range(0, 40).Draw(t, "seconds") },
			"": func(t *rapid.T) {
				if got := verifier.Stats(); got != model.stats {
					t.Fatalf("Stats = %+v, want %+v", got, model.stats)
				}
			},
		})
	})
}

func TestCacheIsBoundedInMemory(t *testing.T) {
	issuer := newIssuer(t, 1)
	// sized returns a token whose claims take more than n × 512 bytes and at most n+1 ×
	// 512.
	sized := func(name string, n int) auth.Token {
		topics := []string{fmt.Sprintf("%q", name)}
		for i := range 2 * n {
			topics = append(topics, fmt.Sprintf(`"%d%s"`, i, strings.Repeat("x", 239)))
		}
		return issuer.token(t, goodHeader, `{"exp":1767326645,"sub":"u","scope":"subscribe","topics":[`+strings.Join(topics, ",")+`]}`)
	}
	small, other, medium, large := sized("small", 0), sized("other", 0), sized("medium", 2), sized("large", 4)
	verifier := issuer.verifier(t, auth.Config{CacheSize: 4})
	check := func(want ...bool) {
		t.Helper()
		for i, token := range []auth.Token{small, other, medium, large} {
			if _, ok := verifier.Cached(token); ok != want[i] {
				t.Errorf("token %d: Cached = %t, want %t", i, ok, want[i])
			}
		}
	}
	verify := func(token auth.Token) {
		t.Helper()
		if _, err := verifier.Verify(token); err != nil {
			t.Fatal(err)
		}
	}
	verify(small)
	verify(other)
	check(true, true, false, false)
	verify(medium) // takes three of four units, so the least recently used one is dropped
	check(false, true, true, false)
	verify(large) // would take five units
	check(false, true, true, false)
	verify(small) // other was used before medium
	check(true, false, true, false)
}

func TestCacheCanBeSwitchedOff(t *testing.T) {
	issuer := newIssuer(t, 1)
	verifier := issuer.verifier(t, auth.Config{CacheSize: -1})
	token := issuer.token(t, goodHeader, goodPayload)
	for range 2 {
		if _, err := verifier.Verify(token); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := verifier.Stats(), (auth.Stats{Verified: 2}); got != want {
		t.Errorf("Stats = %+v, want %+v", got, want)
	}
}

func TestCachedAllocatesNothing(t *testing.T) {
	issuer := newIssuer(t, 1)
	verifier := issuer.verifier(t, auth.Config{Now: time.Now})
	token := issuer.token(t, goodHeader, fmt.Sprintf(`{%s,"exp":%d}`, goodMembers, time.Now().Add(time.Hour).Unix()))
	if _, err := verifier.Verify(token); err != nil {
		t.Fatal(err)
	}
	for name, token := range map[string]auth.Token{"hit": token, "miss": newIssuer(t, 2).token(t, goodHeader, goodPayload)} {
		if n := testing.AllocsPerRun(100, func() { verifier.Cached(token) }); n > 0 {
			t.Errorf("%s: %v allocations, want 0", name, n)
		}
	}
}
