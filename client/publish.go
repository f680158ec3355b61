package client

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/ikornaselur/notiflux/client/internal/rest"
	"github.com/ikornaselur/notiflux/client/internal/tokens"
	"github.com/ikornaselur/notiflux/client/internal/wire"
)

const (
	// maxBatch is how many messages a server takes at once.
	maxBatch = 1000
	// maxBatchBytes is how many bytes a server takes at once that is not set to less.
	maxBatchBytes = 1 << 20
)

// A Publication is a message to publish.
type Publication struct {
	Topic string
	Data  []byte // published as a string: it must be UTF-8
	JSON  any    // if Data is nil: published as the JSON that encoding/json makes of it, null if it is nil
	// Key makes it harmless to publish the message again: for two minutes the server
	// answers with the first position instead. Set it if the program itself publishes
	// again, as after a restart. Empty: a random one, so that the retries of one call
	// publish once; with [Options.NoRetry] none.
	Key string
	// Exclude names a connection that does not get the message, as
	// [Subscription.Connection] or a browser's client knows it; empty: all get it.
	Exclude string
}

// A Result is what became of one of several publications.
type Result struct {
	Position Position // if Err is nil
	Err      error    // as that of Publish
}

// Publish publishes message, which must be UTF-8, as a string. It returns its position.
// After a nil error the message is published exactly once.
//
// Publish does not retry for longer than the server knows the key of the message. When
// for two minutes nothing tells whether the message was published, the error is an
// [*Error] with the code outcome_unknown. The outcome is also unknown when ctx ends
// first and, with [Options.NoRetry], after any error but a refusal.
func (c *Client) Publish(ctx context.Context, topic string, message []byte) (Position, error) {
	return c.publish(ctx, Publication{Topic: topic, Data: append([]byte{}, message...)})
}

// PublishJSON is Publish for a value that encoding/json encodes.
func (c *Client) PublishJSON(ctx context.Context, topic string, value any) (Position, error) {
	return c.publish(ctx, Publication{Topic: topic, JSON: value})
}

func (c *Client) publish(ctx context.Context, p Publication) (Position, error) {
	var r Result
	body, err := p.encode(c.hub.retry)
	if err == nil {
		body, err = c.ask(ctx, tokens.Broadcast, p.Topic, rest.Request{Method: http.MethodPost, Path: "broadcast", Body: body})
	}
	if r.Err = err; err == nil {
		var a publishAnswer
		if json.Unmarshal(body, &a) != nil {
			a = publishAnswer{}
		}
		r = a.result()
	}
	if r.Err != nil {
		return "", fmt.Errorf("publish to %q: %w", p.Topic, r.Err)
	}
	return r.Position, nil
}

// publishAnswer is what a server says of one message.
type publishAnswer struct {
	Position string `json:"position"`
	Error    *struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
}

func (a *publishAnswer) result() Result {
	if a.Error != nil {
		return Result{Err: &Error{Code: a.Error.Code, Message: a.Error.Message}}
	}
	if _, err := wire.ParsePosition(a.Position); err != nil {
		return Result{Err: wire.ErrProtocol}
	}
	return Result{Position: Position(a.Position)}
}

// encode returns the object that the server takes. Without a key of its own the
// message gets a random one, if keyed.
func (p *Publication) encode(keyed bool) ([]byte, error) {
	if err := wire.CheckTopic(p.Topic); err != nil {
		return nil, err
	}
	message := p.JSON
	if p.Data != nil {
		if !utf8.Valid(p.Data) {
			return nil, errNotUTF8 // encoding/json would replace what is not UTF-8
		}
		message = string(p.Data)
	}
	key := p.Key
	if key == "" && keyed {
		key = rand.Text()
	}
	return wire.Encode(struct {
		Topic   string `json:"topic"`
		Message any    `json:"message"`
		Key     string `json:"key,omitempty"`
		Exclude string `json:"exclude,omitempty"`
	}{p.Topic, message, key, p.Exclude})
}

var errNotUTF8 = errors.New("the message is not UTF-8")

// PublishAll publishes messages with few requests, and returns what became of each, in
// their order. A message that is refused stops no other. They are published in the order
// given, except the ones that are retried after others have succeeded; to be sure of the
// order, wait for each Publish.
func (c *Client) PublishAll(ctx context.Context, messages []Publication) []Result {
	results := make([]Result, len(messages))
	all, ctx, cancel, err := c.begin(ctx, tokens.Broadcast)
	if err != nil {
		for at := range results {
			results[at].Err = err
		}
		return results
	}
	defer cancel()
	var next batch
	for at := range messages {
		body, err := messages[at].encode(c.hub.retry)
		if err != nil {
			results[at].Err = err
			continue
		}
		token, _ := c.tokens.Cached(tokens.Broadcast, messages[at].Topic)
		if !next.fits(body) || token != next.token {
			all.again().publishBatch(ctx, next, messages, results)
			next = batch{}
		}
		next.token = token
		next.add(at, body)
	}
	all.again().publishBatch(ctx, next, messages, results)
	for at := range results {
		if err := results[at].Err; err != nil {
			results[at].Err = fmt.Errorf("publish to %q: %w", messages[at].Topic, err)
		}
	}
	return results
}

