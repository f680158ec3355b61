package presence_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ikornaselur/notiflux/internal/presence"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// told is an event and when it was emitted.
type told struct {
	presence.Event
	after time.Duration // since the start
}

// String returns a short form for tables: 100ms a +u1{} -u2 =3.
func (e told) String() string {
	var b strings.Builder
	fmt.Fprint(&b, e.after, " ", e.Topic)
	for _, m := range e.Joined {
		fmt.Fprintf(&b, " +%s%s", m.Sub, m.Info)
	}
	for _, m := range e.Left {
		fmt.Fprintf(&b, " -%s%s", m.Sub, m.Info)
	}
	switch e.Kind {
	case presence.CountOnly:
		fmt.Fprintf(&b, " =%d", e.Count)
	case presence.Snapshot:
		fmt.Fprintf(&b, " =%d %s", e.Count, subs(e.Members))
	}
	return b.String()
}

func subs(members []pubsub.Member) []string {
	all := make([]string, len(members))
	for i, m := range members {
		all[i] = m.Sub + string(m.Info)
	}
	return all
}

// rig is a running registry and the events that it emitted.
type rig struct {
	*presence.Registry
	start  time.Time
	mu     sync.Mutex
	events []told
}

// run starts a registry; call it in a bubble. It ends with the test.
func run(t *testing.T, c presence.Config) *rig {
	r := &rig{start: time.Now()}
	then := c.Emit
	c.Emit = func(e presence.Event) {
		r.mu.Lock()
		r.events = append(r.events, told{e, time.Since(r.start)})
		r.mu.Unlock()
		if then != nil {
			then(e)
		}
	}
	r.Registry = presence.New(c)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
	})
	return r
}

func (r *rig) joins(topic pubsub.Topic, sub, info string) *presence.Reference {
	return r.Join(topic, pubsub.Member{Sub: sub, Info: []byte(info)})
}

// wait lets this much time of a bubble pass, and then waits for the goroutines.
func wait(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// want compares the events since the previous call.
func (r *rig) want(t *testing.T, events ...string) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if got, want := fmt.Sprint(r.events), fmt.Sprint(events); got != want {
		t.Errorf("got\n%s, want\n%s", got, want)
	}
	r.events = nil
}

func (r *rig) wantList(t *testing.T, topic pubsub.Topic, members ...string) {
	t.Helper()
	got, count := r.List(topic, 1000)
	if fmt.Sprint(subs(got)) != fmt.Sprint(members) || count != len(members) {
		t.Errorf("List(%q) = %v, %d; want %v", topic, subs(got), count, members)
	}
}

func TestAMemberIsReportedOnceHoweverManyReferences(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := run(t, presence.Config{})
		wait(time.Hour) // idle
		first := r.joins("a", "u1", "")
		wait(30 * time.Millisecond)
		r.joins("a", "u2", "{}")
		r.joins("b", "u2", "")
		second := r.joins("a", "u1", "")
		r.wantList(t, "a", "u1", "u2{}") // before it is reported
		wait(time.Second)
		r.want(t, "1h0m0.1s a +u1 +u2{}", "1h0m0.13s b +u2")

		first.Release()
		first.Release()
		wait(time.Minute)
		r.want(t)
		second.Release()
		wait(10*time.Second - 50*time.Millisecond)
		r.joins("b", "u3", "") // Both wait for their time, which differs.
		wait(time.Second)
		r.want(t, "1h1m11.08s b +u3", "1h1m11.13s a -u1")
		r.wantList(t, "a", "u2{}")
	})
}

func TestAMemberThatReturnsInTheGracePeriodDidNotLeave(t *testing.T) {
	for _, test := range []struct {
		away time.Duration
		want []string
	}{
		{0, nil},
		{10*time.Second - 1, nil},
		{10*time.Second + 99*time.Millisecond, nil}, // gone, but not reported yet
		{10*time.Second + 101*time.Millisecond, []string{"11.1s a -u1", "11.201s a +u1"}},
	} {
		t.Run(test.away.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := run(t, presence.Config{})
				reference := r.joins("a", "u1", "")
				wait(time.Second)
				r.want(t, "100ms a +u1")
				reference.Release()
				wait(test.away)
				r.joins("a", "u1", "")
				r.wantList(t, "a", "u1")
				wait(time.Minute)
				r.want(t, test.want...)
			})
		})
	}
}

