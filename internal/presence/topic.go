package presence

import (
	"container/heap"
	"time"

	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// countInterval is the shortest time between two CountOnly events of a topic.
const countInterval = time.Second

// A topic holds its members and their unreported changes. A topic without members that is
// not in the queue is forgotten. Guarded by Registry.mu.
type topic struct {
	name     pubsub.Topic
	members  map[string]*member // by Sub; includes expired members until their leave is reported, unless countOnly
	capacity int                // approximate number of members that the map has room for

	changed   []*member // members whose join or leave may be unreported; unused if countOnly
	queued    bool      // it is in the queue
	due       time.Time
	countOnly bool      // the last event was CountOnly
	countedAt time.Time // the time of that event
}

// A member is all references with one Sub in a topic. Without a reference it is in its
// grace period; then it expires. Guarded by Registry.mu.
type member struct {
	topic     *topic
	sub       string
	info      []byte // of the newest reference, or of the last one released
	newest    *Reference
	grace     int       // index in Registry.disconnected, or notInGrace
	graceEnd  time.Time // when its grace period ends if it has no reference then
	expired   bool      // its grace period is over; its join was reported, but not its leave
	announced bool      // its join was reported; unused if topic.countOnly
}

// notInGrace is member.grace outside of the grace period.
const notInGrace = -1

func (p *member) inGrace() bool { return p.grace != notInGrace }

// changedLocked queues a join or leave of p for the next event of its topic.
func (r *Registry) changedLocked(p *member) {
	t := p.topic
	if !t.countOnly {
		t.changed = append(t.changed, p)
	}
	if t.queued {
		return
	}
	t.queued, t.due = true, time.Now().Add(r.config.BatchDelay)
	if next := t.countedAt.Add(countInterval); t.countOnly && next.After(t.due) {
		t.due = next
	}
	heap.Push(&r.queue, t)
	r.wakeLocked(t.due)
}

// expireLocked ends the grace period of p.
func (r *Registry) expireLocked(p *member) {
	heap.Remove(&r.disconnected, p.grace)
	p.expired = true
	if p.topic.countOnly {
		r.removeLocked(p)
	}
	r.changedLocked(p)
}

func (r *Registry) removeLocked(p *member) {
	t := p.topic
	delete(t.members, p.sub)
	r.stats.Members--
	// A map never shrinks, and the time to walk it is proportional to its capacity.
	if n := len(t.members); t.capacity > 64 && n < t.capacity/4 {
		members := make(map[string]*member, n)
		for sub, p := range t.members {
			members[sub] = p
		}
		t.members, t.capacity = members, n
	}
}

// eventLocked returns the event of t, which is due, and whether there is one. It forgets t
// if t has no members.
func (r *Registry) eventLocked(t *topic, now time.Time) (Event, bool) {
	e := Event{Topic: t.name}
	// With more members, a client may have received a truncated list and needs a Snapshot.
	truncated := len(t.members) > r.config.MaxMembers
	for _, p := range t.changed {
		if p.expired {
			r.removeLocked(p)
			e.Left = append(e.Left, pubsub.Member{Sub: p.sub})
		}
	}
	e.Count = len(t.members)
	switch {
	case e.Count > r.config.MaxMembers, t.countOnly && e.Count > r.snapshotBelow:
		e.Kind, e.Left = CountOnly, nil
		t.countOnly, t.countedAt = true, now
	case t.countOnly, truncated:
		e.Kind, e.Left = Snapshot, nil
		t.countOnly = false
		e.Members = t.list(e.Count)
		for _, p := range t.members {
			p.announced = true
		}
	default:
		for _, p := range t.changed {
			if !p.announced {
				p.announced = true
				e.Joined = append(e.Joined, pubsub.Member{Sub: p.sub, Info: p.info})
			}
		}
	}
	t.changed = nil
	if e.Count == 0 {
		delete(r.topics, t.name)
	}
	emit := e.Kind != Changes || len(e.Joined)+len(e.Left) > 0
	if emit {
		r.stats.Events++
	}
	return e, emit
}

// list returns up to limit members in any order, never nil.
func (t *topic) list(limit int) []pubsub.Member {
	members := make([]pubsub.Member, 0, max(0, min(limit, len(t.members))))
	for _, p := range t.members {
		if len(members) == cap(members) {
			break
		}
		members = append(members, pubsub.Member{Sub: p.sub, Info: p.info})
	}
	return members
}
