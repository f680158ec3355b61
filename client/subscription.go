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

// SubscribeOptions say what a subscription yields. The zero value: all messages from
// now on.
type SubscribeOptions struct {
	// Since holds the positions to resume from, by topic. It may name topics that
	// Add adds later. Messages that the server no longer has are a [LostError].
	Since map[string]Position
	// Last asks for up to this many earlier messages of each topic without a Since.
	Last int
	// Latest is for loops that only need the newest message of a topic. When the loop
	// is behind, older messages are left out and a [Skipped] takes their place.
	Latest bool
	// Presence makes the client present on the topics as the sub of its token, and
	// yields [Present], [Joined] and [Left]. Each topic counts twice against the
	// server's limits. It takes a WebSocket: on event streams each topic is refused
	// with the code upgrade_required.
	Presence bool
	// Buffer is how many events are held for a loop that is busy; 0: 1,000. Whatever
	// the number, messages of more than 16 MiB in all are not held.
	Buffer int
}

func (o *SubscribeOptions) check() error {
	if o.Last < 0 {
		return fmt.Errorf("subscribe: Last is %d; give a number of messages", o.Last)
	}
	if o.Buffer < 0 {
		return fmt.Errorf("subscribe: Buffer is %d; give a number of events", o.Buffer)
	}
	for topic, position := range o.Since {
		if _, err := wire.ParsePosition(string(position)); err != nil {
			return fmt.Errorf("subscribe: Since of %q: %w", topic, err)
		}
	}
	return nil
}

// A Subscription is a set of topics and a queue of what happens to them. It starts when
// it is made and ends with Close, when a loop over Events ends, or when no topic is left
// that the server allows. Its methods are safe for concurrent use.
type Subscription struct {
	// Immutable.
	hub     *hub
	tokens  *tokens.Cache
	options SubscribeOptions
	queue   *queue

	// Guarded by hub.mu.
	since map[string]Position // not used yet
	feeds map[string]*feed    // by topic
}

// Subscribe subscribes to topics, from now on. An invalid topic is the error of the
// first call of Next.
func (c *Client) Subscribe(topics ...string) *Subscription {
	return c.SubscribeWith(SubscribeOptions{}, topics...)
}

// SubscribeWith is Subscribe with options.
func (c *Client) SubscribeWith(o SubscribeOptions, topics ...string) *Subscription {
	s := &Subscription{
		hub: c.hub, tokens: c.tokens, options: o, queue: newQueue(o.Buffer, o.Latest),
		since: maps.Clone(o.Since), feeds: map[string]*feed{},
	}
	err := o.check()
	if err == nil && len(topics) == 0 {
		err = errors.New("subscribe: no topic is given")
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
	err := s.hub.err
	if err == nil {
		s.hub.subscriptions[s] = true
	}
	s.hub.mu.Unlock()
	if err == nil {
		err = s.Add(topics...)
	}
	return err
}

// Events returns an iterator over the events of the subscription. An event comes
// without an error, and an error without an event. To continue after an error is always
// safe, because the loop ends on its own after the last one:
//
//   - after a [*LostError] the subscription continues;
//   - after an [*Error] with a Topic it continues without this topic, if another is left;
//   - any other error is the last: the cause of ctx, [ErrClosed], an invalid argument, or
//     why the client does not connect again.
//
// Leaving the loop closes the subscription.
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

// Next waits for the next event, as Events yields them, but never closes the
// subscription. After the last error it returns [ErrClosed].
func (s *Subscription) Next(ctx context.Context) (Event, error) {
	e := s.next(ctx)
	return e.event, e.err
}

func (s *Subscription) next(ctx context.Context) entry {
	for {
		if ctx.Err() != nil {
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

// Add adds topics to the subscription; the ones that it has already stay as they are.
// The error is about an invalid topic, and then none is added, or [ErrClosed].
func (s *Subscription) Add(topics ...string) error {
	for _, topic := range topics {
		if err := wire.CheckTopic(topic); err != nil {
			return fmt.Errorf("subscribe: %w", err)
		}
	}
	h := s.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.subscriptions[s] {
		return ErrClosed
	}
	h.joinLocked(s, topics)
	return nil
}

// Remove removes topics from the subscription. Events that are queued already are
// still yielded.
func (s *Subscription) Remove(topics ...string) {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	for _, topic := range topics {
		if f := s.feeds[topic]; f != nil {
			f.leaveLocked(s)
		}
	}
}

// Connection returns the name that the server gave to the connection which carries a
// topic, for [Publication.Exclude]. It is empty while the topic is not connected and on
// event streams. Each connection has another name.
func (s *Subscription) Connection(topic string) string {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	f := s.feeds[topic]
	if f == nil || f.lane.session == nil {
		return ""
	}
	return f.lane.session.welcome.Connection
}

// Close ends the subscription and drops what is queued. The error is always nil.
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
	for _, f := range sortFeeds(s.feeds) {
		f.leaveLocked(s)
	}
}