func TestInfoIsThatOfTheNewestReference(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := run(t, presence.Config{})
		one, two, three := r.joins("a", "u", "1"), r.joins("a", "u", "2"), r.joins("a", "u", "3")
		r.wantList(t, "a", "u3")
		two.Release()
		r.wantList(t, "a", "u3")
		three.Release()
		r.wantList(t, "a", "u1")
		wait(time.Second)
		r.want(t, "100ms a +u1")
		four := r.joins("a", "u", "4")
		one.Release()
		four.Release()
		r.wantList(t, "a", "u4") // which is in its grace period
	})
}

func TestManyMembersAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := run(t, presence.Config{MaxMembers: 5})
		var references []*presence.Reference
		join := func(n int) {
			for range n {
				references = append(references, r.joins("a", fmt.Sprint("u", len(references)), ""))
			}
		}
		join(5)
		wait(500 * time.Millisecond)
		r.want(t, "100ms a +u0 +u1 +u2 +u3 +u4")
		join(1)
		wait(200 * time.Millisecond)
		r.want(t, "600ms a =6")
		join(1) // at most once a second
		wait(500 * time.Millisecond)
		join(1)
		wait(time.Second)
		r.want(t, "1.6s a =8")
		references[0].Release()
		wait(2 * time.Second)
		join(1)
		wait(9 * time.Second) // One joined, then one left.
		r.want(t, "4.3s a =9", "12.3s a =8")
		for _, s := range references[1:4] {
			s.Release()
		}
		wait(11 * time.Second)
		r.want(t, "23.3s a =5") // more than 80 %
		references[8].Release()
		wait(11 * time.Second)
		r.want(t, "34.3s a =4 [u4 u5 u6 u7]")
		references[4].Release()
		join(1)
		wait(11 * time.Second)
		r.want(t, "35.3s a +u9", "45.3s a -u4")
	})
}

// A member was at another node, then at this one. It leaves when its last grace period has
// ended, in whatever order the node learns of them, and even if a node says a time far ahead.
func TestGracePeriodsOfTwoNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := run(t, presence.Config{})
		r.JoinOther("a", pubsub.Member{Sub: "u1"}, true).ReleaseUntil(time.Now().Add(9 * time.Second))
		r.JoinOther("a", pubsub.Member{Sub: "u1"}, true).ReleaseUntil(time.Now().Add(2 * time.Second))
		r.JoinOther("a", pubsub.Member{Sub: "u2"}, true).ReleaseUntil(time.Now().Add(time.Hour))
		r.JoinOther("a", pubsub.Member{Sub: "u3"}, true).ReleaseUntil(time.Now().Add(2 * time.Second))
		wait(time.Minute)
		r.want(t, "2.1s a -u3", "9.1s a -u1", "10.1s a -u2")
	})
}

// A truncated list is followed by a whole one even if the topic never had too many members
// when an event was emitted.
func TestTruncatedListIsFollowedByASnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := run(t, presence.Config{MaxMembers: 3})
		r.joins("a", "u1", "").Release()
		r.joins("a", "u2", "")
		r.joins("a", "u3", "")
		wait(10*time.Second + 50*time.Millisecond)
		r.joins("a", "u4", "") // u1 is gone.
		if got, count := r.List("nobody's", 3); got == nil || count != 0 {
			t.Errorf("List of an empty topic = %#v, %d; want an empty one that is not nil", got, count)
		}
		if got, count := r.List("a", 3); len(got) != 3 || count != 4 {
			t.Errorf("List = %v, %d; want three of 4", subs(got), count)
		}
		wait(time.Second)
		r.want(t, "100ms a +u1 +u2 +u3", "10.1s a =3 [u2 u3 u4]")
	})
}

func TestNothingWaitsForEmit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := run(t, presence.Config{Emit: func(presence.Event) { time.Sleep(time.Minute) }})
		r.joins("a", "u1", "")
		wait(time.Second)
		before := time.Now()
		r.joins("a", "u2", "").Release()
		r.joins("b", "u1", "")
		r.wantList(t, "a", "u1", "u2")
		if d := time.Since(before); d != 0 {
			t.Errorf("waited %v for Emit", d)
		}
		wait(5 * time.Minute)
		r.want(t, "100ms a +u1", "1m0.1s a +u2", "2m0.1s b +u1", "3m0.2s a -u2")
	})
}

func TestTopicsWithoutMembersAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := run(t, presence.Config{MaxMembers: 2})
		var references []*presence.Reference
		for i := range 100 {
			topic := pubsub.Topic(fmt.Sprint("topic", i%10))
			references = append(references, r.joins(topic, fmt.Sprint("u", i%(i/10+1)), ""), r.joins(topic, "u", ""))
		}
		if got, want := r.Stats(), (presence.Stats{Topics: 10, Members: 75, References: 200}); got != want {
			t.Errorf("Stats = %+v, want %+v", got, want)
		}
		wait(time.Second)
		for _, s := range references {
			s.Release()
		}
		if got := r.Stats(); got.Members != 75 || got.References != 0 {
			t.Errorf("Stats = %+v while all are in their grace period", got)
		}
		wait(time.Minute)
		if got := r.Stats(); got.Topics+got.Members+got.References != 0 || got.Events != 20 {
			t.Errorf("Stats = %+v, want 20 events and nothing else", got)
		}
		r.wantList(t, "topic1")
	})
}

