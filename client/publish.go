package client

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"

	"github.com/ikornaselur/notiflux/client/internal/call"
)

// A Publication is a message to publish.
type Publication struct {
	Topic string
	Data  []byte // published as a string, which must be UTF-8
	JSON  any    // if not nil, published in place of Data, as encoding/json encodes it
	// Key identifies the message: for two minutes the server publishes messages with
	// the same key once, and answers with the position of the first. Set it if your
	// program publishes again after a restart. Empty: a random key, so that the retries
	// of one call publish once; with [Options.NoRetry] no key.
	Key string
	// Exclude is the name of a connection that does not get the message, as
	// [Subscription.Connection] returns it; empty: all get it.
	Exclude string
}

// A Result is the outcome of one publication of several.
type Result struct {
	Position Position // if Err is nil
	Err      error    // as Publish returns it
}

// Publish publishes message as a string, and returns its position. The message must be
// UTF-8. A nil error means that it was published once, even after retries, unless the server
// was restarted between two of them.
//
// After an [*Error] whose Code is neither empty nor outcome_unknown, the message was not
// published. After any other error, it may have been. Each message has a key, by which the
// server recognizes a retry for two minutes; see [Publication]. If it is unknown by then
// whether the message was published, Publish gives up with the code outcome_unknown.
func (c *Client) Publish(ctx context.Context, topic string, message []byte) (Position, error) {
	return c.publish(ctx, Publication{Topic: topic, Data: message})
}

// PublishJSON is Publish for a value that encoding/json encodes.
func (c *Client) PublishJSON(ctx context.Context, topic string, value any) (Position, error) {
	if value == nil {
		value = json.RawMessage("null")
	}
	return c.publish(ctx, Publication{Topic: topic, JSON: value})
}

func (c *Client) publish(ctx context.Context, p Publication) (Position, error) {
	ctx, end, err := c.begin(ctx)
	if err != nil {
		return "", fmt.Errorf("publish to %q: %w", p.Topic, err)
	}
	defer end()
	body, err := p.encode(c.hub.retry)
	if err != nil {
		return "", fmt.Errorf("publish to %q: %w", p.Topic, err)
	}
	r := c.caller().Publish(ctx, call.Message{Topic: p.Topic, Body: body})
	if r.Err != nil {
		return "", fmt.Errorf("publish to %q: %w", p.Topic, publicError(r.Err))
	}
	return Position(r.Position), nil
}

// encode returns the message as the server takes it. If keyed is set, a message without a
// key gets a random one.
func (p *Publication) encode(keyed bool) ([]byte, error) {
	key := p.Key
	if key == "" && keyed {
		key = rand.Text()
	}
	return call.Body{Topic: p.Topic, Data: p.Data, JSON: p.JSON, Key: key, Exclude: p.Exclude}.Encode()
}

// PublishAll publishes messages with few requests, and returns the results in the same
// order. A refused message does not stop the others. The server publishes the messages in
// order, but one that has to be sent again may come after later ones. If the order matters,
// call Publish for each.
func (c *Client) PublishAll(ctx context.Context, messages []Publication) []Result {
	results := make([]Result, len(messages))
	ctx, end, err := c.begin(ctx)
	if err == nil {
		defer end()
	}
	var good []call.Message
	var places []int // of the good messages in results
	for at, m := range messages {
		body, failure := []byte(nil), err
		if failure == nil {
			body, failure = m.encode(c.hub.retry)
		}
		if failure != nil {
			results[at].Err = fmt.Errorf("publish to %q: %w", m.Topic, failure)
			continue
		}
		good = append(good, call.Message{Topic: m.Topic, Body: body})
		places = append(places, at)
	}
	for i, r := range c.caller().PublishAll(ctx, good) {
		at := places[i]
		if results[at].Position = Position(r.Position); r.Err != nil {
			results[at].Err = fmt.Errorf("publish to %q: %w", messages[at].Topic, publicError(r.Err))
		}
	}
	return results
}
