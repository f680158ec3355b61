package client

import (
	"context"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// read takes the frames of a session until it ends, and returns why.
func (c *Client) read(ctx context.Context, s *session) error {
	for {
		s.heard()
		data, err := s.read()
		if err != nil {
			return err
		}
		f, err := parseFrame(data)
		if err != nil {
			return err
		}
		switch f.Type {
		case "message", "skipped", "gap":
			c.move(ctx, s, &f)
		case "join", "leave", "presence":
			c.present(ctx, s, &f)
		case "subscribed":
			c.answer(ctx, s, &f)
			c.wakeRun() // once for all topics that are to be asked for again
		case "unsubscribed":
			c.ended(ctx, s, &f)
			c.wakeRun()
		case "error":
			c.refuseAll(ctx, s, &f)
			c.wakeRun()
		case "bye":
			s.bye = f
		}
		// Of other types are answers that nobody waits for, and what later
		// versions of the protocol add.
	}
}

// deliver gives an item to a subscriber, and reports whether it took it. While
// it waits nothing is read. When ctx has ended nothing is taken any more, even if
// there is still something to read: what a subscriber takes has no holes.
func (c *Client) deliver(ctx context.Context, s *session, by *subscriber, i item) bool {
	if ctx.Err() != nil {
		return false
	}
	i.session = s.number
	s.silence.Stop()
	defer s.heard()
	select {
	case by.items <- i:
		return true
	case <-by.left:
	case <-ctx.Done():
	}
	return false
}

// live returns the subscription that a frame about topic is for; nil: there is none,
// or none any longer.
func (c *Client) live(s *session, topic pubsub.Topic) *topicSubscription {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := c.subscriptions[topic]; i != nil && i.asked == s && i.live {
		return i
	}
	return nil
}

// move delivers what takes a topic on to a position.
func (c *Client) move(ctx context.Context, s *session, f *frame) {
	i := c.live(s, f.Topic)
	if i == nil {
		return
	}
	next := f.Position
	if f.Type == "skipped" {
		next = f.To
	}
	p, err := pubsub.ParsePosition(next)
	if err != nil {
		c.fault("a position is none", i)
		return
	}
	if p.Epoch == i.position.Epoch && p.Offset <= i.position.Offset {
		c.fault("a position does not come after the one before", i)
		return
	}
	out := item{}
	switch f.Type {
	case "message":
		out.event = Message{Topic: i.topic, Position: p, Time: time.UnixMilli(f.Time), Data: f.Data}
	case "skipped":
		out.event = Skipped{Topic: i.topic, From: i.position, To: p}
	case "gap":
		out.err = &LostError{Topic: i.topic, Since: i.position, Position: p, Gap: true}
	}
	if c.deliver(ctx, s, i.by, out) {
		c.mu.Lock()
		defer c.mu.Unlock()
		i.position = p
	}
}

// present delivers who is present, or comes and goes.
func (c *Client) present(ctx context.Context, s *session, f *frame) {
	c.mu.Lock()
	delete(s.listing, f.ID)
	c.mu.Unlock()
	i := c.live(s, f.Topic)
	if i == nil || !i.presence {
		return
	}
	out := item{}
	switch f.Type {
	case "join":
		out.event = Joined{Topic: i.topic, Members: f.all()}
	case "leave":
		out.event = Left{Topic: i.topic, Members: f.all()}
	case "presence":
		out.event = Present{Topic: i.topic, Count: f.Count, Subscribers: f.Subscribers, Members: f.all()}
	}
	c.deliver(ctx, s, i.by, out)
}

// fault counts a frame that breaks the protocol, and is ignored.
func (c *Client) fault(what string, i *topicSubscription) {
	c.log.Debug("protocol fault", "fault", what, "topic", string(i.topic), "faults", c.faults.Add(1))
}

// answered returns the subscriptions that the answer to a subscribe command is
// about, without those that nobody has any more.
func (c *Client) answered(s *session, id int64) (batch []*topicSubscription) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, i := range s.pending[id] {
		if c.subscriptions[i.topic] == i && i.asked == s {
			batch = append(batch, i)
		}
	}
	delete(s.pending, id)
	return batch
}

