package remote

import (
	"bytes"
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/ikornaselur/notiflux/internal/presence"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/topic"
)

const (
	// leaseTime is how long the statements of a node count after it has renewed its lease.
	leaseTime  = 15 * time.Second
	renewEvery = leaseTime / 3

	// countEvery is how often the node tells the numbers of subscriptions that have changed.
	countEvery = time.Second

	// maxTelling limits how long a node that ends waits until the store knows what it has to
	// tell.
	maxTelling = time.Second
)

// A Change is a statement to make, or to remove.
type Change struct {
	Topic     pubsub.Topic
	Statement Statement
	Forget    bool // remove the statement without a push. One of another node is removed only if the lease of that node has ended.
}

// sharing is how a node shares its members with the others. It tells the store states, not
// events: what changes again before the store is told, or while the store is away, is told
// once.
type sharing struct {
	*Node // which it belongs to

	// Immutable after Share.
	registry    *presence.Registry // nil: the members are not shared
	subscribers func(pubsub.Topic) int

	// Owned by the goroutine of Work.
	said      map[pubsub.Topic]map[part]*saying
	untold    []subject             // to tell next, in order
	changed   map[subject]time.Time // when each subject in untold changed
	counted   map[pubsub.Topic]bool // topics whose number of subscriptions has changed since countLater told it
	sent      []subject             // of the request of tell that is in flight; nil: none is
	renewing  bool                  // a request of renew is in flight
	renewed   time.Time             // the first renewal since one failed; zero: the last one failed
	leased    time.Time             // when the last renewal succeeded
	ended     map[string]bool       // nodes whose lease has ended, so that what they say is ignored
	finishing func()                // see finishTelling
}

// A part of what the node says about a topic: one member, or the number of subscriptions.
type part struct {
	sub    string
	counts bool
}

// A subject is a part of a topic, as a node has it.
type subject struct {
	topic pubsub.Topic
	part
	node string
}

// saying is what the store knows about a part from this node.
type saying struct {
	Statement
	unsure bool // the store may know something else, or nothing
}

// Share implements [broker.Shared].
func (n *Node) Share(r *presence.Registry, subscribers func(pubsub.Topic) int) {
	s := &n.sharing
	s.registry, s.subscribers = r, subscribers
	n.Post(func() {
		s.renewLater()
		s.countLater()
	})
}

// OwnChanged implements [broker.Shared].
func (n *Node) OwnChanged(name pubsub.Topic, sub string) {
	now := time.Now()
	n.Post(func() {
		if n.sharing.registry != nil {
			n.sharing.tellLater(n.sharing.own(name, part{sub: sub}), now)
		}
	})
}

// Counted implements [broker.Shared].
func (n *Node) Counted(name pubsub.Topic) {
	if topic.IsPresenceTopic(name) {
		return
	}
	n.Post(func() {
		if s := &n.sharing; s.registry != nil {
			s.counted[name] = true
		}
	})
}

func (n *sharing) own(name pubsub.Topic, p part) subject { return subject{name, p, n.config.Name} }

// countLater tells the numbers of subscriptions that have changed, at intervals.
func (n *sharing) countLater() {
	n.After(countEvery, func() {
		n.tellCounts()
		n.countLater()
	})
}

func (n *sharing) tellCounts() {
	for _, name := range slices.Sorted(maps.Keys(n.counted)) {
		n.tellLater(n.own(name, part{counts: true}), time.Now())
	}
	clear(n.counted)
}

// tellLater tells the store with the next request about a subject that changed at a time.
func (n *sharing) tellLater(s subject, at time.Time) {
	n.queueSubject(s, at)
	n.tell()
}

func (n *sharing) queueSubject(s subject, at time.Time) {
	if _, ok := n.changed[s]; !ok {
		n.untold = append(n.untold, s)
	}
	n.changed[s] = at
}

// tellAgain is tellLater for a subject that has not changed.
func (n *sharing) tellAgain(s subject) {
	at, ok := n.changed[s]
	if !ok {
		at = time.Now()
	}
	n.tellLater(s, at)
}

// tell sends the next changes. While a request is in flight, or the store is away, further
// changes wait.
func (n *sharing) tell() {
	if n.sent != nil || len(n.untold) == 0 || n.store.Health() != nil {
		n.checkFinished()
		return
	}
	var changes []Change
	var sent []subject
	var times []time.Time
	for len(n.untold) > 0 && len(changes) < maxBatch {
		s := n.untold[0]
		n.untold = n.untold[1:]
		if c, ok := n.change(s, n.changed[s]); ok {
			changes, sent, times = append(changes, c), append(sent, s), append(times, n.changed[s])
		}
		delete(n.changed, s)
	}
	if len(changes) == 0 {
		n.checkFinished()
		return
	}
	n.sent = sent
	n.store.Tell(changes, func(err error) {
		n.sent = nil
		for i, s := range sent {
			if err == nil {
				n.settle(s, changes[i])
			} else {
				n.unsettle(s, changes[i], times[i])
			}
		}
		if err == nil {
			n.tell() // After an error, the next renewal does.
		}
	})
}

