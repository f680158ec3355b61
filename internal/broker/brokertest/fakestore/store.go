package fakestore

import (
	"bytes"
	"cmp"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/ikornaselur/notiflux/internal/broker"
	"github.com/ikornaselur/notiflux/internal/broker/remote"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/topic"
)

// Config configures [New]. The zero value works.
type Config struct {
	// Seed is the source of all randomness.
	Seed uint64

	// Delay is the maximum transit time of a request, an answer or a push. Most take at
	// most a tenth of it. 0: 500 ms.
	Delay time.Duration

	// Check is the interval at which a node compares the heads of its topics with those of
	// the store. This detects a lost push that no other push follows. 0: 1 s.
	Check time.Duration

	// Trouble is the mean time between two faults that a node causes on its own: the store
	// goes away for a while, loses messages, or begins a new epoch. 0: no faults.
	Trouble time.Duration

	// These limit what the store keeps of a topic. 0: 1,000 messages, of any size and age.
	MaxMessages int
	MaxBytes    uint64 // including topic.Overhead per message
	MaxAge      time.Duration

	// Limits, unless it is nil, returns the limits of a topic if they differ, else nil.
	Limits func(pubsub.Topic) *topic.Limits

	// MaxInFlight limits the publications of a node that have no outcome yet, in bytes. 0:
	// 64 MiB.
	MaxInFlight int

	// Now returns the time of a message. Nil: time.Now.
	Now func() time.Time
}

// keyTime is how long a key is remembered after its message was ordered.
const keyTime = 2 * time.Minute

// A Store orders messages, stores the newest ones of each topic, and pushes each message to
// the nodes that subscribe to its topic. It represents the server that the nodes of a real
// broker connect to. Safe for concurrent use.
type Store struct {
	config Config // immutable

	mu sync.Mutex
	// Guarded by mu.
	random  *rand.Rand
	nodes   uint64 // number of nodes so far
	epoch   string
	began   uint64 // last offset assigned when the epoch began
	last    uint64 // last offset assigned, over all topics
	topics  map[pubsub.Topic]*stored
	ordered uint64    // last offset up to which remote.Shard has everything that follows its head
	until   time.Time // when it ends
	keys    map[keyID]keyed
	byTime  []keyID // all keys, oldest first
	leases  remote.Leases

	revoked   []revocation // in order
	revokedAt uint64       // number of revocations added so far: their offsets
	listeners []*Node      // that get requests
}

// A stored is the Store's state of one topic.
type stored struct {
	head     uint64             // offset of the last message, stored or not
	messages []pubsub.Message   // stored messages, oldest first
	before   []uint64           // head before each of them
	bytes    uint64             // size of the messages
	losing   int                // number of future messages to lose
	nodes    []*Node            // that subscribe
	said     []remote.Statement // of a presence topic: what the nodes say about its topic
}

// A keyID identifies a message that was published with a key.
type keyID struct {
	topic pubsub.Topic
	key   string
}

// keyed is the first publication with a key.
type keyed struct {
	body     pubsub.Body
	position pubsub.Position
	time     time.Time
}

// New returns an empty Store.
func New(c Config) *Store {
	c.Delay = cmp.Or(c.Delay, 500*time.Millisecond)
	c.Check = cmp.Or(c.Check, time.Second)
	c.MaxMessages = cmp.Or(c.MaxMessages, 1000)
	c.MaxInFlight = cmp.Or(c.MaxInFlight, 64<<20)
	if c.Now == nil {
		c.Now = time.Now
	}
	s := &Store{
		config: c,
		random: rand.New(rand.NewPCG(c.Seed, 0)),
		topics: make(map[pubsub.Topic]*stored),
		keys:   make(map[keyID]keyed),
		leases: make(remote.Leases),
	}
	s.epoch = s.newEpochLocked()
	return s
}

// newEpochLocked returns an epoch that looks like one of the memory broker.
func (s *Store) newEpochLocked() string {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
	var epoch [12]byte
	for i := range epoch {
		epoch[i] = letters[s.random.IntN(len(letters))]
	}
	return string(epoch[:])
}

// Late returns the maximum time from the publisher's answer until the message is in the log
// of each node that follows the topic, even if the push was lost.
func (s *Store) Late() time.Duration { return 2*s.config.Check + 12*s.config.Delay }

// topicLocked returns the state of a topic. The store never forgets topics, so an unknown
// one has had no message.
func (s *Store) topicLocked(name pubsub.Topic) *stored {
	t := s.topics[name]
	if t == nil {
		t = new(stored)
		s.topics[name] = t
	}
	return t
}

// publish orders ps, in slice order, sets the position or the error of each, and pushes the
// new messages.
func (s *Store) publish(ps []pubsub.Publication) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.config.Now().Round(0) // another machine's clock
	s.forgetKeysLocked(now)
	for i := range ps {
		p := &ps[i]
		if p.Err != nil {
			continue
		}
		id := keyID{p.Topic, p.Key}
		if first, ok := s.keys[id]; ok {
			p.Position = first.position
			if first.body.JSON != p.Body.JSON || !bytes.Equal(first.body.Data, p.Body.Data) {
				p.Position, p.Err = pubsub.Position{}, broker.ErrKeyReused
			}
			continue
		}
		p.Position = s.orderLocked(p, now)
		if p.Key != "" {
			s.keys[id] = keyed{p.Body, p.Position, now}
			s.byTime = append(s.byTime, id)
		}
	}
}

