// Package presence tracks which members are present in which topics, and emits an event
// when that changes.
//
// A subscription with presence holds a [Reference] ([Registry.Join]). All references with
// the same Sub in a topic form one member. A member is present from its first reference
// until Config.GracePeriod after the release of its last one. So a client that reconnects
// in time never seems to leave. The registry collects the changes of a topic for
// Config.BatchDelay. Then [Registry.Run] emits the net result as one [Event]. For a topic
// with more than Config.MaxMembers members, it emits only their number. Once there are few
// enough again, a [Snapshot] names them all.
//
// Invariants:
//   - For one member, joins and leaves alternate. A Snapshot says anew who is present.
//   - A member that returns within its grace period is never reported as left.
//   - A client that begins with a list of the members, and applies the events emitted after
//     it, knows the same members as a client that applied every event. An event may repeat
//     what the list contains. A member that left stays in the list until an event reports
//     the leave.
//   - Events are emitted in the order in which they arise, one at a time.
//   - Memory is limited by the references and the members in their grace period. A topic
//     with neither is forgotten.
//   - The cost of a join or a leave hardly depends on the number of members.
//
// Registry.mu is the only lock. The registry calls no other code while it holds it.
//
// A registry knows the members of its own node. If several nodes share a broker, the broker
// adds those of the other nodes ([Registry.JoinOther]), and learns from Config.OwnChanged
// which members this node has.
//
// The package knows nothing of sessions, tokens or encodings, and does not decide which
// sessions receive an event.
package presence

