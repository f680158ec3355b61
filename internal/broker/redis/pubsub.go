package redis

import (
	"bytes"
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"

	"github.com/gomodule/redigo/redis"

	"github.com/ikornaselur/notiflux/internal/broker/remote"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/topic"
)

const (
	// maxInbox bounds the pushes that the node has not taken yet, in bytes.
	maxInbox = 32 << 20
	// pushOverhead is what a push takes beside its body, about.
	pushOverhead = 200
	// maxSubscribe is how many channels one command names at most.
	maxSubscribe = 500
)

// A subscriber is the pub/sub connection of a node, one at a time.
type subscriber struct {
	changed chan struct{} // has room for one; filled when changes is

	mu sync.Mutex
	// Guarded by mu.
	connected bool                     // Redis has confirmed the first subscriptions
	before    bool                     // there was a connection before
	changes   []change                 // to send, in order
	waiting   map[string][]func(error) // by channel: callbacks of Subscribe
}

// A change subscribes to a channel, or unsubscribes from it.
type change struct {
	subscribe bool
	channel   string
}

var errLost = errors.New("redis: the pub/sub connection was lost")

// Subscribe implements [remote.Store].
func (s *store) Subscribe(name pubsub.Topic, then func(error)) {
	if !s.change(change{true, s.channel(string(name))}, then) {
		then(remote.ErrNotSent)
	}
}

// Unsubscribe implements [remote.Store].
func (s *store) Unsubscribe(name pubsub.Topic) {
	s.change(change{false, s.channel(string(name))}, nil)
}

func (s *subscriber) isConnected() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.connected
}

// change queues a change. It reports false if there is no connection.
func (s *subscriber) change(c change, then func(error)) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.connected {
		return false
	}
	s.changes = append(s.changes, c)
	if then != nil {
		s.waiting[c.channel] = append(s.waiting[c.channel], then)
	}
	select {
	case s.changed <- struct{}{}:
	default:
	}
	return true
}

// follow keeps a pub/sub connection until ctx ends.
func (s *store) follow(ctx context.Context) {
	for ctx.Err() == nil {
		err := s.session(ctx)
		s.cuts.Add(1)
		s.disconnected()
		if ctx.Err() == nil {
			s.config.Log.Debug("subscribing to the broker again", "err", err)
			sleep(ctx, s.config.Probe/retries)
		}
	}
}

// session serves one pub/sub connection, and returns why it ended.
func (s *store) session(ctx context.Context) error {
	conn, err := s.config.Options.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	c := redis.PubSubConn{Conn: conn}
	connection := s.node.Connecting()
	if err := send(c, []change{{true, s.probes}, {true, s.answers}, {true, s.requests}}); err != nil {
		return err
	}
	closed := make(chan error, 1)
	go func() { closed <- s.receive(c, connection) }()
	for {
		select {
		case <-s.changed:
			if err = s.sendChanges(c); err == nil {
				continue
			}
			conn.Close()
			<-closed
		case err = <-closed:
		}
		return err
	}
}

// confirm notes that Redis has confirmed the first subscriptions. Until then there may be a proxy
// that accepts connections, and no Redis. It reports whether there was a connection before.
func (s *subscriber) confirm() (again bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	again = s.before
	s.connected, s.before = true, true
	s.waiting = make(map[string][]func(error))
	return again
}

// receive takes what arrives until the connection ends, or nothing arrives for longer than
// probes may be missing.
func (s *store) receive(c redis.PubSubConn, connection uint64) error {
	for {
		switch v := c.ReceiveWithTimeout(s.silence()).(type) {
		case redis.Message:
			s.pushed(v.Channel, v.Data)
		case redis.Subscription:
			s.subscribed(v, connection)
		case error:
			return v
		}
	}
}

// disconnected fails the subscriptions that have no confirmation.
func (s *store) disconnected() {
	s.mu.Lock()
	waiting := s.waiting
	s.connected, s.changes, s.waiting = false, nil, nil
	s.mu.Unlock()
	s.node.Post(func() {
		for _, all := range waiting {
			for _, then := range all {
				then(errLost)
			}
		}
	})
}

// sendChanges sends the changes that are queued.
func (s *subscriber) sendChanges(c redis.PubSubConn) error {
	s.mu.Lock()
	changes := s.changes
	s.changes = nil
	s.mu.Unlock()
	for len(changes) > 0 {
		n := 1
		for n < len(changes) && n < maxSubscribe && changes[n].subscribe == changes[0].subscribe {
			n++
		}
		if err := send(c, changes[:n]); err != nil {
			return err
		}
		changes = changes[n:]
	}
	return nil
}

// send sends changes of one kind in one command.
func send(c redis.PubSubConn, changes []change) error {
	channels := make([]any, len(changes))
	for i := range changes {
		channels[i] = changes[i].channel
	}
	if changes[0].subscribe {
		return c.Subscribe(channels...)
	}
	return c.Unsubscribe(channels...)
}

