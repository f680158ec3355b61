package fakestore

import (
	"maps"
	"slices"
	"time"

	"github.com/ikornaselur/notiflux/internal/broker/remote"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/topic"
)

// tell sets or removes statements for a node, and pushes the changes.
func (s *Store) tell(node string, changes []remote.Change) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range changes {
		name := topic.PresenceTopic(c.Topic)
		t := s.topicLocked(name)
		if c.Forget {
			if c.Statement.Node == node || !s.leases[c.Statement.Node].After(time.Now()) {
				t.forget(c.Statement)
			}
			continue
		}
		before := t.head
		if s.last++; s.ordered == s.last-1 {
			s.ordered = s.last // This is no message.
		}
		t.head = s.last
		t.forget(c.Statement)
		if !c.Statement.Counts || c.Statement.Count > 0 {
			t.said = append(t.said, c.Statement)
		}
		p := remote.Push{
			Message:   pubsub.Message{Topic: name, Position: pubsub.Position{Epoch: s.epoch, Offset: t.head}},
			Before:    before,
			Statement: c.Statement,
		}
		for _, n := range t.nodes {
			n.Post(func() { n.receive(p) })
		}
	}
}

// forget removes the statement that is about the same as x.
func (t *stored) forget(x remote.Statement) {
	t.said = slices.DeleteFunc(t.said, func(y remote.Statement) bool { return isSame(x, y) })
}

func isSame(x, y remote.Statement) bool {
	return x.Node == y.Node && x.Counts == y.Counts && x.Sub == y.Sub
}

// Statements returns what the nodes say about a topic.
func (s *Store) Statements(name pubsub.Topic) remote.Statements {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.topicLocked(topic.PresenceTopic(name))
	return remote.Statements{
		Head:   pubsub.Position{Epoch: s.epoch, Offset: t.head},
		All:    slices.Clone(t.said),
		Leases: maps.Clone(s.leases),
	}
}

// renew renews the lease of a node.
func (s *Store) renew(node string, d time.Duration) (leases remote.Leases, ended bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	ended = !s.leases[node].After(now)
	s.leases[node] = now.Add(d)
	return maps.Clone(s.leases), ended
}
