package eventstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
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
	// maxSilence is two pings and the delay of a slow network.
	maxSilence = 2*streamPing + 10*time.Second
	// maxAgain is how often in a row a stream is requested again because the epoch of
	// its cursor has ended. Once is enough, unless the server restarts just then.
	maxAgain = 3
)

// errEpochs ends a connection to a server whose epochs keep changing.
var errEpochs = errors.New("several times in a row, the server no longer knew the position to resume from, as if it kept restarting")

// A stream is one event stream. When the server refuses some of its topics, it requests the
// others again.
type stream struct {
	// Immutable.
	conn    *Conn
	token   string
	reading context.Context         // ends with the stream; its cause is why
	cut     context.CancelCauseFunc // ends reading
	silence *time.Timer             // ends reading, unless the server is heard
	done    chan struct{}           // closed when the goroutine has ended

	again int // how often in a row the topics had to be requested again; owned by run

	topics []*topic // without those that the server refused or ended; guarded by Conn.mu
}

// startLocked starts the goroutine of a stream. An error of the stream ends the connection.
func (c *Conn) startLocked(topics []*topic) *stream {
	st := &stream{conn: c, token: topics[0].token, topics: topics, done: make(chan struct{})}
	st.reading, st.cut = context.WithCancelCause(c.reading)
	st.silence = time.AfterFunc(answerTimeout, func() { st.cut(errSilent) })
	c.running.Go(func() {
		defer close(st.done)
		err := st.run()
		st.silence.Stop()
		if cause := context.Cause(st.reading); cause != nil {
			err = cause // it made reading fail
		}
		if err != nil && err != errReplaced {
			c.cut(err)
		}
		st.cut(nil)
	})
	return st
}

// heard postpones the end of a stream on which the server is silent.
func (st *stream) heard() { st.silence.Reset(maxSilence) }

// run follows the stream until it ends, and returns why. A nil error means that no topic is
// left.
func (st *stream) run() error {
	for {
		if st.again > maxAgain {
			return errEpochs
		}
		st.conn.mu.Lock()
		held := st.conn.heldLocked(st.topics)
		st.conn.mu.Unlock()
		if len(held) == 0 {
			return nil
		}
		if err := st.follow(held); err != nil || st.reading.Err() != nil {
			return err
		}
	}
}

// follow requests the stream of topics and passes on its events. A nil error means that
// the topics that are left are to be requested again.
func (st *stream) follow(topics []*topic) error {
	query, epoch := queryOf(topics)
	st.silence.Reset(answerTimeout)
	response, err := st.conn.server.Send(st.reading, rest.Request{Method: http.MethodGet, Path: "events", Query: query}, st.token)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	media, _, _ := mime.ParseMediaType(response.Header.Get("Content-Type"))
	if response.StatusCode != http.StatusOK || media != "text/event-stream" {
		err := wire.StatusOf(response)
		if e, ok := err.(*wire.Status); ok {
			err = st.refused(topics, e)
		}
		return err
	}
	events := newReader(response.Body, st.heard)
	hello, err := nextFrame(events)
	if err != nil {
		return err
	}
	if again, err := st.hello(topics, hello, epoch); again || err != nil {
		st.again++
		return err
	}
	st.again = 0
	for left := len(topics); left > 0; {
		f, err := nextFrame(events)
		if err != nil {
			return err
		}
		switch f.Type {
		case "message", "gap":
			st.move(f, f.Position)
		case "skipped":
			st.move(f, f.To)
		case "unsubscribed":
			if st.send(f) {
				left = st.drop(f.Ended())
			}
		case "bye":
			return &wire.Close{Bye: f.Code, After: time.Duration(f.After) * time.Millisecond}
		}
	}
	return nil
}

func nextFrame(events *reader) (*wire.Frame, error) {
	data, err := events.next()
	if err == wire.ErrTooLarge {
		return nil, err
	}
	if err != nil {
		return nil, fmt.Errorf("the event stream broke: %w", err)
	}
	return wire.ParseFrame(data)
}