// subscribed takes the confirmation of a change over the connection with a number.
func (s *store) subscribed(e redis.Subscription, connection uint64) {
	if e.Kind != "subscribe" {
		return
	}
	if e.Channel == s.requests { // the last one of the first command
		if s.confirm() {
			s.node.Stats().Resubscribed.Add(1)
		}
		s.node.Post(func() {
			s.node.Connected()
			s.node.Listening(connection)
		})
		return
	}
	s.mu.Lock()
	all := s.waiting[e.Channel]
	if len(all) == 0 {
		s.mu.Unlock()
		return
	}
	then := all[0]
	if all = all[1:]; len(all) == 0 {
		delete(s.waiting, e.Channel)
	} else {
		s.waiting[e.Channel] = all
	}
	s.mu.Unlock()
	s.node.Post(func() { then(nil) })
}

// pushed takes a message of a channel. It never blocks.
func (s *store) pushed(channel string, data []byte) {
	name, ok := strings.CutPrefix(channel, s.channels)
	switch {
	case ok:
	case channel == s.probes:
		s.probed.Store(true)
		return
	default:
		operatorStore{s}.carried(channel, data)
		return
	}
	parse := s.parsePush
	if topic.IsPresenceTopic(pubsub.Topic(name)) {
		parse = s.parseStatement
	}
	if p, ok := parse(pubsub.Topic(name), data); ok {
		s.inbox.add(p)
	} else {
		s.inbox.miss(pubsub.Topic(name))
	}
}

// parsePush parses a message of publish.lua. In the channel of all topics, the topic of the message
// and a NUL are before its body. It keeps data.
func (s *store) parsePush(name pubsub.Topic, data []byte) (p remote.Push, ok bool) {
	p, exclude, rest, ok := splitPush(name, data)
	if name == remote.Shard {
		own, body, found := bytes.Cut(rest, []byte{0})
		p.Message.Topic, rest, p.OfShard, ok = pubsub.Topic(own), body, true, ok && found
	}
	body, err := decodeBody(rest)
	if !ok || err != nil {
		return remote.Push{}, false
	}
	m := &p.Message
	m.Time, m.Body, m.Exclude = s.localTime(m.Position.Offset), body, pubsub.Connection(exclude)
	return p, true
}

// splitPush splits what a script publishes to the channel of a topic: the epoch, the offset, the
// offset before it, a number, and the rest, with spaces between them.
func splitPush(name pubsub.Topic, data []byte) (p remote.Push, number uint64, rest []byte, ok bool) {
	fields := bytes.SplitN(data, []byte{' '}, 5)
	if len(fields) != 5 {
		return p, 0, nil, false
	}
	at, err1 := strconv.ParseUint(string(fields[1]), 10, 64)
	before, err2 := strconv.ParseUint(string(fields[2]), 10, 64)
	number, err3 := strconv.ParseUint(string(fields[3]), 10, 64)
	p.Message = pubsub.Message{Topic: name, Position: pubsub.Position{Epoch: string(fields[0]), Offset: at}}
	p.Before = before
	return p, number, fields[4], errors.Join(err1, err2, err3) == nil
}

// An inbox holds the pushes that the node has not taken yet. It is safe for concurrent use.
type inbox struct {
	deliver func() // called when the inbox is no longer empty; immutable

	mu sync.Mutex
	// Guarded by mu.
	pushes []remote.Push
	bytes  int
	missed map[pubsub.Topic]bool // topics of which a push did not fit
}

func (i *inbox) add(p remote.Push) {
	i.mu.Lock()
	first := i.emptyLocked()
	if size := len(p.Message.Body.Data) + len(p.Statement.Info) + pushOverhead; i.bytes+size <= maxInbox {
		i.pushes, i.bytes = append(i.pushes, p), i.bytes+size
	} else {
		i.missLocked(p.Followed())
	}
	i.mu.Unlock()
	if first {
		i.deliver()
	}
}

// miss notes that a push of a topic was missed.
func (i *inbox) miss(name pubsub.Topic) {
	i.mu.Lock()
	first := i.emptyLocked()
	i.missLocked(name)
	i.mu.Unlock()
	if first {
		i.deliver()
	}
}

func (i *inbox) emptyLocked() bool { return len(i.pushes) == 0 && len(i.missed) == 0 }

func (i *inbox) missLocked(name pubsub.Topic) {
	if i.missed == nil {
		i.missed = make(map[pubsub.Topic]bool)
	}
	i.missed[name] = true
}

// deliver hands the contents of the inbox to the node.
func (s *store) deliver() {
	s.node.Post(func() {
		i := &s.inbox
		i.mu.Lock()
		pushes, missed := i.pushes, i.missed
		i.pushes, i.bytes, i.missed = nil, 0, nil
		i.mu.Unlock()
		s.node.Receive(pushes)
		for name := range missed {
			s.node.Missed(name)
		}
	})
}
