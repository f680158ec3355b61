package rawclient

import (
	"fmt"
	"strings"

	"github.com/ikornaselur/notiflux/internal/internaltest/delivery"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// Text is the text protocol over a WebSocket. It has no positions, so there is nothing to record,
// to resume from or to reach.
func Text(r *Reader, c *Conn) error {
	if err := c.Upgrade(""); err != nil {
		return err
	}
	r.Phase = Asking
	for _, topic := range r.Topics {
		if err := c.Say("/subscribe " + string(topic) + " " + r.Token); err != nil {
			return err
		}
	}
	for {
		if _, err := c.Message(); err != nil {
			return err
		}
		r.Phase = Listening
	}
}

// JSON is the JSON protocol over a WebSocket. Sometimes it ends a subscription and makes it
// again.
func JSON(r *Reader, c *Conn) error {
	if err := c.OpenJSON(""); err != nil {
		return err
	}
	r.Phase = Asking
	j := &jsonReader{Reader: r, conn: c}
	if err := j.subscribe(r.Topics); err != nil {
		return err
	}
	for {
		m, err := c.Object()
		if err == nil {
			err = j.take(m)
		}
		if err != nil {
			return err
		}
		if r.done() {
			return c.Quiet()
		}
	}
}

// jsonReader is one connection of the JSON protocol.
type jsonReader struct {
	*Reader
	conn   *Conn
	id     int                           // of the last command
	asked  map[pubsub.Topic]delivery.Ask // by a subscribe that is not answered
	ending pubsub.Topic                  // by an unsubscribe that is not answered
}

func (j *jsonReader) say(command map[string]any) error {
	j.id++
	command["id"] = j.id
	return j.conn.Command(command)
}

func (j *jsonReader) subscribe(topics []pubsub.Topic) error {
	since := make(map[pubsub.Topic]string)
	for _, topic := range topics {
		if p, ok := j.Positions[topic]; ok {
			since[topic] = p.String()
		}
	}
	j.asked = j.ask(topics)
	return j.say(map[string]any{"type": "subscribe", "topics": topics, "since": since, "token": j.Token})
}

func (j *jsonReader) take(m Object) error {
	switch m.Type {
	case "message":
		if err := j.message(m); err != nil {
			return err
		}
		if j.Goal != nil || j.asked != nil || j.ending != "" || j.Random.IntN(20) > 0 {
			return nil
		}
		j.ending = j.Topics[j.Random.IntN(len(j.Topics))]
		return j.say(map[string]any{"type": "unsubscribe", "topics": []pubsub.Topic{j.ending}})
	case "subscribed":
		asks := j.asked
		if j.asked = nil; m.ID != j.id {
			return fmt.Errorf("an answer to %d, not to %d", m.ID, j.id)
		}
		return j.answered(m, asks)
	case "unsubscribed":
		topic := j.ending
		if j.ending = ""; m.ID != j.id || topic == "" || string(m.Topics) != fmt.Sprintf("[%q]", topic) {
			return fmt.Errorf("unsubscribed %s by %d; want %q by %d", m.Topics, m.ID, topic, j.id)
		}
		j.Recording.Add(delivery.Event{Kind: delivery.Unsubscribed, Topic: topic})
		return j.subscribe([]pubsub.Topic{topic})
	case "gap":
		return j.gap(m)
	case "bye":
		return fmt.Errorf("%w: bye, %s", ErrEnded, m.Code)
	}
	return fmt.Errorf("unexpected: %+v", m)
}

// query holds the topics and the resume point, unless the reader sends that in a header.
func (r *Reader) query(since bool) string {
	q := ""
	for _, topic := range r.Topics {
		q += "&topic=" + string(topic)
	}
	if since && r.cursor != "" {
		q += "&since=" + r.cursor
	}
	return q[1:]
}

// Events is an event stream, by HTTP/1.1 or 1.0. It resumes as a browser does, or by
// since.
func Events(r *Reader, c *Conn) error {
	last, bySince := "", r.Random.IntN(2) == 0
	if !bySince && r.cursor != "" {
		last = "Last-Event-ID: " + r.cursor + "\r\n"
	}
	return r.follow(c, "/events?"+r.query(bySince), last, "\n\n", func(text string) (m Object, cursor string, err error) {
		event := Fields(text)
		if event["data"] == "" { // A heartbeat.
			return Object{Type: "ping"}, "", nil
		}
		m, err = ParseObject([]byte(event["data"]))
		if err == nil && m.Type != event["event"] {
			err = fmt.Errorf("the event %q holds %q", event["event"], m.Type)
		}
		return m, event["id"], err
	})
}

// NDJSON is a stream of lines, by HTTP/1.1 or 1.0.
func NDJSON(r *Reader, c *Conn) error {
	return r.follow(c, "/stream?"+r.query(true), "", "\n", func(text string) (m Object, cursor string, err error) {
		m, err = ParseObject([]byte(strings.TrimSuffix(text, "\n")))
		return m, m.Cursor, err
	})
}

// follow reads a stream, whose frames parse takes apart.
func (r *Reader) follow(c *Conn, target, more, end string, parse func(string) (m Object, cursor string, err error)) error {
	asks := r.ask(r.Topics)
	next, err := c.Frames(target, r.Random.IntN(2), r.Token, more, end)
	if err != nil {
		return err
	}
	r.Phase = Asking
	for {
		text, err := next()
		if err != nil {
			return err
		}
		m, cursor, err := parse(text)
		switch {
		case err != nil:
			return err
		case m.Type == "hello":
			err = r.answered(m, asks)
		case m.Type == "message":
			err = r.message(m)
		case m.Type == "gap":
			err = r.gap(m)
		case m.Type == "ping":
			continue
		case m.Type == "bye":
			return fmt.Errorf("%w: bye, %s", ErrEnded, m.Code)
		default:
			err = fmt.Errorf("unexpected: %+v", m)
		}
		if err == nil {
			err = r.keep(cursor)
		}
		if err != nil {
			return err
		}
		if r.done() {
			return c.Quiet()
		}
	}
}

// mostPolled is the maximum number of messages in the answer to a poll.
const mostPolled = 1000

// Poll uses long polling. Each answer counts as a separate subscription.
func Poll(r *Reader, c *Conn) error {
	for {
		wait := 10
		resting := r.reached()
		if resting {
			wait = 0
		}
		asks := r.ask(r.Topics)
		if err := c.Get(fmt.Sprintf("/poll?wait=%d&%s", wait, r.query(true)), 1, r.Token, ""); err != nil {
			return err
		}
		length, err := c.Head(200)
		if err != nil {
			return err
		}
		r.Phase, r.replay = Replaying, 0
		body, err := c.Body(length)
		if err != nil {
			return err
		}
		m, err := ParseObject(body)
		if err == nil {
			err = r.polled(m, asks)
		}
		if err != nil || resting && r.done() {
			return err
		}
		r.Recording.Add(delivery.Event{Kind: delivery.Cut})
		r.settle()
	}
}

// polled handles the answer to a poll, which reports recovered for all topics together. If it is
// false, the start of the messages of a topic is unknown.
func (r *Reader) polled(m Object, asks map[pubsub.Topic]delivery.Ask) error {
	at, err := parseCursor(m.Cursor, r.Topics)
	if err != nil {
		return err
	}
	came, first := make(map[pubsub.Topic]int), make(map[pubsub.Topic]string)
	for _, message := range m.Messages {
		if came[message.Topic]++; came[message.Topic] == 1 {
			first[message.Topic] = message.Position
		}
	}
	for topic, ask := range asks {
		replay, position, recovered := came[topic], ask.Since, m.Recovered
		switch {
		case replay == 0:
			position = at[topic]
			recovered = m.Recovered || position == ask.Since
		case !m.Recovered:
			replay, position = 0, pubsub.Position{}
		case ask.Since == pubsub.Position{}: // It begins now, and something came before the answer was made.
			if position, err = pubsub.ParsePosition(first[topic]); err != nil {
				return err
			}
			replay = 0
			position.Offset--
		case len(m.Messages) >= mostPolled:
			replay = -1
		}
		r.subscribed(topic, ask, position, recovered, replay)
	}
	for _, message := range m.Messages {
		if err := r.message(message); err != nil {
			return err
		}
	}
	return r.keep(m.Cursor)
}
