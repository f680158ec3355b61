package topic

import "slices"

// fewListeners is the number of listeners up to which a search is faster than an index.
const fewListeners = 16

// listeners are the listeners of one topic, without duplicates and in no order: one for
// each event loop with subscribers, and one for each waiting poll. There may be ten
// thousand polls, and all of them leave when a message arrives.
type listeners struct {
	all   []Listener
	given bool             // a publisher may be walking all: copy it before changing it
	index map[Listener]int // index in all of each listener; nil for up to fewListeners
}

// give returns all listeners. The caller may walk the result without the lock.
func (s *listeners) give() []Listener {
	s.given = true
	return s.all
}

func (s *listeners) add(l Listener) {
	s.own()
	s.all = append(s.all, l)
	switch {
	case s.index != nil:
		s.index[l] = len(s.all) - 1
	case len(s.all) > fewListeners:
		s.index = make(map[Listener]int)
		for i, l := range s.all {
			s.index[l] = i
		}
	}
}

func (s *listeners) remove(l Listener) {
	i := s.find(l)
	if i < 0 {
		return
	}
	s.own()
	last := len(s.all) - 1
	s.all[i] = s.all[last]
	s.all[last] = nil
	s.all = s.all[:last]
	if s.index != nil {
		delete(s.index, l)
		if i < last {
			s.index[s.all[i]] = i
		}
	}
	if last == 0 {
		*s = listeners{} // Frees the slice and the map, which may be large.
	}
}

// find returns the index of l in all, or -1.
func (s *listeners) find(l Listener) int {
	if s.index == nil {
		return slices.Index(s.all, l)
	}
	if i, ok := s.index[l]; ok {
		return i
	}
	return -1
}

// own copies all if a publisher may be walking it. Call it before changing all.
func (s *listeners) own() {
	if s.given {
		s.all, s.given = slices.Clone(s.all), false
	}
}
