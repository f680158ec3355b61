package topic

import "slices"

// fewListeners is how many are looked through; among more, each is looked up.
const fewListeners = 16

// listeners are those of one topic, each once, in no order. That is one for each
// event loop, and one for each poll that waits: there may be ten thousand, all of
// which go when a message comes.
type listeners struct {
	all   []Listener
	given bool             // a publisher may walk all: it is copied before it changes
	index map[Listener]int // in all; nil if they are few
}

// give returns all, for a publisher to walk without the lock.
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
		*s = listeners{} // Neither slice nor map keeps the room of many.
	}
}

func (s *listeners) find(l Listener) int {
	if s.index == nil {
		return slices.Index(s.all, l)
	}
	if i, ok := s.index[l]; ok {
		return i
	}
	return -1
}

func (s *listeners) own() {
	if s.given {
		s.all, s.given = slices.Clone(s.all), false
	}
}