import (
	"cmp"
	"container/heap"
	"slices"
	"sync"
	"time"

	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// Defaults of the fields of Config.
const (
	defaultGracePeriod = 10 * time.Second       // covers a page reload, and a phone that changes networks
	defaultBatchDelay  = 100 * time.Millisecond // not noticeable, and at most ten events per second
	defaultMaxMembers  = 1000                   // nobody reads more names, and traffic grows with the square of their number
)

// Config configures a Registry. The zero value works.
type Config struct {
	// Run calls Emit for each event, without holding a lock. While Emit blocks, no further
	// event is emitted, but Join, Release and List still work. Nil discards events.
	Emit func(Event)

	// OwnChanged is called, without holding a lock, when what [Registry.Own] returns for a
	// member may have changed. Nil: no broker adds members of other nodes; see
	// [Registry.Shared].
	OwnChanged func(name pubsub.Topic, sub string)

	// Off returns whether a topic has no presence, see [Registry.Check]. Nil: all topics have.
	Off func(name pubsub.Topic) bool

	GracePeriod time.Duration // how long a member without a reference stays present; 0: 10 s
	BatchDelay  time.Duration // how long changes of a topic are collected, up to GracePeriod; 0: 100 ms
	MaxMembers  int           // a topic with more members gets CountOnly events; 0: 1,000
}

// A Kind says which fields of an event are set.
type Kind uint8

const (
	Changes   Kind = iota // Joined and Left
	CountOnly             // only Count; a Snapshot comes before the next Changes
	Snapshot              // Members; it replaces all earlier events of the topic
)

// An Event reports how the members of a topic changed. Config.Emit owns its slices.
type Event struct {
	Topic   pubsub.Topic
	Kind    Kind
	Count   int             // of members
	Joined  []pubsub.Member // in the order of joining, up to MaxMembers
	Left    []pubsub.Member // only Sub is set; up to MaxMembers; none of them is in Joined
	Members []pubsub.Member // sorted by Sub, up to MaxMembers; never nil in a Snapshot
}

// A Registry holds the members of topics. Safe for concurrent use.
type Registry struct {
	// Immutable after New.
	config        Config
	snapshotBelow int // number of members at which a Snapshot ends CountOnly
	shared        bool
	wake          chan struct{}

	mu sync.Mutex
	// Guarded by mu.
	topics       map[pubsub.Topic]*topic // each has members
	queue        queue                   // topics with unreported changes, ordered by due
	disconnected graces                  // members in their grace period, ordered by graceEnd
	sleeping     bool                    // Run waits until sleepUntil, or only for wake if sleepUntil is zero
	sleepUntil   time.Time
	stats        Stats                // without Topics
	others       map[pubsub.Topic]int // see SetOtherSubscribers; none is 0
}

// A Reference is one subscription that keeps a member present. Safe for concurrent use.
type Reference struct {
	registry *Registry // immutable

	// Guarded by Registry.mu.
	member       *member // nil after Release
	older, newer *Reference
	info         []byte
	other        bool // of another node
}

// New returns a Registry without members.
func New(c Config) *Registry {
	if c.Emit == nil {
		c.Emit = func(Event) {}
	}
	shared := c.OwnChanged != nil
	if !shared {
		c.OwnChanged = func(pubsub.Topic, string) {}
	}
	c.GracePeriod = cmp.Or(c.GracePeriod, defaultGracePeriod)
	// This ensures that the join of a member is reported before its grace period ends, and
	// its leave before the same Sub can leave again.
	c.BatchDelay = min(cmp.Or(c.BatchDelay, defaultBatchDelay), c.GracePeriod)
	c.MaxMembers = cmp.Or(c.MaxMembers, defaultMaxMembers)
	return &Registry{config: c, snapshotBelow: c.MaxMembers * 4 / 5, shared: shared, wake: make(chan struct{}, 1), topics: make(map[pubsub.Topic]*topic)}
}

// Check returns a [pubsub.Error] with PresenceOff if the topic has no presence. Its members must
// then not be asked for, and nobody must join.
func (r *Registry) Check(name pubsub.Topic) error {
	if r.config.Off != nil && r.config.Off(name) {
		return errOff
	}
	return nil
}

var errOff = pubsub.Errorf(pubsub.PresenceOff, "presence is off for this topic: subscribe without it")

// Join makes m a member of a topic and returns the reference that keeps it present. The
// member's Info is that of its newest reference. To change it, join again and then release
// the older reference; the registry emits no event for that. Join does not wait for
// Config.Emit. The registry keeps m.Info, which must not change.
func (r *Registry) Join(name pubsub.Topic, m pubsub.Member) *Reference {
	s := r.join(name, m, false, false)
	r.config.OwnChanged(name, m.Sub)
	return s
}

// JoinOther is Join for a client of another node. If known is true and the member is not
// present yet, the registry does not report the join: the member was present before this
// node began to watch the topic. Nodes may learn of references in different orders, and then
// have different infos of a member.
func (r *Registry) JoinOther(name pubsub.Topic, m pubsub.Member, known bool) *Reference {
	return r.join(name, m, true, known)
}

func (r *Registry) join(name pubsub.Topic, m pubsub.Member, other, known bool) *Reference {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.topics[name]
	if t == nil {
		t = &topic{name: name, members: make(map[string]*member)}
		r.topics[name] = t
	}
	p := t.members[m.Sub]
	if p == nil {
		p = &member{topic: t, sub: m.Sub, announced: known, grace: notInGrace}
		t.members[m.Sub] = p
		t.capacity = max(t.capacity, len(t.members))
		r.stats.Members++
		r.changedLocked(p)
	}
	if p.inGrace() {
		heap.Remove(&r.disconnected, p.grace)
	}
	p.expired = false
	s := &Reference{registry: r, member: p, older: p.newest, info: m.Info, other: other}
	if p.newest != nil {
		p.newest.newer = s
	}
	p.newest, p.info = s, m.Info
	r.stats.References++
	return s
}

// Release gives up the reference. The grace period of the member begins when its last
// reference is released. Further calls do nothing. Release does not wait for Config.Emit.
func (s *Reference) Release() { s.ReleaseUntil(time.Now().Add(s.registry.config.GracePeriod)) }

// ReleaseUntil is Release with a grace period that ends at a given time, but no earlier than
// Config.BatchDelay from now, and no later than that of Release. The grace period of a member
// ends at the latest of the times for its references, in whatever order they were released.
func (s *Reference) ReleaseUntil(graceEnd time.Time) {
	now := time.Now()
	if first := now.Add(s.registry.config.BatchDelay); graceEnd.Before(first) {
		graceEnd = first
	}
	if last := now.Add(s.registry.config.GracePeriod); graceEnd.After(last) {
		graceEnd = last
	}
	if p := s.release(graceEnd); p != nil && !s.other {
		s.registry.config.OwnChanged(p.topic.name, p.sub)
	}
}

// release returns the member, or nil if the reference was released before.
func (s *Reference) release(graceEnd time.Time) *member {
	r := s.registry
	r.mu.Lock()
	defer r.mu.Unlock()
	p := s.member
	if p == nil {
		return nil
	}
	if s.older != nil {
		s.older.newer = s.newer
	}
	if s.newer != nil {
		s.newer.older = s.older
	} else {
		p.newest = s.older
	}
	if graceEnd.After(p.graceEnd) {
		p.graceEnd = graceEnd
	}
	if p.newest != nil {
		p.info = p.newest.info
	} else {
		heap.Push(&r.disconnected, p)
		r.wakeLocked(p.graceEnd)
	}
	s.member, s.older, s.newer = nil, nil, nil
	r.stats.References--
	return p
}

// Shared reports whether a broker adds the members of other nodes. The registry then has all
// members of a topic only while the broker watches the topic.
func (r *Registry) Shared() bool { return r.shared }

// GracePeriod returns Config.GracePeriod, or its default.
func (r *Registry) GracePeriod() time.Duration { return r.config.GracePeriod }

// Own returns the Info of the newest reference that a client of this node has to a member,
// and whether there is one.
func (r *Registry) Own(name pubsub.Topic, sub string) (info []byte, present bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.topics[name]
	if t == nil || t.members[sub] == nil {
		return nil, false
	}
	s := t.members[sub].newest
	for s != nil && s.other {
		s = s.older
	}
	if s == nil {
		return nil, false
	}
	return s.info, true
}

// SetOtherSubscribers sets the number of subscriptions that the other nodes have to a topic.
func (r *Registry) SetOtherSubscribers(name pubsub.Topic, n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n == 0 {
		delete(r.others, name)
		return
	}
	if r.others == nil {
		r.others = make(map[pubsub.Topic]int)
	}
	r.others[name] = n
}

// OtherSubscribers returns what SetOtherSubscribers has set, or 0.
func (r *Registry) OtherSubscribers(name pubsub.Topic) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.others[name]
}

// List returns up to limit members of a topic, sorted by Sub and never nil, and the total
// number of members. If there are more than limit, it returns an arbitrary selection. If
// limit is at least Config.MaxMembers, a [Snapshot] follows once there are few enough
// members.
func (r *Registry) List(name pubsub.Topic, limit int) (members []pubsub.Member, count int) {
	members, count = r.unsortedList(name, limit)
	sortBySub(members) // without the lock, because sorting takes most of the time
	return members, count
}

func (r *Registry) unsortedList(name pubsub.Topic, limit int) (members []pubsub.Member, count int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.topics[name]
	if t == nil {
		return []pubsub.Member{}, 0
	}
	return t.list(limit), len(t.members)
}

func sortBySub(members []pubsub.Member) {
	slices.SortFunc(members, func(a, b pubsub.Member) int { return cmp.Compare(a.Sub, b.Sub) })
}

// Stats are the figures of a [Registry].
type Stats struct {
	Topics     int    // topics with members
	Members    int    // members of all topics, including those in their grace period
	References int    // references that were not released
	Events     uint64 // events emitted so far
}

// Stats returns a consistent snapshot of the figures.
func (r *Registry) Stats() Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.stats
	s.Topics = len(r.topics)
	return s
}
