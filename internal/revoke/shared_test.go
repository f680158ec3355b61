package revoke_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/revoke"
)

// A sharedStore is a store in memory. With an error, it stores nothing.
type sharedStore struct {
	texts []string
	err   error
}

func (s *sharedStore) Revoke(_ context.Context, add, remove []string) error {
	if s.err != nil {
		return s.err
	}
	s.texts = slices.DeleteFunc(s.texts, func(text string) bool { return slices.Contains(remove, text) })
	for _, text := range add {
		if !slices.Contains(s.texts, text) {
			s.texts = append(s.texts, text)
		}
	}
	return nil
}

// What one server adds, another learns, whichever times come first.
func TestLearn(t *testing.T) {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.FixedZone("", 3600))
	clock := func() time.Time { return now }
	store := new(sharedStore)
	first, second := revoke.New(revoke.Config{Shared: store, Now: clock}), revoke.New(revoke.Config{Shared: store, Now: clock})
	add := func(l *revoke.List, e revoke.Entry) {
		t.Helper()
		if _, err := l.Add(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	learn := func(l *revoke.List, news int, outdated ...string) {
		t.Helper()
		if n, old, err := l.Learn(store.texts); n != news || !slices.Equal(old, outdated) || err != nil {
			t.Errorf("Learn = %d, %q, %v; want %d, %q", n, old, err, news, outdated)
		}
	}
	add(first, revoke.Entry{Subject: "ann", Before: now, Expires: now.Add(time.Hour)})
	add(first, revoke.Entry{ID: "1", Topic: "\"<é>", Expires: now.Add(2 * time.Hour)})
	learn(second, 2)
	learn(second, 0)
	learn(first, 0)
	add(second, revoke.Entry{Subject: "ann", Before: now.Add(time.Minute), Expires: now.Add(time.Minute)}) // replaces the first
	if len(store.texts) != 2 || !slices.Equal(first.Texts()[1:], second.Texts()[1:]) {
		t.Errorf("the store has %q, want one entry of each identity", store.texts)
	}
	learn(first, 1)
	if !slices.Equal(first.Texts(), second.Texts()) {
		t.Errorf("the lists differ: %q and %q", first.Texts(), second.Texts())
	}
	if e := first.Entries()[0]; !e.Before.Equal(now.Add(time.Minute)) || !e.Expires.Equal(now.Add(time.Hour)) {
		t.Errorf("both entries are %+v, want the later times", e)
	}

	ann := store.texts[slices.IndexFunc(store.texts, func(text string) bool { return strings.Contains(text, "ann") })]
	now = now.Add(time.Hour + auth.Leeway/2) // It has expired, but perhaps not by the clocks of the others.
	learn(second, 0)
	now = now.Add(auth.Leeway)
	learn(second, 0, ann)
}

// Entries that have expired for all servers leave the store.
func TestOutdatedEntriesLeaveTheStore(t *testing.T) {
	now := time.Now()
	store := new(sharedStore)
	l := revoke.New(revoke.Config{Shared: store, Now: func() time.Time { return now }})
	for i := range 3 {
		if _, err := l.Add(t.Context(), revoke.Entry{ID: fmt.Sprint(i), Expires: now.Add(time.Minute)}); err != nil {
			t.Fatal(err)
		}
	}
	now = now.Add(time.Minute + auth.Leeway + time.Second)
	other := revoke.New(revoke.Config{Now: func() time.Time { return now }})
	if n, outdated, err := other.Learn(store.texts); n != 0 || len(outdated) != 3 || err != nil {
		t.Errorf("Learn = %d, %q, %v; want three that are outdated", n, outdated, err)
	}
	if _, err := l.Add(t.Context(), revoke.Entry{ID: "new"}); err != nil {
		t.Fatal(err)
	}
	if len(store.texts) != 1 || l.Len() != 1 {
		t.Errorf("the store has %q, and the list %d entries; want one", store.texts, l.Len())
	}
}

// What the store does not store has no effect, and its error reaches the operator.
func TestSharedStoreFails(t *testing.T) {
	store := &sharedStore{err: pubsub.Errorf(pubsub.OverCapacity, "full")}
	l := revoke.New(revoke.Config{Shared: store})
	if _, err := l.Add(t.Context(), revoke.Entry{Subject: "ann"}); err != error(store.err) || l.Len() != 0 {
		t.Errorf("Add = %v, %d entries; want the error of the store and none", err, l.Len())
	}
	if !l.Stored() {
		t.Error("Stored = false with a shared store")
	}
}

// An entry that cannot be read does not hide the others.
func TestLearnBadEntries(t *testing.T) {
	l := revoke.New(revoke.Config{})
	for _, bad := range []string{"", "x", "{}", `{"sub":"a"`, `{"topic":"a","expires":"2100-01-01T00:00:00Z"}`, `{"sub":"a","topic":"a","pattern":"a*","expires":"2100-01-01T00:00:00Z"}`} {
		n, _, err := l.Learn([]string{bad, fmt.Sprintf(`{"sub":%q,"expires":"2100-01-01T00:00:00Z","later":1}`, "u"+bad)})
		if n != 1 || err == nil {
			t.Errorf("Learn(%q and another) = %d, %v; want 1 and an error", bad, n, err)
		}
	}
}
