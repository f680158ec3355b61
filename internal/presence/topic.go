package presence

import (
	"container/list"
	"time"

	"github.com/ikornaselur/notiflux"
)

// countEvery is how often the number of members is told at most.
const countEvery = time.Second

// A topic is its members and what is to be told of them. It has members or is in
// the queue, else it is forgotten. Guarded by Registry.mu.
type topic struct {
	name    notiflux.Topic
	members map[string]*member // those present, and while changes are told also who is gone, until that is told
	peak    int                // how many members the map has room for, as far as is known

	changed  []*member // may be to be told; not while counting
	queued   bool      // it is in the queue, to be told when due
	due      time.Time
	counting bool      // the last event was Counted
	counted  time.Time // when
}

// A member is all seats of a Sub in a topic. Without seats it lingers, then it is
// gone. Guarded by Registry.mu.
type member struct {
	topic     *topic
	sub       string
	info      []byte // of the newest seat, or of the last one that was left
	newest    *Seat
	lingering *list.Element // its place in Registry.lingering
	due       time.Time     // when it is gone, if it lingers
	gone      bool          // it lingered to the end, which is not told yet; that it joined is told
	told      bool          // that it joined; means nothing while counting
}

// changedLocked notes that p came or went, to be told when its topic is due.
func (r *Registry) changedLocked(p *member) {
	t := p.topic
	if !t.counting {
		t.changed = append(t.changed, p)
	}
	if t.queued {
		return
	}
	t.queued, t.due = true, time.Now().Add(r.config.Gather)
	if next := t.counted.Add(countEvery); t.counting && next.After(t.due) {
		t.due = next
	}
	r.queue.push(t)
	r.wakeLocked(t.due)
}

// goneLocked ends the lingering of p.
func (r *Registry) goneLocked(p *member) {
	r.lingering.Remove(p.lingering)
	p.lingering, p.gone = nil, true
	if p.topic.counting {
		r.removeLocked(p)
	}
	r.changedLocked(p)
}

func (r *Registry) removeLocked(p *member) {
	t := p.topic
	delete(t.members, p.sub)
	r.stats.Members--
	// A map keeps the room that it once needed, and takes as long to walk.
	if n := len(t.members); t.peak > 64 && n < t.peak/4 {
		members := make(map[string]*member, n)
		for sub, p := range t.members {
			members[sub] = p
		}
		t.members, t.peak = members, n
	}
}

// eventLocked returns what is to be told of t, which is due, if anything is. It
// forgets t if nobody is left.
func (r *Registry) eventLocked(t *topic, now time.Time) (Event, bool) {
	e := Event{Topic: t.name}
	// Of more, somebody may have got a list that is cut off, and needs a whole one.
	cut := len(t.members) > r.config.MaxMembers
	for _, p := range t.changed {
		if p.gone {
			r.removeLocked(p)
			e.Left = append(e.Left, notiflux.Member{Sub: p.sub})
		}
	}
	e.Count = len(t.members)
	switch {
	case e.Count > r.config.MaxMembers, t.counting && e.Count > r.few:
		e.Kind, e.Left = Counted, nil
		t.counting, t.counted = true, now
	case t.counting, cut:
		e.Kind, e.Left = Listed, nil
		t.counting = false
		e.All = t.list(e.Count)
		for _, p := range t.members {
			p.told = true
		}
	default:
		for _, p := range t.changed {
			if !p.told {
				p.told = true
				e.Joined = append(e.Joined, notiflux.Member{Sub: p.sub, Info: p.info})
			}
		}
	}
	t.changed = nil
	if e.Count == 0 {
		delete(r.topics, t.name)
	}
	told := e.Kind != Changed || len(e.Joined)+len(e.Left) > 0
	if told {
		r.stats.Events++
	}
	return e, told
}

// list returns up to most members in any order, never nil.
func (t *topic) list(most int) []notiflux.Member {
	members := make([]notiflux.Member, 0, max(0, min(most, len(t.members))))
	for _, p := range t.members {
		if len(members) == cap(members) {
			break
		}
		members = append(members, notiflux.Member{Sub: p.sub, Info: p.info})
	}
	return members
}
