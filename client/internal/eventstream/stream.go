package eventstream

import (
	"context"
	"encoding/json"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/ikornaselur/notiflux/client/internal/rest"
	"github.com/ikornaselur/notiflux/client/internal/wire"
)

const (
	// answerTimeout is above a slow network's answer and below a person's patience.
	answerTimeout = 10 * time.Second
	// streamPing is how often a server sends a comment.
	streamPing = 15 * time.Second
	// maxSilence is two pings, and what a slow network may delay one.
	maxSilence = 2*streamPing + 10*time.Second
)

// A stream is one event stream, or the next one if topics of it were refused.
type stream struct {
	// Immutable.
	conn    *Conn
	token   string
	reading context.Context // not a caller's: ends with the stream
	cut     context.CancelCauseFunc
	silence *time.Timer   // ends reading
	done    chan struct{} // closed when the stream has ended

	topics []*topic // guarded by Conn.mu; those that the server ended are removed
}

// start runs a stream. Conn.mu is held.
func (c *Conn) start(topics []*topic) *stream {
	st := &stream{conn: c, token: topics[0].token, topics: topics, done: make(chan struct{})}
	st.reading, st.cut = context.WithCancelCause(c.reading)
	st.silence = time.AfterFunc(answerTimeout, func() { st.cut(errSilent) })
	c.running.Go(func() {
		defer close(st.done)
		defer st.silence.Stop()
		if err := st.run(); err != nil && context.Cause(st.reading) != errReplaced {
			c.cut(err)
		}
		st.cut(nil)
	})
	return st
}

func (st *stream) heard() { st.silence.Reset(maxSilence) }

// run follows the stream until it ends, and returns why the connection is to end with it;
// nil: all its topics were refused.
func (st *stream) run() error {
	for {
		st.conn.mu.Lock()
		held := st.conn.heldLocked(st.topics)
		query := queryOf(held)
		st.conn.mu.Unlock()
		if len(held) == 0 {
			return nil
		}
		err := st.follow(held, query)
		if cause := context.Cause(st.reading); cause != nil {
			return cause
		}
		if err != nil {
			return err
		}
	}
}

// follow opens the stream and passes on what it brings. A nil error means that topics
// were refused, and that the others are to be asked for again.
func (st *stream) follow(topics []*topic, query url.Values) error {
	response, err := st.get("events", query)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	media, _, _ := mime.ParseMediaType(response.Header.Get("Content-Type"))
	if response.StatusCode != http.StatusOK || media != "text/event-stream" {
		return st.refused(topics, wire.StatusOf(response))
	}
	events := NewReader(response.Body, st.heard)
	hello, err := next(events)
	if err != nil {
		return err
	}
	if err := st.hello(topics, hello); err != nil {
		return err
	}
	for {
		f, err := next(events)
		if err != nil {
			return err
		}
		if f.Type == "bye" {
			return &wire.Close{Bye: f.Code, After: time.Duration(f.After) * time.Millisecond}
		}
		st.pass(f)
	}
}

func next(events *Reader) (*wire.Frame, error) {
	data, err := events.Next()
	if err != nil {
		return nil, err
	}
	return wire.ParseFrame(data)
}

// get makes a request with the token of the stream.
func (st *stream) get(path string, query url.Values) (*http.Response, error) {
	return st.conn.server.Send(st.reading, rest.Request{Method: http.MethodGet, Path: path, Query: query}, st.token)
}

// hello takes the first event, which is the answer for all topics.
func (st *stream) hello(topics []*topic, f *wire.Frame) error {
	all := f.Answers()
	if f.Type != "hello" || all == nil {
		return wire.ErrProtocol
	}
	var ids []int64
	fresh := map[int64]map[string]wire.Answer{} // by command
	for _, t := range topics {
		a, ok := all[t.name]
		p, err := wire.ParsePosition(a.Position)
		switch {
		case !ok || err != nil:
			return wire.ErrProtocol
		case !t.live:
			if fresh[t.id] == nil {
				fresh[t.id] = map[string]wire.Answer{}
				ids = append(ids, t.id)
			}
			fresh[t.id][t.name] = a
		case !a.Recovered || p != t.position:
			st.forward(&wire.Frame{Type: "expired", Topic: t.name, Position: a.Position}, p, t)
		}
	}
	for _, id := range ids {
		encoded, err := json.Marshal(fresh[id])
		if err != nil || !st.conn.send(st.reading, &wire.Frame{Type: "subscribed", ID: id, Topics: encoded}) {
			return err
		}
		st.conn.mu.Lock()
		for _, t := range topics {
			if a, ok := fresh[id][t.name]; ok {
				t.live = true
				t.position, _ = wire.ParsePosition(a.Position) // it is one
			}
		}
		st.conn.mu.Unlock()
	}
	return nil
}

