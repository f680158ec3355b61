package client

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"
	"unicode/utf8"

	"github.com/ikornaselur/notiflux/internal/pubsub"
)

const (
	// maxBatch is how many messages a server takes at once.
	maxBatch = 1000
	// maxBatchBytes is how many bytes a server takes at once that is not set to less.
	maxBatchBytes = 1 << 20
)

// A Broadcast is a message to be published.
type Broadcast struct {
	Topic pubsub.Topic
	// Message is any value that encoding/json encodes; []byte is JSON already.
	Message any
	// Key makes it harmless to publish the same message again: within two minutes
	// the server publishes it once, and answers with the first position. A program
	// that repeats a broadcast itself, as after a restart, gives a key of its own;
	// empty: a random one, so that the retries of one call publish once; with
	// [Options.NoRetry] none.
	Key string
	// Exclude names a connection that does not get the message, as
	// [Client.Connection] or a browser's client knows it; empty: all get it.
	Exclude string
}

// A Result is what became of one of several broadcasts.
type Result struct {
	Position pubsub.Position // if Err is nil
	Err      error           // as that of Broadcast
}

// Broadcast publishes a message, and returns its position once it is ordered.
//
// It tries again as [Caller] says, but not longer than the server knows the key:
// when for two minutes nothing tells whether the message was published, the error
// is a [*pubsub.Error] with the code outcome_unknown. So is it in doubt when ctx
// ends first; without an error the message is published once. With [Options.NoRetry]
// any error but a refusal leaves it in doubt.
func (c *Caller) Broadcast(ctx context.Context, b Broadcast) (pubsub.Position, error) {
	fail := func(err error) (pubsub.Position, error) {
		return pubsub.Position{}, fmt.Errorf("broadcast to %q: %w", b.Topic, err)
	}
	body, err := b.encode(c.tries)
	if err != nil {
		return fail(err)
	}
	answer, err := c.ask(ctx, request{method: http.MethodPost, path: "broadcast", body: body})
	if err != nil {
		return fail(err)
	}
	var a broadcastAnswer
	if err := json.Unmarshal(answer, &a); err != nil {
		return fail(errProtocol)
	}
	r := a.result()
	if r.Err != nil {
		return fail(r.Err)
	}
	return r.Position, nil
}

// broadcastAnswer is what a server says of one message.
type broadcastAnswer struct {
	Position string `json:"position"`
	Error    *struct {
		Code    pubsub.Code `json:"code"`
		Message string      `json:"message"`
	} `json:"error"`
}

// result returns what the answer means.
func (a *broadcastAnswer) result() Result {
	if a.Error != nil {
		return Result{Err: fmt.Errorf("%s: %w", a.Error.Code, &pubsub.Error{Code: a.Error.Code, Detail: a.Error.Message})}
	}
	position, err := pubsub.ParsePosition(a.Position)
	if err != nil {
		return Result{Err: errProtocol}
	}
	return Result{Position: position}
}

// encode returns the object that the server takes. Without a key of its own the
// message gets a random one, if keyed.
func (b *Broadcast) encode(keyed bool) ([]byte, error) {
	if _, err := pubsub.ParseTopic(string(b.Topic)); err != nil {
		return nil, err
	}
	message, err := encodeMessage(b.Message)
	if err != nil {
		return nil, err
	}
	key := b.Key
	if key == "" && keyed {
		key = rand.Text()
	}
	return encodeJSON(struct {
		Topic   pubsub.Topic    `json:"topic"`
		Message json.RawMessage `json:"message"`
		Key     string          `json:"key,omitempty"`
		Exclude string          `json:"exclude,omitempty"`
	}{b.Topic, message, key, b.Exclude})
}

// errNotUTF8 is why a string is no message: encoding/json would replace what is
// not UTF-8.
var errNotUTF8 = errors.New("the message is not UTF-8")

