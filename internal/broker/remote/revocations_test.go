package remote

import (
	"errors"
	"slices"
	"testing"

	"github.com/ikornaselur/notiflux/internal/broker"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// A slowStore answers when the test says so.
type slowStore struct {
	Store
	reads   []func(Revocations, error)
	after   []pubsub.Position // of the reads
	revokes []func(error)
}

func (s *slowStore) Revocations(after pubsub.Position, then func(Revocations, error)) {
	s.reads, s.after = append(s.reads, then), append(s.after, after)
}

func (s *slowStore) Revoke(_, _ []string, _ int, then func(error)) {
	s.revokes = append(s.revokes, then)
}

// What could not be stored again is stored with the next announcement, even if another read was
// under way when that failed.
func TestFailedRestoreDuringARead(t *testing.T) {
	s := new(slowStore)
	n := New(Config{Name: "node"})
	n.Use(s)
	n.Operate(broker.Operator{
		Most:  10,
		Learn: func([]string) []string { return nil },
		Known: func() []string { return []string{"r"} },
	})
	at := pubsub.Position{Epoch: "E", Offset: 1}
	n.Listening(n.Connecting())
	s.reads[0](Revocations{At: at, Whole: true}, nil) // The store lost r.
	n.RevokedAt(at)                                   // The node reads what was stored meanwhile.
	s.revokes[0](errors.New("out of memory"))
	s.reads[1](Revocations{At: at}, nil)
	n.RevokedAt(at)
	if want := []pubsub.Position{{}, at, {}}; !slices.Equal(s.after, want) {
		t.Fatalf("the node read what was after %v, want %v", s.after, want)
	}
	s.reads[2](Revocations{At: at, Whole: true}, nil)
	if len(s.revokes) != 2 {
		t.Errorf("the node tried %d times to store what the store had lost, want 2", len(s.revokes))
	}
}
