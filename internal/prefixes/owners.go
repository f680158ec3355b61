package prefixes

import (
	"slices"
	"strings"
	"sync"
)

// Owners are the owners of entries, each with its entries. The zero value has none. Safe for
// concurrent use.
type Owners[E comparable] struct {
	mu sync.Mutex
	of map[string]map[string]E // by owner and text
}

// Add adds an entry, unless the owner is empty.
func (o *Owners[E]) Add(owner, text string, e E) {
	if owner == "" {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.of == nil {
		o.of = make(map[string]map[string]E)
	}
	if o.of[owner] == nil {
		o.of[owner] = make(map[string]E)
	}
	o.of[owner][text] = e
}

// Remove removes an entry, if it is there.
func (o *Owners[E]) Remove(owner, text string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	own := o.of[owner]
	if delete(own, text); len(own) == 0 {
		delete(o.of, owner)
	}
}

// Nested returns the entries of an owner whose text begins with text, or is a beginning of it, and
// how many of them, at most, are beginnings of the same name. all is the number of entries of the
// owner.
func (o *Owners[E]) Nested(owner, text string) (nested []E, depth, all int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	var longer []string
	for other, e := range o.of[owner] {
		switch {
		case strings.HasPrefix(text, other):
			depth++
		case strings.HasPrefix(other, text):
			longer = append(longer, other)
		default:
			continue
		}
		nested = append(nested, e)
	}
	slices.Sort(longer)
	deepest := 0
	var within []string // each a beginning of the next
	for _, other := range longer {
		for len(within) > 0 && !strings.HasPrefix(other, within[len(within)-1]) {
			within = within[:len(within)-1]
		}
		within = append(within, other)
		deepest = max(deepest, len(within))
	}
	return nested, depth + deepest, len(o.of[owner])
}
