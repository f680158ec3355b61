package presence_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/ikornaselur/notiflux/internal/presence"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

const gracePeriod = 10 * time.Second

// key is a member of a topic.
type key struct {
	topic pubsub.Topic
	sub   string
}

// step is one action of the test.
type step struct {
	verb  string // join, leave, wait
	key   key
	index int // of the reference to release
	wait  time.Duration
}

var steps = rapid.Custom(func(t *rapid.T) step {
	return step{
		rapid.SampledFrom([]string{"join", "join", "leave", "leave", "wait"}).Draw(t, "verb"),
		key{rapid.SampledFrom([]pubsub.Topic{"a", "b"}).Draw(t, "topic"), fmt.Sprint("u", rapid.IntRange(0, 6).Draw(t, "sub"))},
		rapid.IntRange(0, 3).Draw(t, "reference"),
		rapid.SampledFrom([]time.Duration{1, 30 * time.Millisecond, 100 * time.Millisecond, 700 * time.Millisecond, time.Second, 4 * time.Second, gracePeriod - time.Second, gracePeriod, gracePeriod + 50*time.Millisecond}).Draw(t, "wait"),
	}
})

// view is what a client knows of a topic's members from a list and events.
type view struct {
	members map[string]bool
	known   bool // false: too many members to know them
}

// apply applies an event like a client. It returns an error for an unnecessary event.
func (v *view) apply(e presence.Event) (err error) {
	switch e.Kind {
	case presence.CountOnly:
		v.known = false
	case presence.Snapshot:
		v.known, v.members = true, set(e.Members)
	}
	if e.Kind != presence.Changes && len(e.Joined)+len(e.Left) > 0 {
		return fmt.Errorf("joins or leaves in %+v", e)
	}
	for _, m := range e.Joined {
		if v.members[m.Sub] {
			err = fmt.Errorf("%s joined, but was present", m.Sub)
		}
		v.members[m.Sub] = true
	}
	for _, m := range e.Left {
		if !v.members[m.Sub] {
			err = fmt.Errorf("%s left, but was not present", m.Sub)
		}
		delete(v.members, m.Sub)
	}
	if e.Kind == presence.Changes && !v.known {
		return errors.New("changes while there is only a number")
	}
	return err
}

func set(members []pubsub.Member) map[string]bool {
	s := make(map[string]bool)
	for _, m := range members {
		s[m.Sub] = true
	}
	return s
}

// place is a reference in the model.
type place struct {
	*presence.Reference
	info string
}

// model is a simple registry: the references, and when the last one was released, by
// member.
type model struct {
	*rig
	most       int
	slow       time.Duration // how long Emit takes
	references map[key][]place
	left       map[key]time.Time
	ever       map[pubsub.Topic]*view   // views that saw all events
	joiners    map[pubsub.Topic][]*view // views that began later with a list
	counted    map[pubsub.Topic]time.Time
	infos      int
	errs       []error
}

func (m *model) fail(format string, args ...any) {
	m.errs = append(m.errs, fmt.Errorf("%v: "+format, append([]any{time.Since(m.start)}, args...)...))
}

// present returns the members with a reference or in their grace period.
func (m *model) present(topic pubsub.Topic) map[string]bool {
	s := make(map[string]bool)
	for k := range m.left {
		if k.topic == topic && m.here(k) {
			s[k.sub] = true
		}
	}
	return s
}

func (m *model) here(k key) bool {
	return len(m.references[k]) > 0 || time.Since(m.left[k]) < gracePeriod
}

// tell checks an event on its own when it is emitted. Later views get it when Emit returns.
func (m *model) tell(e presence.Event) {
	m.mu.Lock()
	ever := m.ever[e.Topic]
	if err := ever.apply(e); err != nil {
		m.fail("%v", err)
	}
	for _, x := range e.Left {
		if m.here(key{e.Topic, x.Sub}) {
			m.fail("%s is reported as left, but is present", x.Sub)
		}
	}
	for _, x := range slices.Concat(e.Joined, e.Members) {
		if k := (key{e.Topic, x.Sub}); m.slow == 0 && len(m.references[k]) > 0 && string(x.Info) != m.references[k][len(m.references[k])-1].info {
			m.fail("%s is reported with %s, want %v", x.Sub, x.Info, m.references[k])
		}
	}
	if n := max(len(e.Joined), len(e.Left), len(e.Members)); n > m.most {
		m.fail("an event of %d members", n)
	}
	if e.Kind == presence.CountOnly {
		if time.Since(m.counted[e.Topic]) < time.Second {
			m.fail("counted %v ago", time.Since(m.counted[e.Topic]))
		}
		m.counted[e.Topic] = time.Now()
	} else if ever.known && e.Count != len(ever.members) {
		m.fail("count is %d of %v", e.Count, ever.members)
	}
	m.mu.Unlock()
	<-time.After(m.slow)
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, v := range m.joiners[e.Topic] {
		_ = v.apply(e) // The list may already include the change.
	}
}

