// Package redis is a broker whose messages are ordered and stored in Redis or Valkey, so that
// several nodes act as one server. Package remote has the node's side; this package is its
// store.
//
// Every operation that must be atomic is a Lua script (*.lua): publishing, reading heads,
// reading messages, and keeping what the nodes say about their members (presence). Each
// script begins with prelude.lua, which compares the replication id of Redis with the id
// that is stored for the epoch. If they differ, Redis was restarted or a replica was
// promoted, and messages may be lost. Then the script begins a new epoch, and clients learn
// that they may have missed messages.
//
// A message passes through the package in three steps. A goroutine that only publishes runs
// publish.lua, which assigns an offset, appends the message to the stream of its topic, and
// publishes it to the channel of the topic (publish.go). In each node that subscribes to
// the channel, the pub/sub connection puts the message into an inbox (pubsub.go), from
// which the node takes it. A node reads the messages that it missed from the stream
// (read.go).
//
// Keys, with the prefix of Config and then the tag {0}, so that all are in one slot:
//
//	m               hash with epoch, replid, last (the last offset assigned), and began (the value
//	                of last when the epoch began). Once a node has had patterns: until (when the
//	                messages of all topics are no longer put into one stream), announced (the value
//	                of last up to which that was done), bytes and half (how long the second half of
//	                that stream is, and where it begins)
//	h:TOPIC         head: offset of the last message, kept for a day
//	t:TOPIC         stream of messages: id OFFSET-0; p: offset of the message before it,
//	                x: excluded connection, d: body ("s" for a string or "j" for other JSON,
//	                followed by the data)
//	h:\x01*, t:\x01*  the same for the messages of all topics, while nodes have patterns; t: the topic
//	k:TOPIC NUL KEY idempotency key: position and digest of its message, kept for two minutes
//	p:TOPIC NUL EPOCH  hash of what the nodes say about a topic in an epoch, kept for an hour:
//	                v: offset of the last change, NODE"s": number of subscriptions,
//	                NODE"m"SUB: a member; the value is the end of its grace period (0 while
//	                it is connected), a space, and its info
//	n               sorted set of the nodes: when their leases end
//	w               hash with a field for each node: the sequence number of its last call of
//	                tell.lua
//	r               sorted set of the revocations of tokens, by the order in which they were
//	                added; "": when the last one was
//
// All databases of a Redis share their channels, so the name of a channel contains the number
// of the database. c:DATABASE:TOPIC carries the messages of a topic, or the changes of a
// presence topic, and c:DATABASE:\x01* the messages of all topics. probe:DATABASE:NODE carries
// probes, which a node sends to itself to check that its pub/sub connection works. ask:DATABASE
// carries requests of operators to all nodes, and answer:DATABASE:NODE the answers.
//
// Invariants:
//   - An offset is larger than all offsets before it, and not below the time of Redis in
//     microseconds since 2025. So no offset is assigned twice in an epoch, even if Redis has
//     forgotten the last ones.
//   - Every message names the offset of the one before it, so a missing one is noticed.
//   - A script writes nothing before its last check.
//   - The callback of a pub/sub connection never blocks. What does not fit into the inbox is
//     read later.
package redis

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ikornaselur/notiflux/internal/broker"
	"github.com/ikornaselur/notiflux/internal/broker/remote"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/topic"
	"github.com/ikornaselur/notiflux/internal/worker"
)

// Config configures [New].
type Config struct {
	Sink    broker.Sink
	Options Options
	Prefix  string // of all keys and channels

	// What Redis keeps of a topic. 0: 100 messages, for 5 minutes.
	Messages int
	Age      time.Duration

	// Limits, unless it is nil, returns what Redis keeps of a topic if that differs, else nil.
	// Redis does not limit bytes. All nodes must agree.
	Limits func(pubsub.Topic) *topic.Limits

	Check       time.Duration // as in remote.Config
	Probe       time.Duration // interval between two probes; 0: 1 s. After three, Redis counts as away.
	MaxInFlight int           // as in remote.Config
	Log         *slog.Logger  // nil: none

	name       string // of the node; set by New
	shardBytes int    // of the stream of all topics; 0: defaultShardBytes
}

const (
	defaultMessages = 100
	defaultAge      = 5 * time.Minute

	// keyTime is how long a key is known.
	keyTime = 2 * time.Minute
	// headTime is how long a head is known. It is refreshed for topics that are followed.
	headTime     = 24 * time.Hour
	defaultProbe = time.Second

	// defaultShardBytes is how long the stream of all topics is, names and 200 bytes for each message
	// included.
	defaultShardBytes = 16 << 20
	// announceTime is how long messages are put into it after the last node has asked for it. A node
	// that is cut off for that long still reads all of them, unless they are more than it holds.
	announceTime = 10 * time.Minute

	maxMissed = 3
	// retries is how often a node tries to connect in the time of a probe.
	retries = 4
)

// A Broker is the broker of one node. Create it with [New].
type Broker struct {
	*remote.Node
	store *store
}

var _ broker.Shared = (*Broker)(nil)