// orderLocked orders, stores and pushes a message. It returns its position.
func (s *Store) orderLocked(p *pubsub.Publication, now time.Time) pubsub.Position {
	t := s.topicLocked(p.Topic)
	before := t.head
	s.last++
	t.head = s.last
	m := pubsub.Message{
		Topic:    p.Topic,
		Position: pubsub.Position{Epoch: s.epoch, Offset: t.head},
		Time:     now,
		Body:     p.Body,
		Exclude:  p.Exclude,
	}
	lost := t.losing > 0
	s.orderInShardLocked(m, lost)
	if lost {
		t.losing--
		t.drop(len(t.messages)) // They would hide the loss.
		return m.Position
	}
	t.messages, t.before = append(t.messages, m), append(t.before, before)
	t.bytes += size(m)
	s.trimLocked(p.Topic, t, now)
	for _, n := range t.nodes {
		n.Post(func() { n.receive(remote.Push{Message: m, Before: before}) })
	}
	return m.Position
}

// trimLocked drops the messages beyond the limits on count, bytes and age.
func (s *Store) trimLocked(name pubsub.Topic, t *stored, now time.Time) {
	c := topic.Limits{Count: s.config.MaxMessages, Bytes: s.config.MaxBytes, Age: s.config.MaxAge}
	if s.config.Limits != nil && name != remote.Shard {
		if l := s.config.Limits(name); l != nil {
			c = *l
		}
	}
	n := 0
	rest := t.bytes
	for ; n < len(t.messages); n++ {
		tooLarge := c.Bytes > 0 && rest > c.Bytes && n < len(t.messages)-1
		tooOld := c.Age > 0 && now.Sub(t.messages[n].Time) >= c.Age
		if len(t.messages)-n <= c.Count && !tooLarge && !tooOld && !c.Off {
			break
		}
		rest -= size(t.messages[n])
	}
	t.drop(n)
}

// drop drops the oldest n messages.
func (t *stored) drop(n int) {
	for _, m := range t.messages[:n] {
		t.bytes -= size(m)
	}
	t.messages, t.before = t.messages[n:], t.before[n:]
}

func size(m pubsub.Message) uint64 { return uint64(len(m.Body.Data)) + topic.Overhead }

func (s *Store) forgetKeysLocked(now time.Time) {
	for len(s.byTime) > 0 && now.Sub(s.keys[s.byTime[0]].time) >= keyTime {
		delete(s.keys, s.byTime[0])
		s.byTime = s.byTime[1:]
	}
}

// head returns the position at which the log of a topic begins: that of its last message,
// or where the epoch began, as in logs that already existed then.
func (s *Store) head(name pubsub.Topic) pubsub.Position {
	s.mu.Lock()
	defer s.mu.Unlock()
	if name == remote.Shard {
		s.keepShardLocked()
		return pubsub.Position{Epoch: s.epoch, Offset: s.last}
	}
	return pubsub.Position{Epoch: s.epoch, Offset: max(s.topicLocked(name).head, s.began)}
}

// read returns the messages of a topic in a range.
func (s *Store) read(name pubsub.Topic, r remote.Range) remote.Page {
	s.mu.Lock()
	defer s.mu.Unlock()
	if name == remote.Shard {
		s.keepShardLocked()
	}
	after := r.After.Offset
	switch {
	case r.After.Epoch == "":
		after = 0
	case r.After.Epoch != s.epoch && !r.Whole:
		after = s.began
	case r.After.Epoch != s.epoch, after > s.last:
		after = 0
	}
	p := s.readLocked(name, after, min(r.Until, s.last), r.Newest)
	if name == remote.Shard && r.Until == remote.Last && len(p.Messages) > shardPage {
		p.Messages = p.Messages[:shardPage]
		p.Last, p.More = p.Messages[shardPage-1].Position.Offset, true
	}
	return p
}

func (s *Store) readLocked(name pubsub.Topic, after, until uint64, newest int) remote.Page {
	t := s.topicLocked(name)
	s.trimLocked(name, t, s.config.Now().Round(0))
	first, end := 0, len(t.messages)
	for first < end && t.messages[first].Position.Offset <= after {
		first++
	}
	for end > first && t.messages[end-1].Position.Offset > until {
		end--
	}
	p := remote.Page{Epoch: s.epoch, Last: s.last}
	switch {
	case end-first > newest:
		first = end - newest
		p.From = t.head
		if first < len(t.before) {
			p.From = t.before[first]
		}
	case first < len(t.before):
		p.From = max(after, t.before[first])
	default:
		p.From = max(after, t.head)
	}
	for _, m := range t.messages[first:end] {
		m.Position.Epoch = s.epoch // A message stays readable in later epochs.
		p.Messages = append(p.Messages, m)
	}
	return p
}

// subscribe makes the store push the messages of a topic to n from now on.
func (s *Store) subscribe(n *Node, name pubsub.Topic) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.topicLocked(name).subscribe(n)
}

// unsubscribe undoes subscribe for one topic.
func (s *Store) unsubscribe(n *Node, name pubsub.Topic) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.topicLocked(name).unsubscribe(n)
}

// hangUp ends all subscriptions of n.
func (s *Store) hangUp(n *Node) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.topics {
		t.unsubscribe(n)
	}
	s.listeners = slices.DeleteFunc(s.listeners, func(other *Node) bool { return other == n })
}

func (t *stored) subscribe(n *Node) {
	t.unsubscribe(n)
	t.nodes = append(t.nodes, n)
}

func (t *stored) unsubscribe(n *Node) {
	t.nodes = slices.DeleteFunc(t.nodes, func(other *Node) bool { return other == n })
}

// behind returns those topics among heads whose log is behind the store.
func (s *Store) behind(heads map[pubsub.Topic]pubsub.Position) (names []pubsub.Topic) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := heads[remote.Shard]; ok {
		s.keepShardLocked()
	}
	for name, head := range heads {
		if head.Epoch != s.epoch || s.topicLocked(name).head > head.Offset {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