func (m *model) do(s step) {
	k := s.key
	switch s.verb {
	case "wait":
		wait(s.wait)
		return
	case "join":
		m.mu.Lock()
		m.infos++
		info := fmt.Sprint("#", m.infos)
		m.references[k] = append(m.references[k], place{m.joins(k.topic, k.sub, info), info})
		m.left[k] = time.Time{}
		members, count := m.List(k.topic, m.most)
		v := &view{set(members), len(members) == count}
		m.joiners[k.topic] = append(m.joiners[k.topic], v)
		for sub := range m.present(k.topic) {
			if v.known && !v.members[sub] {
				m.fail("%s is not in the list %v", sub, v.members)
			}
		}
		m.mu.Unlock()
	case "leave":
		m.mu.Lock()
		if all := m.references[k]; len(all) > 0 {
			i := s.index % len(all)
			all[i].Release()
			m.references[k], m.left[k] = slices.Delete(all, i, i+1), time.Now()
		}
		m.mu.Unlock()
	}
}

// settle waits until every change is reported, and checks that the reports are right.
func (m *model) settle() {
	wait(2*gracePeriod + 2*time.Second + 20*m.slow)
	m.mu.Lock()
	defer m.mu.Unlock()
	for topic, ever := range m.ever {
		want := m.present(topic)
		members, count := m.List(topic, 100)
		if got := set(members); !maps.Equal(got, want) || count != len(want) {
			m.fail("List(%q) = %v, %d; want %v", topic, got, count, want)
		}
		for i, v := range append(m.joiners[topic], ever) {
			if v.known && !maps.Equal(v.members, want) {
				m.fail("%q: %d of %d knows %v, want %v", topic, i, len(m.joiners[topic]), v.members, want)
			}
			if !v.known && len(want) <= m.most*4/5 {
				m.fail("%q: %d of %d does not know that there are %v", topic, i, len(m.joiners[topic]), want)
			}
		}
	}
}

// For any joins and leaves at any time: joins and leaves alternate, a member that returns
// in time is never reported as left, and in the end every listener knows the members,
// whenever it began.
func TestRegistryAgainstModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		most := rapid.IntRange(1, 8).Draw(rt, "most")
		gather := rapid.SampledFrom([]time.Duration{0, time.Millisecond, time.Hour}).Draw(rt, "gather") // an hour means the grace period
		slow := rapid.SampledFrom([]time.Duration{0, 0, 20 * time.Millisecond, 3 * time.Second, 25 * time.Second}).Draw(rt, "slow")
		script := rapid.SliceOfN(steps, 50, 150).Draw(rt, "script")
		var errs []error
		synctest.Test(t, func(t *testing.T) {
			m := &model{
				most: most, slow: slow,
				references: make(map[key][]place), left: make(map[key]time.Time), counted: make(map[pubsub.Topic]time.Time),
				ever:    map[pubsub.Topic]*view{"a": {make(map[string]bool), true}, "b": {make(map[string]bool), true}},
				joiners: make(map[pubsub.Topic][]*view),
			}
			m.rig = run(t, presence.Config{BatchDelay: gather, MaxMembers: most, Emit: m.tell})
			for i, s := range script {
				if m.do(s); i == len(script)/2 {
					m.settle()
				}
			}
			m.settle()
			for k := range m.references {
				for len(m.references[k]) > 0 {
					m.do(step{verb: "leave", key: k})
				}
			}
			m.settle()
			if got := m.Stats(); got.Topics+got.Members+got.References != 0 {
				m.fail("Stats = %+v when all have left", got)
			}
			errs = m.errs
		})
		if len(errs) > 0 {
			rt.Fatal(errors.Join(errs...))
		}
	})
}
