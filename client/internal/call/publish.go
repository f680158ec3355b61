package call

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/ikornaselur/notiflux/client/internal/rest"
	"github.com/ikornaselur/notiflux/client/internal/tokens"
	"github.com/ikornaselur/notiflux/client/internal/wire"
)

// A Message is a message to publish.
type Message struct {
	Topic string
	Body  []byte // the object for the server
}

// A Result is the outcome for one message.
type Result struct {
	Position string // if Err is nil
	Err      error
}

// An answer is what a server says about one message.
type answer struct {
	Position string `json:"position"`
	Error    *struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
}

func (a *answer) result() Result {
	if a.Error != nil {
		return Result{Err: &wire.Status{Code: a.Error.Code, Message: a.Error.Message}}
	}
	if _, err := wire.ParsePosition(a.Position); err != nil {
		return Result{Err: wire.ErrProtocol}
	}
	return Result{Position: a.Position}
}

// Publish publishes one message.
func (c *Caller) Publish(ctx context.Context, m Message) Result {
	body, err := c.Ask(ctx, tokens.Broadcast, m.Topic, rest.Request{Method: http.MethodPost, Path: "broadcast", Body: m.Body})
	if err != nil {
		return Result{Err: err}
	}
	var a answer
	if err := json.Unmarshal(body, &a); err != nil {
		return Result{Err: wire.ErrProtocol}
	}
	return a.result()
}

// PublishAll publishes messages in as few requests as their sizes and tokens allow. It sends
// them in order, but one that has to be sent again may come after later ones.
func (c *Caller) PublishAll(ctx context.Context, messages []Message) []Result {
	p := &publishing{messages: messages, results: make([]Result, len(messages))}
	var next Batch
	for at, m := range messages {
		token, _ := c.Tokens.Cached(tokens.Broadcast, m.Topic)
		if !next.Fits(m.Body) || token != next.Token {
			p.publish(ctx, c.begin(), next)
			next = Batch{}
		}
		next.Token = token
		next.Add(at, m.Body)
	}
	p.publish(ctx, c.begin(), next)
	return p.results
}

// A publishing is one call of PublishAll.
type publishing struct {
	messages []Message
	results  []Result // of messages
}

// begin returns a call that publishes a batch.
func (c *Caller) begin() *call { return &call{Caller: c, scope: tokens.Broadcast} }

// topicsOf returns the topics of the messages of a batch, each once.
func (p *publishing) topicsOf(b *Batch) (topics []string) {
	seen := map[string]bool{}
	for _, at := range b.At {
		if topic := p.messages[at].Topic; !seen[topic] {
			seen[topic] = true
			topics = append(topics, topic)
		}
	}
	return topics
}

// publish publishes the messages of b, and again those that may succeed later.
func (p *publishing) publish(ctx context.Context, c *call, b Batch) {
	for len(b.At) > 0 {
		c.topics = p.topicsOf(&b)
		doubtful := !c.doubt.IsZero()
		err := p.publishOnce(ctx, c, b)
		if len(b.At) > 1 && refusesWhole(err) {
			first, second := b.Halves()
			p.publish(ctx, c.part(), first)
			p.publish(ctx, c.part(), second)
			return
		}
		var left, sure, denied Batch
		for i, at := range b.At {
			failure := p.results[at].Err
			code := codeOf(failure)
			switch {
			case failure == nil:
			case err == nil && wire.Extensible(code) && c.mayHelp(code):
				denied.Add(at, b.Bodies[i])
			case err == nil && !retryable(failure) && !c.mayHelp(code):
				if doubtful {
					p.results[at].Err = c.doubtful(failure)
				}
			case err == nil && !doubtful && code != wire.OutcomeUnknown:
				sure.Add(at, b.Bodies[i])
			default:
				left.Add(at, b.Bodies[i])
			}
		}
		if len(denied.At) > 0 {
			other := c.part()
			other.extended = true
			other.Tokens.Extend(c.scope, p.topicsOf(&denied), codeOf(p.results[denied.At[0]].Err))
			p.publish(ctx, other, denied)
		}
		if len(left.At) > 0 && len(sure.At) > 0 {
			// Only those in left are in doubt. They come first, while the server knows their keys.
			other := c.part()
			other.doubt = time.Time{}
			p.publishAgain(ctx, c, left, nil)
			p.publishAgain(ctx, other, sure, nil)
			return
		}
		if len(left.At) == 0 {
			left = sure
		}
		if b = left; len(b.At) == 0 || !p.wait(ctx, c, b, err) {
			return
		}
	}
}

// publishAgain publishes the messages of b when it is time for the next attempt.
func (p *publishing) publishAgain(ctx context.Context, c *call, b Batch, err error) {
	if p.wait(ctx, c, b, err) {
		p.publish(ctx, c, b)
	}
}

// wait waits until it is time for the next attempt to publish b after err; nil: after the
// failures of its messages. It reports false if there must be none, and sets the results.
func (p *publishing) wait(ctx context.Context, c *call, b Batch, err error) bool {
	each := err == nil
	if each {
		err = p.worst(c, b)
	}
	if err = c.next(ctx, err); err == nil {
		return true
	}
	stopped, _ := errors.AsType[*Stopped](err)
	for _, at := range b.At {
		result := &p.results[at]
		switch {
		case !each:
			result.Err = err
		case stopped != nil:
			result.Err = &Stopped{stopped.Cause, result.Err}
		}
	}
	return false
}

// part returns a call for a part of the messages of c.
func (c *call) part() *call {
	return &call{Caller: c.Caller, scope: c.scope, doubt: c.doubt, last: c.last}
}

// refusesWhole reports whether a server that refuses a request with err may accept a part of
// it: the request is too large for its settings, or one message is JSON that encoding/json
// accepts but the server does not, like an object with a duplicate name.
func refusesWhole(err error) bool {
	e, ok := errors.AsType[*wire.Status](err)
	return ok && (e.Status == http.StatusRequestEntityTooLarge || e.Code == wire.Malformed)
}

// worst returns the failure of a batch that decides when to retry: one that needs a new
// token, else the first.
func (p *publishing) worst(c *call, b Batch) error {
	for _, at := range b.At {
		if c.mayHelp(codeOf(p.results[at].Err)) {
			return p.results[at].Err
		}
	}
	return p.results[b.At[0]].Err
}

// publishOnce sends b once and sets its results. An error is that of all messages.
func (p *publishing) publishOnce(ctx context.Context, c *call, b Batch) error {
	began := time.Now()
	body, err := c.once(ctx, rest.Request{Method: http.MethodPost, Path: "broadcast", Body: b.JSON()})
	var answers []answer
	if err == nil && (json.Unmarshal(body, &answers) != nil || len(answers) != len(b.At)) {
		err = wire.ErrProtocol
	}
	for i, at := range b.At {
		if err != nil {
			p.results[at].Err = err
			continue
		}
		p.results[at] = answers[i].result()
		if failure := p.results[at].Err; codeOf(failure) == wire.OutcomeUnknown {
			c.last = failure
			if c.doubt.IsZero() {
				c.doubt = began
			}
		}
	}
	return err
}