// change returns what to tell about a subject that changed at a time, and whether there is
// anything.
func (n *sharing) change(s subject, at time.Time) (c Change, ok bool) {
	c = Change{Topic: s.topic, Statement: Statement{Node: s.node, Sub: s.sub, Counts: s.counts}}
	said := n.said[s.topic][s.part]
	switch {
	case s.node != n.config.Name:
		c.Forget = true
		return c, true
	case s.counts:
		c.Statement.Count = n.subscribers(s.topic)
		return c, said == nil && c.Statement.Count > 0 || said != nil && (said.unsure || said.Count != c.Statement.Count)
	}
	info, present := n.registry.Own(s.topic, s.sub)
	switch {
	case present:
		c.Statement.Info = info
		return c, said == nil || said.unsure || !said.GraceEnd.IsZero() || !bytes.Equal(said.Info, info)
	case said == nil:
		return c, false // The member left before the store was told that it had come.
	case said.GraceEnd.IsZero():
		c.Statement.Info, c.Statement.GraceEnd = said.Info, at.Add(n.registry.GracePeriod())
	case said.unsure || said.GraceEnd.After(time.Now()):
		// What was not pushed for certain is pushed before it is removed.
		c.Statement = said.Statement
		return c, said.unsure
	default:
		c.Forget = true
	}
	return c, true
}

// settle notes that the store knows a change.
func (n *sharing) settle(s subject, c Change) {
	switch {
	case s.node != n.config.Name:
	case c.Forget, s.counts && c.Statement.Count == 0:
		n.unsay(s)
	default:
		_, again := n.changed[s]
		n.say(s, c.Statement).unsure = again // Meanwhile the store may have lost it.
		if end := c.Statement.GraceEnd; !end.IsZero() {
			n.at(end, func() { n.tellAgain(s) }) // to remove it
		}
	}
}

// unsettle notes that the store may know a change or not, so that it is told again. at is the
// time of the change.
func (n *sharing) unsettle(s subject, c Change, at time.Time) {
	if s.node != n.config.Name {
		return // The next read of the topic tries again.
	}
	if said := n.said[s.topic][s.part]; c.Forget && said != nil {
		said.unsure = true
	} else {
		n.say(s, c.Statement).unsure = true
	}
	if _, ok := n.changed[s]; !ok {
		n.queueSubject(s, at)
	}
}

func (n *sharing) say(s subject, x Statement) *saying {
	all := n.said[s.topic]
	if all == nil {
		all = make(map[part]*saying)
		n.said[s.topic] = all
	}
	all[s.part] = &saying{Statement: x}
	return all[s.part]
}

func (n *sharing) unsay(s subject) {
	if delete(n.said[s.topic], s.part); len(n.said[s.topic]) == 0 {
		delete(n.said, s.topic)
	}
}

// correct compares what the store knows about a topic from this node with what the node has
// said, and tells it again where they differ.
func (n *sharing) correct(name pubsub.Topic, known map[part]Statement) {
	var wrong []part
	for p, said := range n.said[name] {
		if x, ok := known[p]; !ok || x.GraceEnd.IsZero() != said.GraceEnd.IsZero() || x.Count != said.Count {
			said.unsure = true
			wrong = append(wrong, p)
		}
	}
	for p, x := range known {
		if n.said[name][p] == nil {
			n.say(n.own(name, p), x).unsure = true
			wrong = append(wrong, p)
		}
	}
	n.tellParts(name, wrong)
	n.doubtSent(func(s subject) bool { return s.topic == name })
}

// doubtSent tells some of what is in flight once more, because the store may have taken it
// before it lost what it knew.
func (n *sharing) doubtSent(doubtful func(subject) bool) {
	for _, s := range n.sent {
		if s.node == n.config.Name && doubtful(s) {
			n.tellAgain(s)
		}
	}
}

// tellAll tells the store all that it was told before, because it may have lost it.
func (n *sharing) tellAll() {
	for _, name := range slices.Sorted(maps.Keys(n.said)) {
		for _, said := range n.said[name] {
			said.unsure = true
		}
		n.tellParts(name, slices.Collect(maps.Keys(n.said[name])))
	}
	n.doubtSent(func(subject) bool { return true })
}

// tellParts tells the store about parts of a topic, in an order that tests can repeat.
func (n *sharing) tellParts(name pubsub.Topic, parts []part) {
	slices.SortFunc(parts, func(a, b part) int {
		switch {
		case a.counts == b.counts:
			return cmp.Compare(a.sub, b.sub)
		case a.counts:
			return -1
		default:
			return 1
		}
	})
	for _, p := range parts {
		n.tellAgain(n.own(name, p))
	}
}

// renewLater renews the lease of the node, now and at intervals.
func (n *sharing) renewLater() {
	n.renew()
	n.After(renewEvery, n.renewLater)
}

// renew renews the lease of the node, unless it is being renewed.
func (n *sharing) renew() {
	if n.registry == nil || n.renewing {
		return
	}
	n.renewing = true
	n.store.Renew(leaseTime, func(l Leases, ended bool, err error) {
		n.renewing = false
		if err != nil {
			n.renewed = time.Time{}
			return
		}
		now := time.Now()
		if n.renewed.IsZero() {
			n.renewed = now
		}
		// The answer that would have said that the lease had ended may be lost.
		if ended || now.Sub(n.leased) > leaseTime {
			n.tellAll()
		}
		n.leased = now
		n.judge(l)
		n.tell()
	})
}

// judges reports whether the node has been connected for so long that every other node has
// renewed its lease if it could.
func (n *sharing) judges() bool {
	return !n.renewed.IsZero() && time.Since(n.renewed) > leaseTime
}

// finishTelling calls then once the store knows everything, or after maxTelling.
func (n *sharing) finishTelling(then func()) {
	n.finishing = then
	n.tellCounts()
	n.After(maxTelling, then)
	n.tell()
}

func (n *sharing) checkFinished() {
	if n.finishing != nil && n.sent == nil && (len(n.untold) == 0 || n.store.Health() != nil) {
		n.finishing()
	}
}
