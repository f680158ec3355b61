package fanout

// Turns is a list of subscriptions of a client that have unread messages. They take turns.
// Each is in at most one list, and at most once. The zero value is empty.
type Turns[S Taker[S]] struct{ First, Last S }

// A Taker takes turns. Turn returns where it keeps the next one in the list, and whether it is
// in a list. The zero S is not a Taker.
type Taker[S any] interface {
	comparable
	Turn() (next *S, listed *bool)
}

// Push appends s, unless it is in the list, and reports whether it was not.
func (l *Turns[S]) Push(s S) bool {
	_, listed := s.Turn()
	if *listed {
		return false
	}
	*listed = true
	var none S
	if l.Last == none {
		l.First = s
	} else {
		next, _ := l.Last.Turn()
		*next = s
	}
	l.Last = s
	return true
}

// Remove removes s, if it is in the list.
func (l *Turns[S]) Remove(s S) {
	next, listed := s.Turn()
	if !*listed {
		return
	}
	var before, none S
	for other := l.First; other != s; {
		before = other
		after, _ := other.Turn()
		other = *after
	}
	if before == none {
		l.First = *next
	} else {
		after, _ := before.Turn()
		*after = *next
	}
	if l.Last == s {
		l.Last = before
	}
	*next, *listed = none, false
}

// Rotate moves the first one to the end, choose(n) times. n is the length of the list; if it is
// less than 2, Rotate does nothing.
func (l *Turns[S]) Rotate(choose func(n int) int) {
	var none S
	n := 0
	for s := l.First; s != none; n++ {
		next, _ := s.Turn()
		s = *next
	}
	if n < 2 {
		return
	}
	for range choose(n) {
		first := l.First
		next, _ := first.Turn()
		last, _ := l.Last.Turn()
		l.First, *last, l.Last = *next, first, first
		*next = none
	}
}

// Mix returns a number that depends on every bit of x. It is the mixing function of splitmix64.
func Mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
