package remote

import (
	"bytes"
	"time"

	"github.com/ikornaselur/notiflux/internal/presence"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/topic"
)

// A Statement is what one node says about a topic: that it has a member, or how many
// subscriptions it has.
type Statement struct {
	Node string
	Sub  string // of the member
	Info []byte // of the member

	// GraceEnd is when the grace period of the member ends. Zero: the member is connected.
	GraceEnd time.Time

	// Counts makes this a statement about subscriptions: the node has Count of them.
	Counts bool
	Count  int
}

// Statements are all statements about a topic. The ones of a node count only as long as its
// lease has not ended.
type Statements struct {
	Head   pubsub.Position // of the presence topic
	All    []Statement
	Leases Leases
}

// Leases are the times when the leases of nodes end. The store forgets a node some time after
// that.
type Leases map[string]time.Time

// others is what the other nodes say about the topic that a presence topic belongs to.
type others struct {
	members map[source]heard
	counts  map[string]int // by node

	// nodes may have statements in the store, even if they are about members that left.
	nodes map[string]bool
}

// A source is a member as one node has it.
type source struct{ node, sub string }

// heard is a member that is connected to another node.
type heard struct {
	reference *presence.Reference
	info      []byte
}

// replace takes all statements about a topic, in place of those heard before.
func (n *sharing) replace(f *follower, s Statements) {
	if n.registry == nil {
		return
	}
	f.head = s.Head
	watched, _ := topic.Watched(f.name)
	own, named := make(map[part]Statement), make(map[source]bool)
	f.others.counts, f.others.nodes = make(map[string]int), make(map[string]bool)
	for _, x := range s.All {
		if x.Node == n.config.Name {
			own[part{x.Sub, x.Counts}] = x
			continue
		}
		f.others.nodes[x.Node] = true
		if end, ended := n.leaseEnd(s.Leases, x.Node); ended {
			n.ended[x.Node] = true
			if isOld := n.end(&x, end.Add(n.registry.GracePeriod())); isOld {
				n.tellAgain(subject{watched, part{x.Sub, x.Counts}, x.Node})
				continue
			}
		}
		if x.Counts {
			f.others.counts[x.Node] = x.Count
			continue
		}
		named[source{x.Node, x.Sub}] = true
		n.hearMember(f, x)
	}
	for id, m := range f.others.members {
		if !named[id] {
			m.reference.Release()
			delete(f.others.members, id)
		}
	}
	n.sumCounts(f)
	n.correct(watched, own)
}

// longEnded is how long ago a lease has ended when even a node that has just connected takes
// the other one for gone. If that is wrong, because the store was away for so long, the other
// one renews its lease within the grace period of its members.
const longEnded = 4 * leaseTime

// leaseEnd returns when the lease of a node ended, and whether it has. A node that has just
// connected does not judge: the others may be about to renew their leases.
func (n *sharing) leaseEnd(l Leases, node string) (end time.Time, ended bool) {
	end = l[node]
	ago := time.Since(end)
	return end, ago > longEnded || ago > 0 && n.judges()
}

// end changes a statement of a node whose lease has ended: its members leave at a time at the
// latest. It reports whether the statement is to be removed.
func (n *sharing) end(x *Statement, graceEnd time.Time) (isOld bool) {
	if x.GraceEnd.IsZero() || x.GraceEnd.After(graceEnd) {
		x.GraceEnd = graceEnd
	}
	x.Count = 0
	return graceEnd.Before(time.Now())
}

// hear takes a statement that was pushed.
func (n *sharing) hear(f *follower, x Statement) {
	if n.registry == nil || x.Node == n.config.Name {
		return
	}
	f.others.nodes[x.Node] = true
	if x.Counts {
		f.others.counts[x.Node] = x.Count
		n.sumCounts(f)
	} else {
		n.hearMember(f, x)
	}
}

// hearMember takes a statement of another node about a member.
func (n *sharing) hearMember(f *follower, x Statement) {
	watched, _ := topic.Watched(f.name)
	id := source{x.Node, x.Sub}
	before, known := f.others.members[id]
	join := func() *presence.Reference {
		return n.registry.JoinOther(watched, pubsub.Member{Sub: x.Sub, Info: x.Info}, !f.live)
	}
	switch {
	case x.GraceEnd.IsZero():
		if known && bytes.Equal(before.info, x.Info) {
			return
		}
		if f.others.members == nil {
			f.others.members = make(map[source]heard)
		}
		f.others.members[id] = heard{join(), x.Info}
		if known {
			before.reference.Release()
		}
	case known:
		before.reference.ReleaseUntil(x.GraceEnd)
		delete(f.others.members, id)
	case x.GraceEnd.After(time.Now()):
		join().ReleaseUntil(x.GraceEnd)
	}
}

// sumCounts tells the registry how many subscriptions the other nodes have.
func (n *sharing) sumCounts(f *follower) {
	sum := 0
	for _, count := range f.others.counts {
		sum += count
	}
	watched, _ := topic.Watched(f.name)
	n.registry.SetOtherSubscribers(watched, sum)
}

// forgetOthers releases the members of other nodes, because the node no longer follows f.
func (n *sharing) forgetOthers(f *follower) {
	if n.registry == nil || !topic.IsPresenceTopic(f.name) {
		return
	}
	for _, m := range f.others.members {
		m.reference.Release()
	}
	f.others = others{}
	n.sumCounts(f)
}

// judge releases the members of the nodes whose lease has ended. If a lease has not ended any
// more, it reads the topics again, because the node ignored what the other one said meanwhile.
func (n *sharing) judge(l Leases) {
	again := false
	for node := range n.ended {
		if _, known := l[node]; !known {
			delete(n.ended, node)
		} else if _, ended := n.leaseEnd(l, node); !ended {
			delete(n.ended, node)
			again = true
		}
	}
	for _, f := range n.sorted(func(f *follower) bool { return topic.IsPresenceTopic(f.name) }) {
		if f.live && (again || n.hasOld(f, l)) {
			n.catchUp(f)
		}
		for id, m := range f.others.members {
			if _, ended := n.leaseEnd(l, id.node); ended {
				m.reference.Release()
				delete(f.others.members, id)
				n.ended[id.node] = true
			}
		}
		for node := range f.others.counts {
			if _, ended := n.leaseEnd(l, node); ended {
				delete(f.others.counts, node)
				n.sumCounts(f)
				n.ended[node] = true
			}
		}
	}
}

// hasOld reports whether the store may have statements about the topic of f that are to be
// removed, because the members of their nodes have left. The next read removes them.
func (n *sharing) hasOld(f *follower, l Leases) bool {
	for node := range f.others.nodes {
		end, ended := n.leaseEnd(l, node)
		if ended && end.Add(n.registry.GracePeriod()).Before(time.Now()) {
			return true
		}
	}
	return false
}