// A topic that once had many members takes no more memory than one that always had few.
func TestFewMembersNeedLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := run(t, presence.Config{})
		heap := func() int {
			var m runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&m)
			return int(m.HeapAlloc)
		}
		r.joins("a", "u", "")
		before := heap()
		for i := range 100_000 {
			r.joins("a", fmt.Sprint("u", i), "").Release()
		}
		wait(time.Minute)
		if got := heap() - before; got > 1<<20 {
			t.Errorf("%d bytes are held without members", got)
		}
		r.wantList(t, "a", "u")
	})
}

// However many members join and leave, at once or one by one: up to MaxMembers, each is
// reported once. Beyond that, there is one number per second. On the way back there is one
// list of four fifths of them, and each of those is reported once more.
func TestAStormEmitsFewEvents(t *testing.T) {
	const members, most, few = 10_000, 1000, 800
	for _, test := range []struct {
		name         string
		every        time.Duration // between two of them
		joins, leave int           // maximum number of events: ten per second until 1,000 are present, then one per second
	}{
		{"at once", 0, 1, 1},
		{"within a second", 100 * time.Microsecond, 1 + 2, 3},
		{"within 10 s", time.Millisecond, 10 + 11, 11 + 8 + 1},
		{"within 100 s", 10 * time.Millisecond, 100 + 101, 101 + 80 + 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := run(t, presence.Config{})
				check := func(phase string, events, names int) {
					t.Helper()
					wait(time.Minute)
					n := 0
					for _, e := range r.events {
						n += len(e.Joined) + len(e.Left) + len(e.Members)
					}
					if len(r.events) == 0 || len(r.events) > events || n > names {
						t.Errorf("%s: %d events with %d members, want at most %d with %d", phase, len(r.events), n, events, names)
					}
					t.Logf("%s: %d events with %d members", phase, len(r.events), n)
					r.events = nil
				}
				references := make([]*presence.Reference, members)
				for i := range references {
					references[i] = r.joins("a", fmt.Sprint("u", i), "")
					time.Sleep(test.every)
				}
				check("joining", test.joins, most)
				for i := range references {
					references[i].Release()
					time.Sleep(test.every)
				}
				check("leaving", test.leave, 2*few)
				if got := r.Stats(); got.Topics+got.Members+got.References != 0 {
					t.Errorf("Stats = %+v, want nothing", got)
				}
			})
		})
	}
}

// For the race detector: the events match the members, however joins, leaves, lists and
// events interleave.
func TestConcurrentUse(t *testing.T) {
	empty := make(chan bool, 1)
	members := make(map[string]bool) // owned by Run
	r := presence.New(presence.Config{GracePeriod: time.Millisecond, BatchDelay: 10 * time.Microsecond, MaxMembers: 4, Emit: func(e presence.Event) {
		if e.Kind == presence.Snapshot {
			clear(members)
		}
		for _, m := range append(e.Members, e.Joined...) {
			if members[m.Sub] {
				t.Errorf("%s joined, but was present", m.Sub)
			}
			members[m.Sub] = true
		}
		for _, m := range e.Left {
			if !members[m.Sub] {
				t.Errorf("%s left, but was not present", m.Sub)
			}
			delete(members, m.Sub)
		}
		if e.Count == 0 {
			select {
			case empty <- true:
			default:
			}
		}
	}})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var running, working sync.WaitGroup
	running.Go(func() {
		if err := r.Run(ctx); err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
	})
	for g := range 4 {
		working.Go(func() {
			for i := range 2000 {
				s := r.Join("a", pubsub.Member{Sub: fmt.Sprint("u", (g+i/100)%7)})
				if members, count := r.List("a", 100); len(members) != count || count == 0 {
					t.Errorf("List = %v, %d", members, count)
				}
				working.Go(s.Release)
				s.Release()
			}
		})
	}
	working.Wait()
	for r.Stats().Topics > 0 {
		<-empty
	}
	cancel()
	running.Wait()
	if got := r.Stats(); got.Topics+got.Members+got.References != 0 || len(members) != 0 {
		t.Errorf("Stats = %+v, and %v are reported as present, want no member", got, members)
	}
}
