package client

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"
	"unicode/utf8"

	"github.com/ikornaselur/notiflux/client/internal/rest"
	"github.com/ikornaselur/notiflux/client/internal/tokens"
	"github.com/ikornaselur/notiflux/client/internal/wire"
)

// A Publication is a message to publish.
type Publication struct {
	Topic string
	Data  []byte // published as a string: it must be UTF-8
	JSON  any    // published as JSON if Data is nil; encoding/json encodes it
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
// Publish stops retrying when the server may forget the key of the message. If it is unknown
// by then whether the message was published, the error is an [*Error] with the code
// outcome_unknown. The outcome is also unknown if ctx ends first and, with
// [Options.NoRetry], after every error except a refusal.
func (c *Client) Publish(ctx context.Context, topic string, message []byte) (Position, error) {
	return c.publish(ctx, Publication{Topic: topic, Data: append([]byte{}, message...)})
}

// PublishJSON publishes a value as JSON, as encoding/json encodes it. Else it does what
// Publish does.
func (c *Client) PublishJSON(ctx context.Context, topic string, value any) (Position, error) {
	return c.publish(ctx, Publication{Topic: topic, JSON: value})
}

func (c *Client) publish(ctx context.Context, p Publication) (Position, error) {
	r := c.publishOne(ctx, p)
	if r.Err != nil {
		return "", fmt.Errorf("publish to %q: %w", p.Topic, r.Err)
	}
	return r.Position, nil
}

func (c *Client) publishOne(ctx context.Context, p Publication) Result {
	body, err := p.encode(c.hub.retry)
	if err != nil {
		return Result{Err: err}
	}
	answer, err := c.ask(ctx, tokens.Broadcast, p.Topic, rest.Request{Method: http.MethodPost, Path: "broadcast", Body: body})
	if err != nil {
		return Result{Err: err}
	}
	var a publishAnswer
	if err := json.Unmarshal(answer, &a); err != nil {
		return Result{Err: wire.ErrProtocol}
	}
	return a.result()
}

// publishAnswer is the answer of a server for one message.
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

// encode returns the message as the server takes it. If keyed is set, a message without a
// key gets a random one.
func (p *Publication) encode(keyed bool) ([]byte, error) {
	if err := wire.CheckTopic(p.Topic); err != nil {
		return nil, err
	}
	message := p.JSON
	if p.Data != nil {
		if !utf8.Valid(p.Data) {
			return nil, errNotUTF8 // encoding/json would replace the invalid bytes
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

// PublishAll publishes messages with few requests, and returns the results in the same
// order. A refused message does not stop the others. The server publishes the messages in
// order, but one that needs a retry may come after later ones. If the order matters, call
// Publish for each.
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
	var next rest.Batch
	for at := range messages {
		body, err := messages[at].encode(c.hub.retry)
		if err != nil {
			results[at].Err = err
			continue
		}
		token, _ := c.tokens.Cached(tokens.Broadcast, messages[at].Topic)
		if !next.Fits(body) || token != next.Token {
			all.again().publishBatch(ctx, next, messages, results)
			next = rest.Batch{}
		}
		next.Token = token
		next.Add(at, body)
	}
	all.again().publishBatch(ctx, next, messages, results)
	for at := range results {
		if err := results[at].Err; err != nil {
			results[at].Err = fmt.Errorf("publish to %q: %w", messages[at].Topic, err)
		}
	}
	return results
}

// topicsOf returns the topics of the messages of a batch, each once.
func topicsOf(b *rest.Batch, messages []Publication) (topics []string) {
	seen := map[string]bool{}
	for _, at := range b.At {
		if topic := messages[at].Topic; !seen[topic] {
			seen[topic] = true
			topics = append(topics, topic)
		}
	}
	return topics
}

// publishBatch publishes the messages of b, and retries those that may succeed later.
func (c *call) publishBatch(ctx context.Context, b rest.Batch, messages []Publication, results []Result) {
	for len(b.At) > 0 {
		c.topics = topicsOf(&b, messages)
		err := c.publishOnce(ctx, b, results)
		if len(b.At) > 1 && refusesWhole(err) {
			first, second := b.Halves()
			c.again().publishBatch(ctx, first, messages, results)
			c.again().publishBatch(ctx, second, messages, results)
			return
		}
		var left, denied rest.Batch
		for i, at := range b.At {
			failure := results[at].Err
			switch {
			case failure == nil:
			case err == nil && wire.Extensible(codeOf(failure)) && c.mayHelp(codeOf(failure)):
				denied.Add(at, b.Bodies[i])
			case err != nil || retryable(failure) || c.mayHelp(codeOf(failure)):
				left.Add(at, b.Bodies[i])
			}
		}
		if len(denied.At) > 0 {
			other := c.again()
			other.extended = true
			other.client.tokens.Extend(c.scope, topicsOf(&denied, messages), codeOf(results[denied.At[0]].Err))
			other.publishBatch(ctx, denied, messages, results)
		}
		if b = left; len(b.At) == 0 {
			return
		}
		if err == nil {
			err = c.worst(b, results)
		}
		if err := c.next(ctx, err); err != nil {
			for _, at := range b.At {
				results[at].Err = err
			}
			return
		}
	}
}

// again returns a call for a part of the messages.
func (c *call) again() *call { return &call{client: c.client, scope: c.scope, doubt: c.doubt} }

// refusesWhole reports whether a server that refuses a request with err may accept a part of
// it: the request is too large for its settings, or one message is JSON that encoding/json
// accepts but the server does not, like an object with a duplicate name.
func refusesWhole(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && (e.Status == http.StatusRequestEntityTooLarge || e.Code == wire.Malformed)
}

// worst returns the failure of a batch that decides when to retry: one that needs a new
// token, else the first.
func (c *call) worst(b rest.Batch, results []Result) error {
	for _, at := range b.At {
		if c.mayHelp(codeOf(results[at].Err)) {
			return results[at].Err
		}
	}
	return results[b.At[0]].Err
}

// publishOnce sends b once and sets its results. An error is that of all messages.
func (c *call) publishOnce(ctx context.Context, b rest.Batch, results []Result) error {
	began := time.Now()
	answer, err := c.once(ctx, rest.Request{Method: http.MethodPost, Path: "broadcast", Body: b.JSON()})
	var answers []publishAnswer
	if err == nil && (json.Unmarshal(answer, &answers) != nil || len(answers) != len(b.At)) {
		err = wire.ErrProtocol
	}
	for i, at := range b.At {
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