func encodeMessage(message any) (json.RawMessage, error) {
	switch m := message.(type) {
	case []byte:
		if !json.Valid(m) {
			return nil, errors.New("the message is no JSON")
		}
		return m, nil
	case string:
		if !utf8.ValidString(m) {
			return nil, errNotUTF8
		}
	}
	return encodeJSON(message)
}

func encodeJSON(v any) ([]byte, error) {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}

// BroadcastAll publishes messages with as few requests as can be, and returns what
// became of each, in their order. One that is refused stops no other. Messages are
// published in the order given, save those that are tried again, as Broadcast
// does, when others have succeeded: who needs them in order waits for each.
func (c *Caller) BroadcastAll(ctx context.Context, messages []Broadcast) []Result {
	results := make([]Result, len(messages))
	var next batch
	for at := range messages {
		body, err := messages[at].encode(c.tries)
		if err != nil {
			results[at].Err = err
			continue
		}
		if !next.fits(body) {
			c.broadcastBatch(ctx, next, results)
			next = batch{}
		}
		next.add(at, body)
	}
	c.broadcastBatch(ctx, next, results)
	for at := range results {
		if err := results[at].Err; err != nil {
			results[at].Err = fmt.Errorf("broadcast to %q: %w", messages[at].Topic, err)
		}
	}
	return results
}

// A batch is messages that go together.
type batch struct {
	at     []int // their places among the results
	bodies [][]byte
	bytes  int
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

// broadcastBatch publishes what b holds, and tries again what failed for now.
func (c *Caller) broadcastBatch(ctx context.Context, b batch, results []Result) {
	tries := retries{caller: c}
	for len(b.at) > 0 {
		var left batch
		err := c.broadcastOnce(ctx, b, results, &tries)
		if len(b.at) > 1 && refusesWhole(err) {
			first, second := b.halves()
			c.broadcastBatch(ctx, first, results)
			c.broadcastBatch(ctx, second, results)
			return
		}
		for i, at := range b.at {
			if failure := results[at].Err; failure != nil && (err != nil || retryable(failure) || tries.mayRenew(failure)) {
				left.add(at, b.bodies[i])
			}
		}
		if b = left; len(b.at) == 0 {
			return
		}
		if err == nil {
			err = worst(b, results, &tries)
		}
		if err := tries.next(ctx, err); err != nil {
			for _, at := range b.at {
				results[at].Err = err
			}
			return
		}
	}
}

// refusesWhole reports whether a server that answers with err may take a part of the
// messages: it is set to take less at once, or one of them is JSON for encoding/json
// but not for it, as with a member that is there twice.
func refusesWhole(err error) bool {
	e, ok := errors.AsType[*StatusError](err)
	return ok && (e.Status == http.StatusRequestEntityTooLarge || e.Err != nil && e.Err.Code == pubsub.Malformed)
}

// worst returns the failure of a batch that says most about when to go on: that a
// token is to be renewed.
func worst(b batch, results []Result, t *retries) error {
	for _, at := range b.at {
		if t.mayRenew(results[at].Err) {
			return results[at].Err
		}
	}
	return results[b.at[0]].Err
}

// broadcastOnce publishes what b holds once. Its error is that of all of them.
func (c *Caller) broadcastOnce(ctx context.Context, b batch, results []Result, t *retries) error {
	body := append(append([]byte{'['}, bytes.Join(b.bodies, []byte{','})...), ']')
	began := time.Now()
	answer, err := c.once(ctx, request{method: http.MethodPost, path: "broadcast", body: body}, t)
	var answers []broadcastAnswer
	if err == nil && (json.Unmarshal(answer, &answers) != nil || len(answers) != len(b.at)) {
		err = errProtocol
	}
	for i, at := range b.at {
		if err != nil {
			results[at].Err = err
			continue
		}
		results[at] = answers[i].result()
		if e := answers[i].Error; t.doubt.IsZero() && e != nil && e.Code == pubsub.OutcomeUnknown {
			t.doubt = began
		}
	}
	return err
}
