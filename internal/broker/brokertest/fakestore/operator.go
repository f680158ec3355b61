package fakestore

import (
	"slices"
	"time"

	"github.com/ikornaselur/notiflux/internal/broker/remote"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

const (
	// announceEvery is how often a node learns the position of the last revocation.
	announceEvery = time.Second
	// revocationsPage is how many revocations a part has at most.
	revocationsPage = 3
)

// A revocation is an entry of the list of revocations.
type revocation struct {
	at   uint64 // offset at which it was added
	text string
}

func (v view) Revoke(add, remove []string, most int, then func(error)) {
	var err error
	v.n.call(func() { err = v.n.shared.revoke(add, remove, most) }, func(lost error) {
		if lost != nil {
			err = lost
		}
		then(err)
	})
}

func (v view) Revocations(after pubsub.Position, then func(remote.Revocations, error)) {
	var part remote.Revocations
	v.n.call(func() { part = v.n.shared.revocations(after) }, func(err error) { then(part, err) })
}

func (v view) Ask(number uint64, request []byte, then func(int, error)) {
	receivers := 0
	v.n.call(func() { receivers = v.n.shared.ask(v.n.name, number, request) }, func(err error) { then(receivers, err) })
}

func (v view) Answer(asker string, number uint64, answer []byte) {
	v.n.call(func() { v.n.shared.answer(asker, number, answer) }, func(error) {})
}

// listen makes the node get requests over its present connection.
func (n *Node) listen() {
	n.mu.Lock()
	connection := n.connection
	n.mu.Unlock()
	n.command(func() { n.shared.listen(n) }, func(err error) {
		if err == nil {
			n.Listening(connection)
		}
	})
}

// announceLater announces the position of the last revocation at intervals.
func (n *Node) announceLater() {
	n.After(announceEvery, func() {
		var at pubsub.Position
		n.call(func() { at = n.shared.lastRevocation() }, func(err error) {
			if err == nil {
				n.RevokedAt(at)
			}
		})
		n.announceLater()
	})
}

// revoke adds and removes revocations.
func (s *Store) revoke(add, remove []string, most int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	find := func(text string) int {
		return slices.IndexFunc(s.revoked, func(r revocation) bool { return r.text == text })
	}
	count := len(s.revoked)
	for _, text := range remove {
		if find(text) >= 0 {
			count--
		}
	}
	add = slices.DeleteFunc(slices.Clone(add), func(text string) bool { return find(text) >= 0 })
	if len(add) > 0 && count+len(add) > most {
		return remote.ErrFull
	}
	s.revoked = slices.DeleteFunc(s.revoked, func(r revocation) bool { return slices.Contains(remove, r.text) })
	for _, text := range add {
		s.revokedAt++
		s.revoked = append(s.revoked, revocation{s.revokedAt, text})
	}
	return nil
}

// revocations returns a part of the revocations: those after a position of this epoch.
func (s *Store) revocations(after pubsub.Position) (part remote.Revocations) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if part.Whole = after.Epoch != s.epoch; part.Whole {
		after.Offset = 0
	}
	part.At = pubsub.Position{Epoch: s.epoch, Offset: s.revokedAt}
	for _, r := range s.revoked {
		switch {
		case r.at <= after.Offset:
		case len(part.Entries) == revocationsPage:
			part.More = true
			return part
		default:
			part.Entries = append(part.Entries, r.text)
			if len(part.Entries) == revocationsPage {
				part.At.Offset = r.at
			}
		}
	}
	part.At.Offset = s.revokedAt
	return part
}

// lastRevocation returns the position of the last addition.
func (s *Store) lastRevocation() pubsub.Position {
	s.mu.Lock()
	defer s.mu.Unlock()
	return pubsub.Position{Epoch: s.epoch, Offset: s.revokedAt}
}

func (s *Store) listen(n *Node) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Contains(s.listeners, n) {
		s.listeners = append(s.listeners, n)
	}
}

// ask pushes a request to all nodes that listen, and returns their number.
func (s *Store) ask(asker string, number uint64, request []byte) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.listeners {
		n.Post(func() { n.later(func() { n.Asked(asker, number, request) }) })
	}
	return len(s.listeners)
}

// answer pushes an answer to the node that asked.
func (s *Store) answer(asker string, number uint64, answer []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.listeners {
		if n.name == asker {
			n.Post(func() { n.later(func() { n.Answered(number, answer) }) })
		}
	}
}

// later calls do when a push arrives, unless it gets lost.
func (n *Node) later(do func()) {
	if n.down || n.random.IntN(20) == 0 {
		return
	}
	n.After(n.delay(), func() {
		if !n.down {
			do()
		}
	})
}