// New returns a broker. It does no I/O.
func New(c Config) *Broker {
	c.Messages = cmp.Or(c.Messages, defaultMessages)
	c.Age = cmp.Or(c.Age, defaultAge)
	c.Probe = cmp.Or(c.Probe, defaultProbe)
	c.shardBytes = cmp.Or(c.shardBytes, defaultShardBytes)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	c.name = rand.Text()[:nameLength]
	n := remote.New(remote.Config{Sink: c.Sink, Name: c.name, Check: c.Check, MaxInFlight: c.MaxInFlight})
	s := &store{
		config: c, node: n, tag: c.Prefix + "{0}:",
		writer: worker.NewPool(1, 1, c.Log), readers: worker.NewPool(readers, 0, c.Log), idle: make(chan *link, readers),
		subscriber: subscriber{changed: make(chan struct{}, 1)},
	}
	s.channels = fmt.Sprintf("%sc:%d:", s.tag, c.Options.Database)
	s.probes = fmt.Sprintf("%sprobe:%d:%s", s.tag, c.Options.Database, c.name)
	s.requests = fmt.Sprintf("%sask:%d", s.tag, c.Options.Database)
	s.answers = operatorStore{s}.answersTo(c.name)
	s.writing = s.link()
	for range readers {
		s.idle <- s.link()
	}
	s.inbox.deliver = s.deliver
	n.Use(operatorStore{s})
	return &Broker{n, s}
}

// Run implements [broker.Broker]. It starts goroutines that connect, probe, publish, read and
// subscribe, and waits for them.
func (b *Broker) Run(ctx context.Context) error {
	var running sync.WaitGroup
	working, cancel := context.WithCancel(context.WithoutCancel(ctx)) // The node ends first.
	running.Go(func() { b.store.serve(working) })
	b.Work(ctx, func() {
		cancel()
		running.Wait()
	})
	return nil
}

// A store is Redis as one node uses it.
type store struct {
	// Immutable.
	config   Config
	node     *remote.Node
	tag      string       // what the name of every key begins with
	channels string       // what the name of the channel of a topic begins with
	probes   string       // the channel of the probes of this node
	requests string       // the channel of requests to all nodes
	answers  string       // the channel of answers to this node
	writer   *worker.Pool // one worker, which publishes
	readers  *worker.Pool

	writing *link      // of the writer
	idle    chan *link // of the readers that have nothing to do

	answered  atomic.Int64           // when a script last answered, in ns since 1970
	cuts      atomic.Int64           // see link
	epoch     atomic.Pointer[string] // of the last answer
	probed    atomic.Bool            // the last probe has arrived
	shardPage pageLength

	clock
	inbox inbox
	subscriber

	// Owned by the goroutine of the node.
	wanted []wantedHead
	tells  uint64 // calls of Tell
}

// serve works until ctx ends. Then it refuses what it was asked for.
func (s *store) serve(ctx context.Context) {
	var running sync.WaitGroup
	running.Go(func() { s.probe(ctx) })
	running.Go(func() { s.follow(ctx) })
	running.Go(func() { _ = s.writer.Run(ctx) }) // it returns nil
	running.Go(func() { _ = s.readers.Run(ctx) })
	running.Wait()
	s.writing.close()
	for range readers {
		(<-s.idle).close()
	}
}

func (s *store) link() *link {
	return &link{options: &s.config.Options, cuts: &s.cuts, stats: s.node.Stats()}
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// Health implements [remote.Store].
func (s *store) Health() error {
	switch {
	case time.Since(time.Unix(0, s.answered.Load())) > s.silence():
		return fmt.Errorf("redis: no answer for more than %v", s.silence())
	case !s.isConnected():
		return errLost
	}
	return nil
}

// silence returns how long Redis, or a pub/sub connection, may be silent before it counts as
// away.
func (s *store) silence() time.Duration { return maxMissed * s.config.Probe }

// probe runs probe.lua at intervals. So a new epoch reaches topics without messages, and a
// pub/sub connection that is dead is noticed.
func (s *store) probe(ctx context.Context) {
	l := s.link()
	defer l.close()
	away := false
	for ctx.Err() == nil {
		listening := s.isConnected()
		s.probed.Store(false)
		asking, cancel := context.WithTimeout(ctx, s.silence())
		a, err := s.run(asking, l, probeScript, []any{s.key("m"), s.key("r")}, []any{s.probes})
		cancel()
		if err != nil {
			s.cuts.Add(1)
		} else {
			operatorStore{s}.announce(a)
		}
		if before := away; before != (err != nil) && ctx.Err() == nil {
			if away = !before; away {
				s.config.Log.Warn("the broker does not answer", "err", err)
			} else {
				s.config.Log.Info("the broker answers again")
			}
		}
		sleep(ctx, s.config.Probe)
		if (err != nil || listening && !s.probed.Load()) && ctx.Err() == nil {
			s.node.Stats().ProbesMissed.Add(1)
		}
	}
}

// learn notes the epoch of an answer, and tells the node if it is a new one.
func (s *store) learn(epoch string) {
	if before := s.epoch.Swap(&epoch); before == nil || *before != epoch {
		if before != nil {
			s.node.Stats().Epochs.Add(1)
		}
		s.node.Post(func() { s.node.NewEpoch(epoch) })
	}
}

// The length of an epoch and of the name of a node, in letters and digits.
const (
	epochLength = 12
	nameLength  = 12
)

// newEpoch returns an epoch for a script that may have to begin one.
func newEpoch() string { return rand.Text()[:epochLength] }

// shardKeys returns the names of the hash of the shard, and of the head and the stream of all topics.
func shardKeys(s *store) []any {
	return []any{s.key("m"), s.key("h:" + string(remote.Shard)), s.key("t:" + string(remote.Shard))}
}

// key returns the name of a key.
func (s *store) key(name string) string { return s.tag + name }

// channel returns the name of the channel of a topic.
func (s *store) channel(name string) string { return s.channels + name }
