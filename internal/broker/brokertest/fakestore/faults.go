package fakestore

import (
	"math"
	"slices"
	"time"

	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// NewEpoch makes the store act like one whose replica takes over. It begins a new epoch,
// may lose the last messages, and then assigns their offsets again. It forgets what
// the nodes said about members, and the last revocations.
func (s *Store) NewEpoch() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last -= min(s.last, s.random.Uint64N(3))
	s.epoch, s.began = s.newEpochLocked(), s.last
	s.ordered = math.MaxUint64 // The shard begins anew.
	for _, t := range s.topics {
		n := len(t.messages)
		for n > 0 && t.messages[n-1].Position.Offset > s.last {
			n--
			t.head = t.before[n]
			t.bytes -= size(t.messages[n])
		}
		t.messages, t.before = t.messages[:n], t.before[:n]
		t.head = min(t.head, s.last) // The store may no longer have its last message.
		t.said = nil
	}
	if n := len(s.revoked); n > 0 {
		s.revoked = s.revoked[:s.random.IntN(n)]
	}
	s.byTime = slices.DeleteFunc(s.byTime, func(id keyID) bool {
		lost := s.keys[id].position.Offset > s.last
		if lost {
			delete(s.keys, id)
		}
		return lost
	})
}

// Lose makes the store lose the next n messages of a topic. Each is ordered and its
// publisher gets a position, but no node can read it.
func (s *Store) Lose(name pubsub.Topic, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.topicLocked(name).losing = n
}

// Away cuts the connection to the store. Operations in flight fail; the store may have
// carried them out or not.
func (n *Node) Away() {
	n.setAway(true)
	n.Post(n.disconnect)
}

// Back connects to the store again.
func (n *Node) Back() {
	n.setAway(false)
	n.Post(n.connect)
}

func (n *Node) setAway(away bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.away = away
	if away {
		n.connection = n.Connecting()
	}
}

// awayTime is the maximum duration of an outage that a node simulates.
const awayTime = 3 * time.Second

// trouble causes a fault from time to time.
func (n *Node) trouble() {
	if n.shared.config.Trouble == 0 {
		return
	}
	n.After(time.Duration(n.random.Int64N(int64(2*n.shared.config.Trouble))), func() {
		switch names := n.topics(); n.random.IntN(4) {
		case 0:
			n.shared.NewEpoch()
		case 1:
			if len(names) > 0 {
				n.shared.Lose(names[n.random.IntN(len(names))], 1+n.random.IntN(3))
			}
		default:
			n.Away()
			n.After(time.Duration(n.random.Int64N(int64(awayTime))), n.Back)
		}
		n.trouble()
	})
}