// answer takes the answer to a subscribe command.
func (c *Client) answer(ctx context.Context, s *session, f *frame) {
	var topics map[pubsub.Topic]subscribed
	if err := json.Unmarshal(f.Topics, &topics); err != nil {
		topics = nil // each of them is asked for again
	}
	for _, i := range c.answered(s, f.ID) {
		if t, ok := topics[i.topic]; ok {
			c.subscribed(ctx, s, i, t)
		} else if r, ok := f.Refused[i.topic]; ok {
			c.refuse(ctx, s, i, &pubsub.Error{Code: r.Code, Detail: r.Message}, false)
		} else {
			c.fault("a topic is not in the answer", i)
			c.refuse(ctx, s, i, pubsub.Errorf(pubsub.Internal, "the server did not answer"), true)
		}
	}
}

// subscribed makes an subscription live.
func (c *Client) subscribed(ctx context.Context, s *session, i *topicSubscription, t subscribed) {
	p, err := pubsub.ParsePosition(t.Position)
	if err != nil {
		c.fault("a position is none", i)
		c.refuse(ctx, s, i, pubsub.Errorf(pubsub.Internal, "the server did not say from where on"), true)
		return
	}
	out := item{event: Subscribed{Topic: i.topic, Position: p, Replay: t.Replay, Resumed: i.resumed}}
	if !t.Recovered {
		out = item{err: &LostError{Topic: i.topic, Since: i.position, Position: p}}
	}
	quiet := i.moved && t.Recovered && p == i.position
	if !quiet && !c.deliver(ctx, s, i.by, out) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	i.position, i.resumed = p, true
	i.live, i.renewed, i.moved = true, false, false
	if i.presence {
		i.list = listWanted
	}
}

// ended takes the end of subscriptions that the server has ended.
func (c *Client) ended(ctx context.Context, s *session, f *frame) {
	var topics []pubsub.Topic
	if f.Code == "" || json.Unmarshal(f.Topics, &topics) != nil {
		return // the answer to an unsubscribe command
	}
	for _, topic := range topics {
		if i := c.live(s, topic); i != nil {
			c.refuse(ctx, s, i, &pubsub.Error{Code: f.Code, Detail: "the server ended the subscription"}, false)
		}
	}
}

// refuseAll takes an error in place of the answer to a command.
func (c *Client) refuseAll(ctx context.Context, s *session, f *frame) {
	c.mu.Lock()
	if i := s.listing[f.ID]; i != nil {
		delete(s.listing, f.ID)
		if i.list = listAsked; f.Retry || passing(f.Code) || f.Code == pubsub.TooMany {
			i.list = listDelayed
		}
	}
	c.mu.Unlock()
	for _, i := range c.answered(s, f.ID) {
		c.refuse(ctx, s, i, &pubsub.Error{Code: f.Code, Detail: f.Message}, f.Retry)
	}
}

const tokenRevoked pubsub.Code = "token_revoked" // this server does not say it yet

// passing reports whether a refusal may be none a little later.
func passing(code pubsub.Code) bool {
	switch code {
	case pubsub.OverCapacity, pubsub.Unavailable, pubsub.Draining, pubsub.Internal, pubsub.OutcomeUnknown:
		return true
	}
	return false
}

// renewable reports whether another token may help against a refusal.
func renewable(code pubsub.Code) bool {
	return code == pubsub.TokenInvalid || code == pubsub.TokenExpired || code == tokenRevoked
}

// refuse takes the refusal of an subscription: it is asked for again, with a new
// token or after a while, or it ends.
func (c *Client) refuse(ctx context.Context, s *session, i *topicSubscription, refusal *pubsub.Error, retry bool) {
	c.mu.Lock()
	i.live = false
	switch {
	case renewable(refusal.Code) && c.tokens.source != nil && !i.renewed:
		i.asked, i.renewed = nil, true
		c.tokens.invalidate(i.generation)
	case retry || passing(refusal.Code):
		i.asked, i.deferred = nil, true
	default:
		c.mu.Unlock()
		// One that is not taken is no end: the topic is asked for again.
		if c.deliver(ctx, s, i.by, item{err: &RefusedError{Topic: i.topic, Err: refusal}, refused: i}) {
			c.drop(i)
		}
		return
	}
	c.mu.Unlock()
	c.log.Debug("topic refused for now", "topic", string(i.topic), "error", fmt.Sprintf("%s: %v", refusal.Code, refusal))
}
