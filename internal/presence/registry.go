// Package presence knows who is a member of which topic, and says what is to be
// told about it.
//
// A subscription with presence takes a [Seat] ([Registry.Join]). A member is all
// seats of one Sub in a topic: it is present from its first seat on, and until
// Config.Linger after its last one was left, so that who connects again never seems
// to leave. Changes of a topic are gathered for Config.Gather, then [Registry.Run]
// tells what is left of them as one [Event]. Of a topic with too many members only
// their number is told, until it is small enough again to tell them all.
//
// Invariants: joins and leaves of a member alternate as told, anew after each event
// that is [Listed]; nobody who returned within Config.Linger is told to have left.
// [Registry.List] and the events told after it lead to the same members as all events
// from the first on: an event may say again what a list has, and a list has who is
// gone until that is told. Events are told in the order in which they came to be, one
// at a time. Memory is bounded by seats and lingering members: a topic with neither is
// forgotten. A join or a leave costs the same however many members there are.
//
// Registry.mu is the only lock, and nothing is called under it.
//
// It knows no session, token or encoding, and not who is to get an event: whoever
// has a seat in the topic when it is told.
package presence

import (
	"cmp"
	"container/list"
	"slices"
	"sync"
	"time"

	"github.com/ikornaselur/notiflux"
)

// What a Config has if nothing else is said.
const (
	defaultLinger     = 10 * time.Second       // a page that is loaded again, a phone that changes networks
	defaultGather     = 100 * time.Millisecond // nobody notices, and a storm is ten events a second
	defaultMaxMembers = 1000                   // nobody reads more names, and what is sent grows with its square
)

// Config is what a Registry needs.
type Config struct {
	// Tell is called by Run for each event, under no lock. While it waits, nothing is
	// told, but Join, Leave and List go on. Nil: nobody is told.
	Tell func(Event)

	Linger     time.Duration // how long a member stays without a seat; 0: 10 s
	Gather     time.Duration // how long changes are gathered, at most Linger; 0: 100 ms
	MaxMembers int           // of a topic whose joins and leaves are told; 0: 1,000
}

// A Kind says what an event tells.
type Kind uint8

const (
	Changed Kind = iota // Joined and Left
	Counted             // Count alone: no event is Changed before one is Listed
	Listed              // All; later events are Changed relative to it, or Counted
)

// An Event is what is told to those who have a seat in a topic. Its slices belong to
// who is told.
type Event struct {
	Topic  notiflux.Topic
	Kind   Kind
	Count  int               // of members
	Joined []notiflux.Member // in the order of joining, at most MaxMembers
	Left   []notiflux.Member // by Sub alone, at most MaxMembers, none of them in Joined
	All    []notiflux.Member // sorted by Sub, at most MaxMembers, if Listed not nil
}

// A Registry holds the members of topics. Safe for concurrent use.
type Registry struct {
	// Immutable after New.
	config Config
	few    int // with so many members they are told again
	wake   chan struct{}

	mu sync.Mutex
	// Guarded by mu.
	topics    map[notiflux.Topic]*topic // each has members
	queue     queue                     // topics with something to tell, by due
	lingering list.List                 // of *member, by due: each lingers equally long
	asleep    bool                      // Run waits for until, or if that is zero for wake alone
	until     time.Time
	stats     Stats // but Topics
}

// A Seat is one subscription's part in a member.
type Seat struct {
	registry *Registry // immutable

	// Guarded by Registry.mu.
	member       *member // nil: it was left
	older, newer *Seat
	info         []byte
}

// New returns a Registry without members.
func New(c Config) *Registry {
	if c.Tell == nil {
		c.Tell = func(Event) {}
	}
	c.Linger = cmp.Or(c.Linger, defaultLinger)
	// Then who lingers was told to have joined, and who leaves is told of before it can again.
	c.Gather = min(cmp.Or(c.Gather, defaultGather), c.Linger)
	c.MaxMembers = cmp.Or(c.MaxMembers, defaultMaxMembers)
	return &Registry{config: c, few: c.MaxMembers * 4 / 5, wake: make(chan struct{}, 1), topics: make(map[notiflux.Topic]*topic)}
}

// Join takes a seat for m, whose Info is its member's until a newer seat is taken, and
// again when all newer ones were left. It does not wait for Tell. To change the Info,
// join again and leave the seat before; that is not told.
func (r *Registry) Join(name notiflux.Topic, m notiflux.Member) *Seat {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.topics[name]
	if t == nil {
		t = &topic{name: name, members: make(map[string]*member)}
		r.topics[name] = t
	}
	p := t.members[m.Sub]
	if p == nil {
		p = &member{topic: t, sub: m.Sub}
		t.members[m.Sub] = p
		t.peak = max(t.peak, len(t.members))
		r.stats.Members++
		r.changedLocked(p)
	}
	if p.lingering != nil {
		r.lingering.Remove(p.lingering)
		p.lingering = nil
	}
	p.gone = false
	s := &Seat{registry: r, member: p, older: p.newest, info: m.Info}
	if p.newest != nil {
		p.newest.newer = s
	}
	p.newest, p.info = s, m.Info
	r.stats.Seats++
	return s
}

// Leave gives the seat back; again, it does nothing. It does not wait for Tell.
func (s *Seat) Leave() {
	r := s.registry
	r.mu.Lock()
	defer r.mu.Unlock()
	p := s.member
	if p == nil {
		return
	}
	if s.older != nil {
		s.older.newer = s.newer
	}
	if s.newer != nil {
		s.newer.older = s.older
	} else {
		p.newest = s.older
	}
	if p.newest != nil {
		p.info = p.newest.info
	} else {
		p.due = time.Now().Add(r.config.Linger)
		p.lingering = r.lingering.PushBack(p)
		r.wakeLocked(p.due)
	}
	s.member, s.older, s.newer = nil, nil, nil
	r.stats.Seats--
}

// List returns up to most members of a topic, sorted by Sub and never nil, and how
// many there are. If there are more, it is not said which ones it returns; then an
// event that is [Listed] gives all of them, provided that most is at least
// MaxMembers, as soon as there are few enough.
func (r *Registry) List(name notiflux.Topic, most int) (members []notiflux.Member, count int) {
	members, count = r.list(name, most)
	sortBySub(members) // Not under the lock: it takes longer than all else.
	return members, count
}

func (r *Registry) list(name notiflux.Topic, most int) (members []notiflux.Member, count int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.topics[name]
	if t == nil {
		return []notiflux.Member{}, 0
	}
	return t.list(most), len(t.members)
}

func sortBySub(members []notiflux.Member) {
	slices.SortFunc(members, func(a, b notiflux.Member) int { return cmp.Compare(a.Sub, b.Sub) })
}

// Stats is what a registry holds and did.
type Stats struct {
	Topics  int    // with members
	Members int    // of all topics, lingering ones included
	Seats   int    // not left
	Events  uint64 // told since the start
}

// Stats returns the figures of one moment.
func (r *Registry) Stats() Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.stats
	s.Topics = len(r.topics)
	return s
}
