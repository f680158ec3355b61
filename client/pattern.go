package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/ikornaselur/notiflux/client/internal/pattern"
)

// PatternOptions are the options of a subscription to a pattern. The zero value works.
type PatternOptions struct {
	// Since is a position of the pattern to resume from, from a [PatternPosition]. Some
	// messages after it may come again. Empty: from now on.
	Since Position
	// Buffer is as in [SubscribeOptions].
	Buffer int
}

// PatternPosition reports, about once a second, that everything of a pattern up to Position
// has come. To resume after a restart of the program, store it.
type PatternPosition struct {
	Pattern  string
	Position Position
}

func (PatternPosition) event() {}

// SubscribePattern subscribes to a pattern: the beginning of topics followed by a star, such
// as "room:*". It does not block. The subscription yields each [Message] of a topic that begins
// with the text before the star, those of a topic in order. In [Subscribed], [LostError] and
// [Error], Topic is the pattern. Topics cannot be added.
//
// The subscription has a connection of its own, and needs a WebSocket. The token must allow the
// pattern: it is in [TokenRequest.Patterns]. A server that is too old for patterns refuses them with
// the code malformed.
func (c *Client) SubscribePattern(p string, o PatternOptions) *Subscription {
	s := &Subscription{hub: c.hub, queue: newQueue(o.Buffer, false), stop: func() {}}
	if err := c.startPattern(s, p, o); err != nil {
		s.queue.finish(err)
	}
	return s
}

func (c *Client) startPattern(s *Subscription, p string, o PatternOptions) error {
	since, err := pattern.Check(p, string(o.Since))
	if err = cmp.Or(err, c.tokens.Err()); err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	if o.Buffer < 0 {
		return fmt.Errorf("subscribe: Buffer is %d; use 0 or a larger number", o.Buffer)
	}
	h := c.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return ErrClosed
	}
	ctx, stop := context.WithCancel(context.Background())
	s.stop, h.subscriptions[s] = stop, true
	r := &pattern.Reader{
		Dialer: &h.dialer, Tokens: c.tokens, Pattern: p, Delay: h.delay, Log: h.log, Mark: since,
		Yield: func(e pattern.Event) { s.queue.put(patternEntry(p, e)) },
	}
	h.running.Go(func() {
		err := publicError(r.Run(ctx))
		if refused, ok := errors.AsType[*pattern.Refused](err); ok {
			err = &Error{Code: refused.Code, Message: refused.Message, Topic: p}
		}
		s.end()
		s.queue.finish(err)
	})
	return nil
}

// patternEntry returns an event of a pattern as the loop gets it.
func patternEntry(p string, e pattern.Event) entry {
	out := entry{topic: p, from: positionOf(e.From), to: positionOf(e.To)}
	switch e.Kind {
	case pattern.Message:
		f := e.Frame
		out.event = newMessage(f.Topic, Position(f.Position), f.Time, f.Data)
	case pattern.Subscribed:
		out.event = Subscribed{Topic: p, Position: out.to, Replay: e.Replay, Resumed: e.Resumed}
	case pattern.Reached:
		out.event = PatternPosition{Pattern: p, Position: out.to}
	case pattern.Disconnected:
		return entry{event: Disconnected{publicError(e.Err)}}
	case pattern.Expired:
		out.err = &LostError{Topic: p, Since: out.from, Position: out.to, Reason: Expired}
	case pattern.Gap:
		out.err = &LostError{Topic: p, Since: out.from, Position: out.to, Reason: Gap}
	}
	return out
}
