package fakestore

import (
	"time"

	"github.com/ikornaselur/notiflux/internal/broker/remote"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// shardTime is how long the store has [remote.Shard] after the last request for it.
const shardTime = 10 * time.Second

// shardPage is how many messages of it a node gets at once.
const shardPage = 7

// keepShardLocked makes the store put the messages of all topics into remote.Shard from now on. If
// it has not done so, the head of the shard is beyond what it lacks.
func (s *Store) keepShardLocked() {
	if s.ordered != s.last {
		s.topicLocked(remote.Shard).head, s.ordered = s.last, s.last
	}
	s.until = time.Now().Add(shardTime)
}

// orderInShardLocked puts a message that was just ordered into remote.Shard, unless nobody has
// asked for it for long. If the store loses the message, the shard does.
func (s *Store) orderInShardLocked(m pubsub.Message, lost bool) {
	if time.Now().After(s.until) {
		return
	}
	t := s.topicLocked(remote.Shard)
	if s.ordered != s.last-1 {
		t.head = s.last - 1
	}
	before := t.head
	t.head, s.ordered = s.last, s.last
	if lost {
		t.drop(len(t.messages))
		return
	}
	t.messages, t.before = append(t.messages, m), append(t.before, before)
	t.bytes += size(m)
	s.trimLocked(remote.Shard, t, m.Time)
	for _, n := range t.nodes {
		n.Post(func() { n.receive(remote.Push{Message: m, Before: before, OfShard: true}) })
	}
}
