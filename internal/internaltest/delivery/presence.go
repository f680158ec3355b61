package delivery

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// roster is who is present where at one time, as all clients together know it.
type roster struct {
	faults      *faults
	gracePeriod time.Duration
	named       map[string]bool // every sub
	states      map[memberKey]*memberState
}

// memberKey is a member of a topic.
type memberKey struct {
	topic pubsub.Topic
	sub   string
}

// memberState is what is known of a member.
type memberState struct {
	subscriptions int
	away          []absence
}

// absence is the longest time for which a member may have had no subscription.
type absence struct{ from, to time.Time } // from is zero: it never was there before; to is zero: it is not back

// observer is one client, both as a member and as a receiver of presence events.
type observer struct {
	Client
	leaving time.Time // since when it may have left, for all it knows; zero: it does not leave
	views   map[pubsub.Topic]*view
	plain   map[pubsub.Topic]bool // subscriptions without presence
}

// view is what a client has learned about a topic since it subscribed with presence.
type view struct {
	known   bool // members is whole
	members map[string]bool
	count   int

	// Used to check that joins and leaves alternate; a list starts over.
	hasSnapshot bool
	present     map[string]bool // by the last event about a member
}

// received is an event of a client.
type received struct {
	*observer
	index int
	Event
}

// checkPresence goes through the events of all clients in the order of time.
func checkPresence(log *Log, f *faults) {
	r := roster{faults: f, gracePeriod: log.GracePeriod, named: make(map[string]bool), states: make(map[memberKey]*memberState)}
	var all []received
	for _, c := range log.Clients {
		o := &observer{Client: c, views: make(map[pubsub.Topic]*view), plain: make(map[pubsub.Topic]bool)}
		r.named[c.Sub] = true
		for i, e := range c.Events {
			all = append(all, received{o, i, e})
		}
	}
	slices.SortStableFunc(all, func(a, b received) int { return cmp.Compare(a.Time, b.Time) })
	for _, e := range all {
		r.step(e)
	}
}

func (r *roster) fault(e received, format string, args ...any) {
	r.faults.event(e.Name, e.index, e.Event, format, args...)
}

func (r *roster) step(e received) {
	v := e.views[e.Topic]
	switch e.Kind {
	case Leaving:
		if e.leaving.IsZero() { // Else the answer to an unsubscription did not come.
			e.leaving = e.At
		}
	case Subscribed:
		if e.plain[e.Topic] = v == nil && !e.Ask.Presence; e.Ask.Presence && v == nil {
			e.views[e.Topic] = &view{members: make(map[string]bool), present: make(map[string]bool)}
			r.enter(memberKey{e.Topic, e.Sub}, e.At)
		}
		e.leaving = time.Time{}
	case Unsubscribed:
		delete(e.plain, e.Topic)
		r.exit(e, e.Topic)
		e.leaving = time.Time{}
	case Cut:
		clear(e.plain)
		for topic := range e.views {
			r.exit(e, topic)
		}
		e.leaving = time.Time{}
	case Joined, Left, CountOnly, Snapshot:
		if v != nil {
			r.receive(e, v)
		} else if e.plain[e.Topic] { // Without any subscription, an earlier check has reported it.
			r.fault(e, "without a subscription with presence")
		}
	case Members:
		if v != nil {
			v.known, v.count, v.members = e.Count == len(e.Members), e.Count, set(e.Members)
		}
	case Rest:
		for topic, v := range e.views {
			r.checkRest(e, topic, v)
		}
	}
}

func set(members []string) map[string]bool {
	s := make(map[string]bool)
	for _, m := range members {
		s[m] = true
	}
	return s
}

// enter records a subscription with presence.
func (r *roster) enter(at memberKey, when time.Time) {
	s := r.states[at]
	if s == nil { // Before, it may have been there without an answer.
		s = &memberState{away: []absence{{}}}
		r.states[at] = s
	}
	if s.subscriptions++; s.subscriptions == 1 {
		s.away[len(s.away)-1].to = when
	}
}

// exit records the end of one, if there was one.
func (r *roster) exit(e received, topic pubsub.Topic) {
	if e.views[topic] == nil {
		return
	}
	delete(e.views, topic)
	s := r.states[memberKey{topic, e.Sub}]
	if s.subscriptions--; s.subscriptions > 0 {
		return
	}
	from := e.At
	if !e.leaving.IsZero() {
		from = e.leaving
	}
	s.away = append(s.away, absence{from: from})
}

// receive checks a presence event that a client received.
func (r *roster) receive(e received, v *view) {
	for _, m := range e.Members {
		if !r.named[m] {
			r.fault(e, "nobody is %q", m)
		}
	}
	switch e.Kind {
	case CountOnly:
		v.known, v.hasSnapshot, v.count, v.present = false, false, e.Count, make(map[string]bool)
		return
	case Snapshot:
		if e.Count != len(e.Members) {
			r.fault(e, "a list of %d has %d", e.Count, len(e.Members))
		}
		v.known, v.hasSnapshot, v.count, v.members, v.present = true, true, e.Count, set(e.Members), set(e.Members)
		return
	}
	for _, m := range e.Members {
		here, before := v.present[m]
		switch joins := e.Kind == Joined; {
		case joins && here:
			r.fault(e, "%q joined and was there", m)
		case !joins && !here && (before || v.hasSnapshot):
			r.fault(e, "%q left and was not there", m)
		case !joins && !r.wasAway(memberKey{e.Topic, m}, e.At):
			r.fault(e, "%q was not away for %v", m, r.gracePeriod)
		}
		if v.present[m] = e.Kind == Joined; v.present[m] {
			v.members[m] = true
		} else {
			delete(v.members, m)
		}
	}
	v.count = len(v.members)
}

// maxReceiveDelay is how long after it was sent a client may receive a leave.
const maxReceiveDelay = 2 * time.Second

// wasAway reports whether a member may have been away for the grace period when others received
// its leave at a given time: it had not returned before the leave was sent. It is true for a
// member that never got the answer to its own subscription.
func (r *roster) wasAway(at memberKey, heard time.Time) bool {
	s := r.states[at]
	if s == nil {
		return true
	}
	for _, a := range s.away {
		to := heard
		if !a.to.IsZero() && a.to.Before(heard) {
			to = a.to
		}
		if to.Sub(a.from) >= r.gracePeriod && heard.Sub(to) < maxReceiveDelay {
			return true
		}
	}
	return false
}

// checkRest compares what a client knows with the members that are present.
func (r *roster) checkRest(e received, topic pubsub.Topic, v *view) {
	e.Topic = topic
	want := make(map[string]bool)
	for at, s := range r.states {
		if at.topic == topic && s.subscriptions > 0 {
			want[at.sub] = true
		}
	}
	switch {
	case v.known && !maps.Equal(v.members, want):
		r.fault(e, "it knows the members %v, and there are %v", slices.Sorted(maps.Keys(v.members)), slices.Sorted(maps.Keys(want)))
	case !v.known && v.count != len(want) && v.count > 0:
		r.fault(e, "it knows of %d members, and there are %d", v.count, len(want))
	}
}
