package redis_test

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/internal/broker/redis"
	"github.com/ikornaselur/notiflux/internal/broker/remote"
	"github.com/ikornaselur/notiflux/internal/internaltest/redistest"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/topic"
)

// teller is a node whose scripts a test runs one by one.
type teller struct {
	t *testing.T
	redis.ScriptsForTest
	calls uint64
}

func newTeller(t *testing.T, s *redistest.Server) *teller {
	n := &teller{t: t, ScriptsForTest: scripts(s, "notiflux:", 100)}
	t.Cleanup(n.Close)
	return n
}

func (n *teller) tell(changes ...remote.Change) {
	n.t.Helper()
	n.calls++
	if err := n.Tell(n.t.Context(), n.calls, changes...); err != nil {
		n.t.Fatal(err)
	}
}

// said returns what the nodes say about the topic t.
func (n *teller) said() remote.Statements {
	n.t.Helper()
	s, err := n.Statements(n.t.Context(), "t")
	if err != nil {
		n.t.Fatal(err)
	}
	return s
}

// member returns the change that n has a member in the topic t, until the end of its grace
// period.
func (n *teller) member(sub, info string, graceEnd time.Time) remote.Change {
	x := remote.Statement{Node: n.Name(), Sub: sub, GraceEnd: graceEnd}
	if info != "" {
		x.Info = []byte(info)
	}
	return remote.Change{Topic: "t", Statement: x}
}

// Statements come back as they were told, whatever the bytes of a subject.
func TestStatements(t *testing.T) {
	t.Parallel()
	n := newTeller(t, redistest.Start(t))
	end := time.Now().Add(10 * time.Second)
	subs := []string{"", "ann", "a b", "s", "m", "v", "\x00\xff", "0 1", "é"}
	for i, sub := range subs {
		info := []string{"", `{"a": 1}`, " "}[i%3]
		n.tell(n.member(sub, info, time.Time{}))
		n.tell(n.member(sub+"!", info, end))
	}
	n.tell(remote.Change{Topic: "t", Statement: remote.Statement{Node: n.Name(), Counts: true, Count: 7}})
	s := n.said()
	if len(s.All) != 2*len(subs)+1 {
		t.Fatalf("%d statements: %+v", len(s.All), s.All)
	}
	for i, sub := range subs {
		info := []string{"", `{"a": 1}`, " "}[i%3]
		for _, want := range []remote.Change{n.member(sub, info, time.Time{}), n.member(sub+"!", info, end)} {
			if !slices.ContainsFunc(s.All, func(x remote.Statement) bool {
				w := want.Statement
				return !x.Counts && x.Node == w.Node && x.Sub == w.Sub && bytes.Equal(x.Info, w.Info) && x.GraceEnd.IsZero() == w.GraceEnd.IsZero() && x.GraceEnd.Sub(w.GraceEnd).Abs() < time.Second
			}) {
				t.Errorf("%+v is missing in %+v", want.Statement, s.All)
			}
		}
	}
	if !slices.ContainsFunc(s.All, func(x remote.Statement) bool { return x.Counts && x.Count == 7 }) {
		t.Errorf("the count is missing in %+v", s.All)
	}
}

// A call that was under way for long does not undo a later one.
func TestLateTellIsIgnored(t *testing.T) {
	t.Parallel()
	n := newTeller(t, redistest.Start(t))
	joined, gone := n.member("m", "", time.Time{}), n.member("m", "", time.Now().Add(time.Second))
	n.tell(joined)
	n.tell(gone)
	before := n.said()
	for _, number := range []uint64{1, 2} {
		if err := n.Tell(t.Context(), number, joined); err != nil {
			t.Fatal(err)
		}
	}
	if s := n.said(); len(s.All) != 1 || s.All[0].GraceEnd.IsZero() || s.Head != before.Head {
		t.Errorf("after a late call: %+v, before %+v", s, before)
	}
	gone.Forget = true
	n.tell(gone)
	if s := n.said(); len(s.All) != 0 {
		t.Errorf("after the last member was forgotten: %+v", s.All)
	}
}

// A node may forget what another one said only once the lease of that one has ended.
func TestForgetNeedsAnEndedLease(t *testing.T) {
	t.Parallel()
	r := redistest.Start(t)
	a, b := newTeller(t, r), newTeller(t, r)
	if _, ended, err := a.Renew(t.Context(), time.Hour); err != nil || !ended {
		t.Fatalf("the first lease: ended %t, %v", ended, err)
	}
	a.tell(a.member("m", "", time.Time{}))
	forget := a.member("m", "", time.Time{})
	forget.Forget = true
	b.tell(forget)
	if s := b.said(); len(s.All) != 1 || s.Leases[a.Name()].Before(time.Now()) {
		t.Fatalf("while the lease lasts: %+v", s)
	}
	if _, ended, err := a.Renew(t.Context(), time.Microsecond); err != nil || ended {
		t.Fatalf("the second lease: ended %t, %v", ended, err)
	}
	<-time.After(time.Millisecond)
	b.tell(forget)
	if s := b.said(); len(s.All) != 0 {
		t.Errorf("after the lease: %+v", s)
	}
}