// pass passes a frame on, if it is about topics of the stream.
func (st *stream) pass(f *wire.Frame) {
	switch f.Type {
	case "message", "gap":
		st.move(f, f.Position)
	case "skipped":
		st.move(f, f.To)
	case "unsubscribed":
		if st.conn.send(st.reading, f) {
			st.drop(f.Ended())
		}
	}
}

func (st *stream) move(f *wire.Frame, to string) {
	st.conn.mu.Lock()
	t := st.conn.topics[f.Topic]
	mine := t != nil && slices.Contains(st.topics, t)
	st.conn.mu.Unlock()
	// A position that is malformed is for the user to complain about.
	if p, err := wire.ParsePosition(to); mine && err == nil {
		st.forward(f, p, t)
	}
}

// forward passes on a frame after which a topic is at a position.
func (st *stream) forward(f *wire.Frame, p wire.Position, t *topic) {
	if st.conn.send(st.reading, f) {
		st.conn.mu.Lock()
		defer st.conn.mu.Unlock()
		t.position = p
	}
}

// drop forgets topics that the server has refused or ended.
func (st *stream) drop(names []string) {
	c := st.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	st.topics = slices.DeleteFunc(st.topics, func(t *topic) bool {
		ended := slices.Contains(names, t.name)
		if ended && c.topics[t.name] == t {
			delete(c.topics, t.name)
		}
		return ended
	})
}

// refused takes the answer in place of a stream. A server refuses all topics of a
// stream for one, so each is asked about on its own.
func (st *stream) refused(topics []*topic, e *wire.Status) error {
	switch {
	case e.Code == "":
		return e
	case e.Status == http.StatusForbidden && len(topics) > 1:
		refused, err := st.refusedEach(topics)
		if refused || err != nil {
			return err
		}
	case e.Status == http.StatusBadRequest, e.Status == http.StatusUnauthorized, e.Status == http.StatusForbidden:
	default:
		return e
	}
	st.refuse(topics, e)
	return nil
}

// refusedEach asks about each topic, and reports whether one was refused.
func (st *stream) refusedEach(topics []*topic) (refused bool, _ error) {
	for _, t := range topics {
		response, err := st.get("history", url.Values{"topic": {t.name}, "limit": {"0"}})
		if err != nil {
			return false, err
		}
		e := wire.StatusOf(response)
		response.Body.Close()
		switch {
		case e.Status == http.StatusOK:
		case e.Code != "" && e.Status == http.StatusForbidden:
			refused = true
			st.refuse([]*topic{t}, e)
		case e.Code != "" && e.Status == http.StatusUnauthorized:
			st.refuse(topics, e)
			return true, nil
		default:
			return false, e
		}
		st.heard()
	}
	return refused, nil
}

// refuse refuses topics: those that are live have ended, the others get their answer.
func (st *stream) refuse(topics []*topic, e *wire.Status) {
	answers := map[int64][]string{} // by command
	for _, t := range topics {
		id := t.id
		if t.live {
			id = 0
		}
		answers[id] = append(answers[id], t.name)
	}
	for _, id := range slices.Sorted(maps.Keys(answers)) {
		names := answers[id]
		f := refusal(id, names, wire.Refusal{Code: e.Code, Message: e.Message})
		if id == 0 {
			encoded, _ := json.Marshal(names) // a list of strings
			f = &wire.Frame{Type: "unsubscribed", Topics: encoded, Code: e.Code, Message: e.Message}
		}
		if !st.conn.send(st.reading, f) {
			return
		}
		st.drop(names)
	}
}
