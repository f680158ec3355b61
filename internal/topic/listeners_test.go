package topic

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

type numbered int

func (numbered) Wake() {}

// After any sequence of changes each listener is in the list once, and a slice that a
// publisher walks does not change.
func TestListenersAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s listeners
		model := make(map[numbered]bool)
		var walked, want []Listener
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				for range rapid.IntRange(1, 8).Draw(t, "several") {
					if l := numbered(rapid.IntRange(0, 60).Draw(t, "listener")); !model[l] {
						model[l] = true
						s.add(l)
					}
				}
			},
			"remove": func(t *rapid.T) {
				l := numbered(rapid.IntRange(0, 60).Draw(t, "listener"))
				delete(model, l)
				s.remove(l)
			},
			"remove all": func(*rapid.T) {
				for l := range model {
					s.remove(l)
				}
				clear(model)
			},
			"walk": func(*rapid.T) {
				walked = s.give()
				want = slices.Clone(walked)
			},
			"": func(t *rapid.T) {
				if !slices.Equal(walked, want) {
					t.Fatalf("a slice that a publisher walks became %v, was %v", walked, want)
				}
				if len(s.all) != len(model) {
					t.Fatalf("%v, want %v", s.all, model)
				}
				for i, l := range s.all {
					if !model[l.(numbered)] || s.find(l) != i {
						t.Fatalf("%v at %d, found at %d, want %v", l, i, s.find(l), model)
					}
				}
			},
		})
	})
}
