package revoke_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/internaltest/authtest"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/revoke"
)

// A clock is the wall clock of a test.
type clock struct{ now time.Time }

func newClock() *clock { return &clock{time.Now().Truncate(time.Second)} }

func (c *clock) list(config revoke.Config) *revoke.List {
	config.Now = func() time.Time { return c.now }
	return revoke.New(config)
}

// claimer returns a function that makes claims.
func claimer(t authtest.T) func(id, subject string, issued time.Time) *auth.Claims {
	signer := authtest.NewSigner(t)
	verifier := authtest.NewVerifier(t, signer)
	return func(id, subject string, issued time.Time) *auth.Claims {
		t.Helper()
		token, err := signer.Sign(auth.Grant{Subject: subject, ID: id, Issued: issued, Scopes: []auth.Scope{auth.Subscribe}, Topics: []pubsub.Topic{"a"}, Expires: time.Now().Add(time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		claims, err := verifier.Verify(token)
		if err != nil {
			t.Fatal(err)
		}
		return claims
	}
}

func isRevoked(err error) bool { return err != nil && pubsub.Refusal(err).Code == pubsub.TokenRevoked }

func mustAdd(t *testing.T, l *revoke.List, entries ...revoke.Entry) []revoke.Entry {
	t.Helper()
	added, err := l.Add(t.Context(), entries...)
	if err != nil {
		t.Fatal(err)
	}
	return added
}

func TestCheck(t *testing.T) {
	claims := claimer(t)
	c := newClock()
	issued := c.now.Add(-time.Hour)
	token, other, undated := claims("one", "ann", issued), claims("two", "bob", issued), claims("", "ann", time.Time{})
	for _, x := range []struct {
		entry                 revoke.Entry
		topic                 pubsub.Topic
		token, other, undated bool // whether they are revoked
	}{
		{revoke.Entry{ID: "one"}, "", true, false, false},
		{revoke.Entry{ID: "one"}, "a", true, false, false},
		{revoke.Entry{ID: "One"}, "", false, false, false},
		{revoke.Entry{Subject: "ann"}, "a", true, false, true},
		{revoke.Entry{Subject: "ann", Before: issued}, "a", false, false, true},
		{revoke.Entry{Subject: "ann", Before: issued.Add(1)}, "a", true, false, true},
		{revoke.Entry{Subject: "ann", Before: c.now.Add(time.Hour)}, "a", true, false, true},
		{revoke.Entry{Subject: "ann", ID: "two"}, "a", false, false, false},
		{revoke.Entry{Subject: "ann", ID: "one"}, "a", true, false, false},
		{revoke.Entry{Subject: "ann", Issuer: "https://id.example.com"}, "a", false, false, false},
		{revoke.Entry{Subject: "ann", Key: "k"}, "a", false, false, false},
		{revoke.Entry{Key: "k"}, "a", false, false, false},
		{revoke.Entry{Subject: "ann", Topic: "a"}, "a", true, false, true},
		{revoke.Entry{Subject: "ann", Topic: "a"}, "b", false, false, false},
		{revoke.Entry{Subject: "ann", Topic: "a"}, "", false, false, false},
		{revoke.Entry{Subject: "ann", Pattern: "a:*"}, "a:b", true, false, true},
		{revoke.Entry{Subject: "ann", Pattern: "a:*"}, "a", false, false, false},
		{revoke.Entry{Subject: "ann", Pattern: "*"}, "", false, false, false},
		{revoke.Entry{Subject: "ann"}, pubsub.Pattern("a:*").Topic(), true, false, true},
		{revoke.Entry{Subject: "ann", Topic: "a:b"}, pubsub.Pattern("a:*").Topic(), true, false, true},
		{revoke.Entry{Subject: "ann", Topic: "a"}, pubsub.Pattern("a:*").Topic(), false, false, false},
		{revoke.Entry{Subject: "ann", Pattern: "a*"}, pubsub.Pattern("a:*").Topic(), true, false, true},
		{revoke.Entry{Subject: "ann", Pattern: "a:b*"}, pubsub.Pattern("a:*").Topic(), true, false, true},
		{revoke.Entry{Subject: "ann", Pattern: "b*"}, pubsub.Pattern("a:*").Topic(), false, false, false},
	} {
		l := c.list(revoke.Config{})
		for _, known := range []*auth.Claims{token, other, undated} {
			if err := l.Check(known, x.topic); err != nil {
				t.Fatalf("an empty list refuses a token: %v", err)
			}
		}
		mustAdd(t, l, x.entry)
		for _, k := range []struct {
			claims *auth.Claims
			want   bool
		}{{token, x.token}, {other, x.other}, {undated, x.undated}} {
			if err := l.Check(k.claims, x.topic); isRevoked(err) != k.want {
				t.Errorf("with %v, Check(%s %q, %q) = %v; want revoked %t", x.entry, k.claims.Subject, k.claims.ID(), x.topic, err, k.want)
			}
		}
	}
}

func TestBadEntries(t *testing.T) {
	c := newClock()
	long := strings.Repeat("x", 256)
	for _, x := range []struct {
		entry revoke.Entry
		code  pubsub.Code
	}{
		{revoke.Entry{}, pubsub.Malformed},
		{revoke.Entry{Issuer: "i", Topic: "a"}, pubsub.Malformed},
		{revoke.Entry{ID: strings.Repeat(long, 5)}, pubsub.Malformed},
		{revoke.Entry{Subject: long}, pubsub.Malformed},
		{revoke.Entry{Subject: "\xff"}, pubsub.Malformed},
		{revoke.Entry{Subject: "s", Key: long}, pubsub.Malformed},
		{revoke.Entry{Subject: "s", Issuer: long}, pubsub.Malformed},
		{revoke.Entry{Subject: "s", Topic: "a", Pattern: "a*"}, pubsub.Malformed},
		{revoke.Entry{Subject: "s", Topic: pubsub.Topic(long)}, pubsub.TopicInvalid},
		{revoke.Entry{Subject: "s", Pattern: "a"}, pubsub.TopicInvalid},
		{revoke.Entry{Subject: "s", Expires: c.now}, pubsub.Malformed},
		{revoke.Entry{Subject: "s", Expires: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)}, pubsub.Malformed},
	} {
		l := c.list(revoke.Config{})
		if _, err := l.Add(t.Context(), revoke.Entry{Subject: "good"}, x.entry); err == nil || pubsub.Refusal(err).Code != x.code {
			t.Errorf("Add(%v) = %v, want %s", x.entry, err, x.code)
		}
		if n := l.Len(); n != 0 {
			t.Errorf("%d entries were added with %v, which is not valid", n, x.entry)
		}
	}
}

func TestEntriesExpire(t *testing.T) {
	claims := claimer(t)("one", "ann", time.Time{})
	c := &clock{time.Date(9900, 1, 1, 0, 0, 0, 0, time.UTC)} // so that all of them are durations
	last := time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
	const life = 2 * time.Hour
	for _, x := range []struct {
		entry revoke.Entry
		max   time.Duration
		want  time.Duration
	}{
		{revoke.Entry{Subject: "ann"}, 0, revoke.DefaultLife},
		{revoke.Entry{Subject: "ann"}, life, life + 2*auth.Leeway},
		{revoke.Entry{Subject: "ann", Before: c.now.Add(time.Hour)}, life, time.Hour + life + 2*auth.Leeway},
		{revoke.Entry{Subject: "ann", Expires: c.now.Add(time.Minute)}, life, time.Minute},
		{revoke.Entry{Subject: "ann", Before: last}, life, last.Sub(c.now)}, // JSON has no later time
	} {
		l := c.list(revoke.Config{MaxLife: x.max})
		added := mustAdd(t, l, x.entry)
		if got := added[0].Expires.Sub(c.now); got != x.want {
			t.Errorf("%v expires after %v, want %v", x.entry, got, x.want)
		}
		later := &clock{c.now.Add(x.want - 1)}
		c, now := later, c.now
		l2 := c.list(revoke.Config{Entries: l.Entries()})
		if err := l2.Check(claims, ""); !isRevoked(err) {
			t.Errorf("before %v expires, Check = %v", x.entry, err)
		}
		c.now = now.Add(x.want)
		if err := l2.Check(claims, ""); err != nil || len(l2.Entries()) != 0 {
			t.Errorf("after %v expired, Check = %v; entries %v", x.entry, err, l2.Entries())
		}
		c.now = now // The clock was set back: an entry that is still there counts again.
		if err := l2.Check(claims, ""); !isRevoked(err) {
			t.Errorf("after the clock was set back, Check = %v", err)
		}
	}
}

// The same entry with other times revokes what both would.
func TestAddWidens(t *testing.T) {
	claims := claimer(t)
	c := newClock()
	l := c.list(revoke.Config{})
	mustAdd(t, l, revoke.Entry{Subject: "ann", Before: c.now, Expires: c.now.Add(time.Minute)})
	mustAdd(t, l, revoke.Entry{Subject: "ann", Before: c.now.Add(-time.Hour), Expires: c.now.Add(time.Hour)})
	if e := l.Entries(); len(e) != 1 || !e[0].Before.Equal(c.now) || !e[0].Expires.Equal(c.now.Add(time.Hour)) {
		t.Errorf("entries are %v", e)
	}
	mustAdd(t, l, revoke.Entry{Subject: "ann", Expires: c.now.Add(time.Minute)})
	if err := l.Check(claims("", "ann", c.now.Add(time.Second)), ""); !isRevoked(err) || l.Len() != 1 {
		t.Errorf("Check = %v with %d entries; want revoked by 1", err, l.Len())
	}
	c.now = c.now.Add(2 * time.Hour) // An entry that has expired widens nothing.
	mustAdd(t, l, revoke.Entry{Subject: "ann", Before: c.now})
	if e := l.Entries(); len(e) != 1 || !e[0].Before.Equal(c.now) {
		t.Errorf("entries are %v", e)
	}
}

func TestListIsBounded(t *testing.T) {
	claims := claimer(t)
	c := newClock()
	entries := make([]revoke.Entry, revoke.MaxEntries-1)
	for i := range entries {
		entries[i] = revoke.Entry{ID: fmt.Sprint(i), Expires: c.now.Add(time.Duration(1+i%2) * time.Hour)}
	}
	l := c.list(revoke.Config{})
	mustAdd(t, l, entries...)
	refused := func(entries ...revoke.Entry) {
		t.Helper()
		if _, err := l.Add(t.Context(), entries...); err == nil || pubsub.Refusal(err).Code != pubsub.OverCapacity {
			t.Errorf("Add(%v) = %v, want over_capacity", entries, err)
		}
	}
	refused(revoke.Entry{ID: "x"}, revoke.Entry{ID: "y"})
	mustAdd(t, l, revoke.Entry{ID: "x"})
	refused(revoke.Entry{ID: "y"})
	mustAdd(t, l, revoke.Entry{ID: "5"}) // known
	if err := l.Check(claims("7", "s", time.Time{}), ""); !isRevoked(err) {
		t.Errorf("an entry was evicted: Check = %v", err)
	}
	c.now = c.now.Add(time.Hour) // Half of them expire.
	mustAdd(t, l, revoke.Entry{ID: "y"})
	if n := l.Len(); n > revoke.MaxEntries/2+3 {
		t.Errorf("%d entries are left, want about half", n)
	}
}

// A failing store refuses what it does not store.
type failing struct{ err error }

func (s *failing) Append(context.Context, []revoke.Entry, func() []revoke.Entry) error { return s.err }

func TestSuccessMeansStored(t *testing.T) {
	claims := claimer(t)("one", "ann", time.Time{})
	c := newClock()
	store := &failing{errors.New("disk full")}
	l := c.list(revoke.Config{Store: store})
	if _, err := l.Add(t.Context(), revoke.Entry{ID: "one"}); err == nil || pubsub.Refusal(err).Code != pubsub.Unavailable || !errors.Is(err, store.err) {
		t.Errorf("Add = %v, want unavailable because of the disk", err)
	}
	if err := l.Check(claims, ""); err != nil {
		t.Errorf("an entry that was not stored has effect: %v", err)
	}
	store.err = nil
	mustAdd(t, l, revoke.Entry{ID: "one"})
	if err := l.Check(claims, ""); !isRevoked(err) {
		t.Errorf("Check = %v, want revoked", err)
	}
}

// Check agrees with a list of entries that is searched from one end to the other.
func TestCheckAgreesWithModel(t *testing.T) {
	make := claimer(t)
	c := newClock()
	var known []*auth.Claims
	for _, id := range []string{"", "1", "2"} {
		for _, subject := range []string{"a", "b"} {
			for _, hours := range []int{-2, -1, 0} {
				known = append(known, make(id, subject, c.now.Add(time.Duration(hours)*time.Hour)))
			}
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		c := &clock{c.now}
		l := c.list(revoke.Config{})
		var model []revoke.Entry
		hours := rapid.IntRange(-2, 2)
		for range rapid.IntRange(0, 20).Draw(t, "entries") {
			e := revoke.Entry{
				ID:      rapid.SampledFrom([]string{"", "1", "2"}).Draw(t, "jti"),
				Subject: rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "sub"),
				Topic:   rapid.SampledFrom([]pubsub.Topic{"", "", "x"}).Draw(t, "topic"),
				Expires: c.now.Add(time.Duration(rapid.IntRange(1, 4).Draw(t, "expires")) * time.Hour),
			}
			if n := hours.Draw(t, "before"); n != 2 {
				e.Before = c.now.Add(time.Duration(n) * time.Hour)
			}
			if _, err := l.Add(t.Context(), e); err == nil {
				model = append(model, e)
			}
			c.now = c.now.Add(time.Duration(rapid.IntRange(0, 1).Draw(t, "hours")) * time.Hour / 2)
		}
		for _, claims := range known {
			for _, topic := range []pubsub.Topic{"", "x", "y"} {
				want := slices.ContainsFunc(model, func(e revoke.Entry) bool {
					return c.now.Before(e.Expires) && e.MatchesToken(claims) && (e.Topic == "" || e.Topic == topic)
				})
				if got := isRevoked(l.Check(claims, topic)); got && !want && !widened(model, claims, topic) || want && !got {
					t.Fatalf("Check(%q %q, %q) revokes: %t, want %t; entries %v", claims.ID(), claims.Subject, topic, got, want, model)
				}
			}
		}
	})
}

// widened reports whether entries that differ only by their times may together revoke more.
func widened(model []revoke.Entry, claims *auth.Claims, topic pubsub.Topic) bool {
	return slices.ContainsFunc(model, func(e revoke.Entry) bool {
		return e.MatchesToken(claims) && (e.Topic == "" || e.Topic == topic)
	})
}

func BenchmarkCheck(b *testing.B) {
	claims := claimer(b)("one", "ann", time.Now())
	for _, n := range []int{0, revoke.MaxEntries} {
		entries := make([]revoke.Entry, n)
		for i := range entries {
			entries[i] = revoke.Entry{ID: fmt.Sprint("x", i), Expires: time.Now().Add(time.Hour)}
		}
		l := revoke.New(revoke.Config{Entries: entries})
		b.Run(fmt.Sprintf("entries=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := l.Check(claims, "a"); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
