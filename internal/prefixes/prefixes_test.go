package prefixes_test

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ikornaselur/notiflux/internal/prefixes"
)

func TestSetAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s prefixes.Set[*string]
		model := make(map[string]*string)
		found := make(map[string]*prefixes.Found[*string])
		text := rapid.StringOfN(rapid.SampledFrom([]rune("ab")), 0, 4, -1)
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				e := text.Draw(t, "text")
				if model[e] == nil {
					model[e] = &e
				}
				s.Add(e, model[e])
			},
			"remove": func(t *rapid.T) {
				if e := text.Draw(t, "text"); model[e] != nil {
					s.Remove(e)
					delete(model, e)
				}
			},
			"": func(t *rapid.T) {
				name := text.Draw(t, "name")
				kept := found[name]
				var want []*string
				for n := range len(name) + 1 {
					if e := model[name[:n]]; e != nil {
						want = append(want, e)
					}
				}
				if got := s.Of(name, &kept); !slices.Equal(got, want) {
					t.Fatalf("Of(%q) has %d entries, want %d", name, len(got), len(want))
				}
				found[name] = kept
				if s.Len() != len(model) {
					t.Fatalf("Len() = %d, want %d", s.Len(), len(model))
				}
			},
		})
	})
}

func TestLongNames(t *testing.T) {
	var s prefixes.Set[int]
	longest := strings.Repeat("x", prefixes.MaxBytes)
	s.Add(longest, 1)
	s.Add("", 2)
	var found *prefixes.Found[int]
	if got := s.Of(longest+"y", &found); !slices.Equal(got, []int{2, 1}) {
		t.Errorf("Of = %v, want both", got)
	}
}

func TestTakeUnused(t *testing.T) {
	var s prefixes.Set[int]
	now := time.Now()
	for i, text := range []string{"a", "b", "c"} {
		s.Add(text, i)
	}
	s.Unused("a", 0, now)
	s.Unused("b", 1, now.Add(time.Second))
	s.Unused("a", 0, now.Add(2*time.Second)) // It was used in between.
	s.Unused("b", 7, now)                    // It is not there.
	if _, ok := s.TakeUnused(now, 4); ok {
		t.Error("an entry is taken too early")
	}
	for _, want := range []int{1, 0} {
		if e, ok := s.TakeUnused(now, 3); !ok || e != want {
			t.Errorf("TakeUnused at the limit = %d, %v; want %d", e, ok, want)
		}
	}
	if e, ok := s.TakeUnused(now.Add(time.Hour), 0); ok {
		t.Errorf("%d is taken although it is in use, or was taken before", e)
	}
}

func TestOwnersAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var o prefixes.Owners[string]
		model := make(map[string]bool)
		text := rapid.StringOfN(rapid.SampledFrom([]rune("ab")), 0, 5, -1)
		for _, s := range rapid.SliceOf(text).Draw(t, "entries") {
			o.Add("owner", s, s)
			o.Add("", s, s)
			o.Add("other", s, s)
			model[s] = true
		}
		for _, s := range rapid.SliceOf(text).Draw(t, "removed") {
			o.Remove("owner", s)
			delete(model, s)
		}
		asked := text.Draw(t, "text")
		var want []string
		depth := 0
		for s := range model {
			if strings.HasPrefix(s, asked) || strings.HasPrefix(asked, s) {
				want = append(want, s)
			}
			n := 0 // of those that are beginnings of s, or of the text
			for other := range model {
				if strings.HasPrefix(asked, other) || strings.HasPrefix(s, other) && strings.HasPrefix(other, asked) {
					n++
				}
			}
			if strings.HasPrefix(s, asked) || strings.HasPrefix(asked, s) {
				depth = max(depth, n)
			}
		}
		nested, got, all := o.Nested("owner", asked)
		if slices.Sort(nested); !slices.Equal(nested, slices.Sorted(slices.Values(want))) || got != depth || all != len(model) {
			t.Fatalf("Nested(%q) of %q = %q, %d, %d; want %q, %d", asked, slices.Collect(maps.Keys(model)), nested, got, all, want, depth)
		}
		if nested, _, all := o.Nested("", asked); len(nested) > 0 || all > 0 {
			t.Fatalf("nobody has %q", nested)
		}
	})
}