// A batch is messages that go together.
type batch struct {
	at     []int // their places among the results
	bodies [][]byte
	bytes  int
	token  string // the one that the client has for all of them
}

// topics returns the topics of the messages, each once.
func (b *batch) topics(messages []Publication) (topics []string) {
	seen := map[string]bool{}
	for _, at := range b.at {
		if topic := messages[at].Topic; !seen[topic] {
			seen[topic] = true
			topics = append(topics, topic)
		}
	}
	return topics
}

func (b *batch) fits(body []byte) bool {
	return len(b.at) == 0 || len(b.at) < maxBatch && b.bytes+len(body) < maxBatchBytes-len("[]")
}

func (b *batch) add(at int, body []byte) {
	b.at, b.bodies = append(b.at, at), append(b.bodies, body)
	b.bytes += len(body) + len(",")
}

func (b *batch) halves() (first, second batch) {
	for i, at := range b.at {
		half := &first
		if i >= len(b.at)/2 {
			half = &second
		}
		half.add(at, b.bodies[i])
	}
	return first, second
}

// publishBatch publishes what b holds, and tries again what failed for now.
func (c *call) publishBatch(ctx context.Context, b batch, messages []Publication, results []Result) {
	for len(b.at) > 0 {
		c.topics = b.topics(messages)
		err := c.publishOnce(ctx, b, results)
		if len(b.at) > 1 && refusesWhole(err) {
			first, second := b.halves()
			c.again().publishBatch(ctx, first, messages, results)
			c.again().publishBatch(ctx, second, messages, results)
			return
		}
		var left, denied batch
		for i, at := range b.at {
			failure := results[at].Err
			switch {
			case failure == nil:
			case err == nil && wire.Extensible(codeOf(failure)) && c.mayHelp(codeOf(failure)):
				denied.add(at, b.bodies[i])
			case err != nil || retryable(failure) || c.mayHelp(codeOf(failure)):
				left.add(at, b.bodies[i])
			}
		}
		if len(denied.at) > 0 {
			other := c.again()
			other.extended = true
			other.client.tokens.Extend(c.scope, denied.topics(messages), codeOf(results[denied.at[0]].Err))
			other.publishBatch(ctx, denied, messages, results)
		}
		if b = left; len(b.at) == 0 {
			return
		}
		if err == nil {
			err = c.worst(b, results)
		}
		if err := c.next(ctx, err); err != nil {
			for _, at := range b.at {
				results[at].Err = err
			}
			return
		}
	}
}

// again returns a new call for a part of the messages.
func (c *call) again() *call { return &call{client: c.client, scope: c.scope, doubt: c.doubt} }

// refusesWhole reports whether a server that answers with err may take a part of the
// messages: it is set to take less at once, or one of them is JSON for encoding/json
// but not for it, as with a member that is there twice.
func refusesWhole(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && (e.Status == http.StatusRequestEntityTooLarge || e.Code == wire.Malformed)
}

// worst returns the failure of a batch that says most about when to try again: that a
// token is to be renewed.
func (c *call) worst(b batch, results []Result) error {
	for _, at := range b.at {
		if c.mayHelp(codeOf(results[at].Err)) {
			return results[at].Err
		}
	}
	return results[b.at[0]].Err
}

// publishOnce publishes what b holds once. Its error is that of all of them.
func (c *call) publishOnce(ctx context.Context, b batch, results []Result) error {
	body := slices.Concat([]byte{'['}, bytes.Join(b.bodies, []byte{','}), []byte{']'})
	began := time.Now()
	answer, err := c.once(ctx, rest.Request{Method: http.MethodPost, Path: "broadcast", Body: body})
	var answers []publishAnswer
	if err == nil && (json.Unmarshal(answer, &answers) != nil || len(answers) != len(b.at)) {
		err = wire.ErrProtocol
	}
	for i, at := range b.at {
		if err != nil {
			results[at].Err = err
			continue
		}
		results[at] = answers[i].result()
		if c.doubt.IsZero() && codeOf(results[at].Err) == wire.OutcomeUnknown {
			c.doubt = began
		}
	}
	return err
}
