// Package prefixes finds, for a name, the entries of a set whose text is a beginning of it.
//
// Whoever asks for the same name again keeps the result, in a [Found]: it is looked up again only
// after the set has changed. So a name costs the same however many entries there are that are
// not a beginning of it. The set also knows which entries are not in use, and for how long.
//
// The package does not know what the entries are.
package prefixes

import (
	"container/list"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// MaxBytes is the maximum length of the text of an entry.
const MaxBytes = 255

// A Set is a set of entries, each with another text. The zero value is empty. Safe for
// concurrent use.
type Set[E comparable] struct {
	version atomic.Uint64 // number of changes

	mu sync.Mutex
	// Guarded by mu.
	entries map[string]E
	lengths [MaxBytes + 1]int // number of entries with a text of this length
	none    *Found[E]         // for names without entries
	unused  list.List         // of unused[E], the longest unused first
	places  map[E]*list.Element
}

// Found are the entries for a name at a time.
type Found[E comparable] struct {
	version uint64
	entries []E // the shortest text first
}

type unused[E comparable] struct {
	entry E
	since time.Time
}

// Of returns the entries whose text is a beginning of name, the shortest first. The caller must
// not change them. It keeps the result in found, which belongs to the name and is nil at first.
// An entry that is being removed may be among them.
func (s *Set[E]) Of(name string, found **Found[E]) []E {
	version := s.version.Load()
	switch {
	case version == 0:
		return nil
	case *found == nil || (*found).version != version:
		*found = s.find(name)
	}
	return (*found).entries
}

func (s *Set[E]) find(name string) *Found[E] {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := &Found[E]{version: s.version.Load()}
	for n := range min(len(name), MaxBytes) + 1 {
		if s.lengths[n] == 0 {
			continue
		}
		if e, ok := s.entries[name[:n]]; ok {
			f.entries = append(f.entries, e)
		}
	}
	if len(f.entries) > 0 {
		return f
	}
	if s.none == nil || s.none.version != f.version {
		s.none = f
	}
	return s.none
}

// Add adds an entry, unless it is there.
func (s *Set[E]) Add(text string, e E) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if known, ok := s.entries[text]; ok && known == e {
		return
	}
	if s.entries == nil {
		s.entries, s.places = make(map[string]E), make(map[E]*list.Element)
	}
	s.entries[text] = e
	s.lengths[len(text)]++
	s.version.Add(1)
}

// Remove removes an entry, which is there.
func (s *Set[E]) Remove(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget(s.entries[text])
	delete(s.entries, text)
	s.lengths[len(text)]--
	s.version.Add(1)
}

// Len returns the number of entries.
func (s *Set[E]) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.entries)
}

// All returns the entries, in no order.
func (s *Set[E]) All() []E {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Values(s.entries))
}

// Unused notes that an entry is not in use from now on, if it is there.
func (s *Set[E]) Unused(text string, e E, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.entries[text] == e {
		s.forget(e)
		s.places[e] = s.unused.PushBack(unused[E]{e, now})
	}
}

// TakeUnused returns the entry that has been unused for longest, if that is since before, or if
// there are limit entries or more. It returns each entry once; the entry may be in use again.
func (s *Set[E]) TakeUnused(before time.Time, limit int) (e E, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	front := s.unused.Front()
	if front == nil || len(s.entries) < limit && front.Value.(unused[E]).since.After(before) {
		return e, false
	}
	e = front.Value.(unused[E]).entry
	s.forget(e)
	return e, true
}

// forget forgets that an entry is not in use.
func (s *Set[E]) forget(e E) {
	if place := s.places[e]; place != nil {
		s.unused.Remove(place)
		delete(s.places, e)
	}
}