// hello passes on the first event, which answers for all topics; epoch is that of the
// cursor. It reports whether topics have to be requested again.
func (st *stream) hello(topics []*topic, f *wire.Frame, epoch string) (again bool, _ error) {
	all := f.Answers()
	if f.Type != "hello" || all == nil {
		return false, wire.ErrProtocol
	}
	answers := map[int64]map[string]wire.Answer{} // by command
	for _, t := range topics {
		a, ok := all[t.name]
		p, err := wire.ParsePosition(a.Position)
		switch {
		case !ok || err != nil:
			return false, wire.ErrProtocol
		case t.live && a.Recovered && p == t.position:
			continue
		case t.live:
			st.move(&wire.Frame{Type: wire.Expired, Topic: t.name, Position: a.Position}, a.Position)
			continue
		case t.position.Epoch == "" && !a.Recovered && t.last > 0 && epoch != "" && epoch != p.Epoch:
			// With a cursor of an older epoch, the server sends no earlier messages of
			// any topic. The next cursor has the new epoch.
			again = true
			continue
		}
		a.Recovered = a.Recovered || t.position.Epoch == "" // the topic had nothing to lose
		if answers[t.id] == nil {
			answers[t.id] = map[string]wire.Answer{}
		}
		answers[t.id][t.name] = a
	}
	for _, id := range slices.Sorted(maps.Keys(answers)) {
		encoded, err := json.Marshal(answers[id])
		if err != nil {
			return false, err
		}
		if st.send(&wire.Frame{Type: "subscribed", ID: id, Topics: encoded}) {
			st.conn.mu.Lock()
			for _, t := range topics {
				if a, ok := answers[id][t.name]; ok {
					t.live = true
					t.position, _ = wire.ParsePosition(a.Position) // it was parsed above
				}
			}
			st.conn.mu.Unlock()
		}
	}
	return again, nil
}

// send hands a frame to Read, and reports whether Read has it. The server is not silent
// while it waits for Read.
func (st *stream) send(f *wire.Frame) bool {
	st.silence.Stop()
	defer st.heard()
	return st.conn.send(st.reading, f)
}

// move passes on a frame after which its topic is at a position. If the position is
// malformed, the topic stays where it is.
func (st *stream) move(f *wire.Frame, to string) {
	c := st.conn
	c.mu.Lock()
	t := c.topics[f.Topic]
	mine := t != nil && slices.Contains(st.topics, t)
	c.mu.Unlock()
	if !mine || !st.send(f) {
		return
	}
	if p, err := wire.ParsePosition(to); err == nil {
		c.mu.Lock()
		t.position = p
		c.mu.Unlock()
	}
}

// drop forgets topics that the server has refused or ended. It returns how many are left.
func (st *stream) drop(names []string) (left int) {
	c := st.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	st.topics = slices.DeleteFunc(st.topics, func(t *topic) bool {
		gone := slices.Contains(names, t.name)
		if gone && c.topics[t.name] == t {
			delete(c.topics, t.name)
		}
		return gone
	})
	return len(st.topics)
}

// refused handles an answer other than a stream. Because a server refuses a stream as a
// whole if it denies one topic, each topic is then asked about on its own.
func (st *stream) refused(topics []*topic, e *wire.Status) error {
	switch {
	case e.Code == "":
		return e
	case e.Status == http.StatusForbidden && len(topics) > 1:
		if refused, err := st.refusedEach(topics); refused || err != nil {
			return err
		}
	case e.Status == http.StatusBadRequest, e.Status == http.StatusUnauthorized, e.Status == http.StatusForbidden:
	default:
		return e
	}
	st.refuse(topics, e)
	return nil
}

// refusedEach asks about each topic, and reports whether the server refused one.
func (st *stream) refusedEach(topics []*topic) (refused bool, _ error) {
	for at, t := range topics {
		st.silence.Reset(answerTimeout)
		_, err := st.conn.server.Ask(st.reading, rest.Request{
			Method: http.MethodGet, Path: "history", Query: url.Values{"topic": {t.name}, "limit": {"0"}},
		}, st.token)
		e, ok := errors.AsType[*wire.Status](err)
		switch {
		case err == nil:
		case ok && e.Code != "" && e.Status == http.StatusForbidden:
			refused = true
			st.refuse(topics[at:at+1], e)
		case ok && e.Code != "" && e.Status == http.StatusUnauthorized:
			st.refuse(topics[at:], e) // the stream of those before it will be refused as well
			return true, nil
		default:
			return false, err
		}
	}
	return refused, nil
}

// refuse tells Read that the server refuses topics: it ends those that are live, and
// answers the subscribe commands of the others.
func (st *stream) refuse(topics []*topic, e *wire.Status) {
	names := map[int64][]string{} // by command; 0: live
	for _, t := range topics {
		id := t.id
		if t.live {
			id = 0
		}
		names[id] = append(names[id], t.name)
	}
	for _, id := range slices.Sorted(maps.Keys(names)) {
		f := refusal(id, names[id], wire.Refusal{Code: e.Code, Message: e.Message})
		if id == 0 {
			encoded, _ := json.Marshal(names[id]) // strings always encode
			f = &wire.Frame{Type: "unsubscribed", Topics: encoded, Code: e.Code, Message: e.Message}
		}
		if st.send(f) {
			st.drop(names[id])
		}
	}
}