// Those who watch a topic notice that Redis has lost what the nodes said about it.
func TestLostStatementsAreNoticed(t *testing.T) {
	t.Parallel()
	r := redistest.Start(t)
	n := newTeller(t, r)
	n.tell(n.member("m", "", time.Time{}))
	head := n.said().Head
	r.Client("EVAL", `return redis.call('DEL', 'notiflux:{0}:p:t\0' .. redis.call('HGET', 'notiflux:{0}:m', 'epoch'))`, "0")
	name := topic.PresenceTopic("t")
	versions, err := n.Versions(t.Context(), []pubsub.Topic{name})
	if err != nil || versions[name].Epoch != head.Epoch || versions[name].Offset <= head.Offset {
		t.Errorf("the version is %v, %v, after %v", versions[name], err, head)
	}
}

// tell makes a node say that the topic t has a member, and that the node has two subscriptions.
// It returns a function that runs a command on the hash of that topic.
func tell(t *testing.T, server *redistest.Server, s redis.ScriptsForTest) (onHash func(command string, args ...string) string) {
	t.Helper()
	err := s.Tell(t.Context(), 1,
		remote.Change{Topic: "t", Statement: remote.Statement{Node: s.Name(), Sub: "ann", Info: []byte("{}")}},
		remote.Change{Topic: "t", Statement: remote.Statement{Node: s.Name(), Counts: true, Count: 2}})
	if err != nil {
		t.Fatal(err)
	}
	_, epoch, err := s.Probe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return func(command string, args ...string) string {
		// The name of the hash has a zero byte, which an argument of redis-cli cannot have.
		script := `return redis.call(ARGV[1], KEYS[1] .. '\0' .. ARGV[2], unpack(ARGV, 3))`
		return strings.TrimSpace(server.Client(append([]string{"EVAL", script, "1", "notiflux:{0}:p:t", command, epoch}, args...)...))
	}
}

// A field that a node cannot read, because a later version or a person wrote it, hides none of
// the others.
func TestStrangeFieldsOfMembers(t *testing.T) {
	server := redistest.Start(t)
	s := scripts(server, "notiflux:", 10)
	defer s.Close()
	onHash := tell(t, server, s)
	other := strings.Repeat("A", len(s.Name()))
	for field, value := range map[string]string{
		"x": "y", other: "1", other + "q": "1", other + "s": "two", other + "mbob": "soon {}", other + "mcid": "0", "": "",
	} {
		onHash("HSET", field, value)
	}
	all, err := s.Statements(t.Context(), "t")
	if err != nil || len(all.All) != 2 {
		t.Errorf("Statements = %+v, %v, want those of the node", all.All, err)
	}
}

// What a node says is kept as long as the node follows the topic, even if nothing changes, and
// no node watches the members.
func TestStatementsAreKept(t *testing.T) {
	server := redistest.Start(t)
	s := scripts(server, "notiflux:", 10)
	defer s.Close()
	onHash := tell(t, server, s)
	for name, keep := range map[string]func() error{
		"a node that follows the topic": func() error {
			_, err := s.Heads(t.Context(), []pubsub.Topic{"t"})
			return err
		},
		"a node that watches the members": func() error {
			_, err := s.Versions(t.Context(), []pubsub.Topic{topic.PresenceTopic("t")})
			return err
		},
	} {
		onHash("EXPIRE", "60")
		if err := keep(); err != nil {
			t.Fatal(err)
		}
		seconds, err := strconv.Atoi(onHash("TTL"))
		if err != nil || seconds <= 60 {
			t.Errorf("%s: the hash is kept for %d s more, %v, want %v", name, seconds, err, redis.MembersTimeForTest)
		}
	}
}

// Redis has lost what the nodes say about a topic, and nothing has happened since. The nodes that
// watch the members notice.
func TestLostStatements(t *testing.T) {
	server := redistest.Start(t)
	s := scripts(server, "notiflux:", 10)
	defer s.Close()
	onHash := tell(t, server, s)
	name := topic.PresenceTopic("t")
	for _, lost := range []bool{false, true} {
		before, err := s.Statements(t.Context(), "t")
		if err != nil {
			t.Fatal(err)
		}
		if lost {
			onHash("DEL")
		}
		now, err := s.Versions(t.Context(), []pubsub.Topic{name})
		if err != nil || now[name].Epoch != before.Head.Epoch || now[name].Offset > before.Head.Offset != lost {
			t.Errorf("lost: %v: the head was %v and is %v, %v", lost, before.Head, now[name], err)
		}
	}
}
