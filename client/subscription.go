package client

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"

	"github.com/ikornaselur/notiflux/client/internal/tokens"
	"github.com/ikornaselur/notiflux/client/internal/wire"
)

// SubscribeOptions are the options of a subscription. With the zero value it yields all
// messages from now on. If another subscription has the same topic, this one needs a
// second connection for it with Last, Presence or a position in Since, if the other one has
// Presence, or if only one of them has Latest.
type SubscribeOptions struct {
	// Since holds the position to resume from for each topic. It may name topics that
	// Add adds later. If the server no longer has all messages after a position, the
	// subscription yields a [LostError]. The empty position means that there is none.
	Since map[string]Position
	// Last is the number of earlier messages to begin with, for each topic that has no
	// position in Since.
	Last int
	// Latest is for loops that only need the newest message of a topic. A loop that is
	// behind gets a [Skipped] in place of older messages.
	Latest bool
	// Presence makes the client a member of the topics, under the claim sub of its
	// token, and yields [Present], [Joined] and [Left]. Each topic then counts twice
	// against the server's limits. Presence needs a WebSocket: on event streams the
	// server refuses the topics with the code upgrade_required.
	Presence bool
	// Buffer is the size of the queue, in events; 0: 10,000. The queue also holds at
	// most 16 MiB of data. When it is full, the subscription loses messages.
	Buffer int
}

func (o *SubscribeOptions) check() error {
	if o.Last < 0 {
		return fmt.Errorf("subscribe: Last is %d; use 0 or a larger number", o.Last)
	}
	if o.Buffer < 0 {
		return fmt.Errorf("subscribe: Buffer is %d; use 0 or a larger number", o.Buffer)
	}
	for topic, position := range o.Since {
		if position == "" {
			continue // the program has none yet
		}
		if _, err := wire.ParsePosition(string(position)); err != nil {
			return fmt.Errorf("subscribe: Since of %q: %w", topic, err)
		}
	}
	return nil
}

// A Subscription receives the events of a set of topics and holds them in a queue. It starts
// when it is made. It ends when Close is called, when a loop over Events ends, and when
// the server has refused all its topics. Its methods are safe for concurrent use.
type Subscription struct {
	// Immutable.
	hub     *hub
	tokens  *tokens.Cache
	options SubscribeOptions
	queue   *queue
	stop    func() // ends the goroutine of a pattern

	// Guarded by hub.mu.
	since map[string]Position // of topics that have not been added yet
	feeds map[string]*feed    // by topic; nil: it has a pattern
}

// Subscribe subscribes to topics. It does not block. If an argument is invalid, the
// subscription yields only that error.
func (c *Client) Subscribe(topics ...string) *Subscription {
	return c.SubscribeWith(SubscribeOptions{}, topics...)
}

// SubscribeWith is Subscribe with options.
func (c *Client) SubscribeWith(o SubscribeOptions, topics ...string) *Subscription {
	s := &Subscription{
		hub: c.hub, tokens: c.tokens, options: o, queue: newQueue(o.Buffer, o.Latest),
		since: maps.Clone(o.Since), feeds: map[string]*feed{}, stop: func() {},
	}
	maps.DeleteFunc(s.since, func(_ string, p Position) bool { return p == "" })
	err := o.check()
	if cause := c.tokens.Err(); err == nil && cause != nil {
		err = fmt.Errorf("subscribe: %w", cause)
	}
	if err == nil && len(topics) == 0 {
		err = errors.New("subscribe: no topics were given")
	}
	if err == nil {
		err = s.start(topics)
	}
	if err != nil {
		s.end()
		s.queue.finish(err)
	}
	return s
}

func (s *Subscription) start(topics []string) error {
	s.hub.mu.Lock()
	if s.hub.closed {
		s.hub.mu.Unlock()
		return ErrClosed
	}
	s.hub.subscriptions[s] = true
	s.hub.mu.Unlock()
	return s.Add(topics...)
}

// Events returns an iterator over the events of the subscription. It yields either an event
// or an error:
//
//   - After a [*LostError] the subscription continues.
//   - After an [*Error] with a Topic it continues without that topic, if it has another.
//   - Any other error is the last one: the cause of ctx, [ErrClosed], an invalid argument,
//     or the reason why the client does not reconnect. A new subscription tries again.
//
// A loop may continue after every error, because the iterator ends after the last one. When
// the loop ends, it closes the subscription.
func (s *Subscription) Events(ctx context.Context) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		defer s.Close()
		for {
			if e := s.next(ctx); !yield(e.event, e.err) || e.last {
				return
			}
		}
	}
}

// Next waits for the next event or error, as Events yields them. It does not close the
// subscription. If ctx ends, Next returns its cause, and may be called again with another
// context. After any other last error it returns [ErrClosed].
func (s *Subscription) Next(ctx context.Context) (Event, error) {
	e := s.next(ctx)
	return e.event, e.err
}

func (s *Subscription) next(ctx context.Context) entry {
	for {
		if ctx.Err() != nil {
			s.queue.signal() // this goroutine may have been woken in place of another
			return entry{err: context.Cause(ctx), last: true}
		}
		e, presence, ok := s.queue.take()
		s.hub.list(s, presence)
		if ok {
			return e
		}
		select {
		case <-s.queue.ready:
		case <-ctx.Done():
		}
	}
}

// Add adds topics to the subscription, and ignores topics that it has. A topic that was
// removed starts over, so messages may come again if [SubscribeOptions.Last] is set. If a topic is
// invalid, Add adds none. If the subscription has ended, the error is [ErrClosed].
func (s *Subscription) Add(topics ...string) error {
	for _, topic := range topics {
		if err := wire.CheckTopic(topic); err != nil {
			return fmt.Errorf("subscribe: %w", err)
		}
	}
	h := s.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.feeds == nil {
		return errors.New("subscribe: a subscription to a pattern takes no topics; make another one")
	}
	if !h.subscriptions[s] {
		return ErrClosed
	}
	h.joinLocked(s, topics)
	return nil
}

// Remove removes topics from the subscription. The subscription still yields the events of these
// topics that are in its queue.
func (s *Subscription) Remove(topics ...string) {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	for _, topic := range topics {
		if f := s.feeds[topic]; f != nil {
			f.leaveLocked(s)
		}
	}
}

// Connection returns the server's name for the connection of a topic, for
// [Publication.Exclude]. It is empty while there is no connection, and on event streams. The
// name changes with each connection.
func (s *Subscription) Connection(topic string) string {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	f := s.feeds[topic]
	if f == nil || f.lane.session == nil {
		return ""
	}
	return f.lane.session.welcome.Connection
}

// Close ends the subscription and drops the events in its queue. The error is always nil.
func (s *Subscription) Close() error {
	s.end()
	s.queue.close()
	return nil
}

// end leaves all topics.
func (s *Subscription) end() {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	delete(s.hub.subscriptions, s)
	s.stop()
	for _, f := range sortFeeds(s.feeds) {
		f.leaveLocked(s)
	}
}
