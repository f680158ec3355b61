package server_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/ikornaselur/notiflux"
	"github.com/ikornaselur/notiflux/internal/internaltest/delivery"
)

// openJSON opens a WebSocket for the JSON protocol, up to the welcome.
func openJSON(w *wire) error {
	if _, err := io.WriteString(w, "GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: notiflux.v1.json\r\n\r\n"); err != nil {
		return err
	}
	if _, err := header(w, http.StatusSwitchingProtocols); err != nil {
		return err
	}
	if m, err := next(w); err != nil {
		return err
	} else if m.Type != "welcome" {
		return fmt.Errorf("first came %+v", m)
	}
	return nil
}

// sayJSON sends a command.
func sayJSON(w io.Writer, command map[string]any) error {
	data, err := json.Marshal(command)
	if err != nil {
		return err
	}
	frame := binary.BigEndian.AppendUint16([]byte{0x81, 0x80 | 126}, uint16(len(data)))
	if len(data) < 126 { // The longer form would be refused.
		frame = []byte{0x81, 0x80 | byte(len(data))}
	}
	frame = append(frame, 0, 0, 0, 0) // A mask that changes nothing.
	_, err = w.Write(append(frame, data...))
	return err
}

// speakJSON is the JSON protocol over a WebSocket.
func speakJSON(c *cutClient, w *wire) error {
	if err := openJSON(w); err != nil {
		return err
	}
	c.phase = asking
	j := &jsonClient{cutClient: c, wire: w}
	if err := j.subscribe(cutTopics); err != nil {
		return err
	}
	for {
		m, err := next(w)
		if err == nil {
			err = j.take(m)
		}
		if err != nil {
			return err
		}
		if c.done() {
			return w.quiet()
		}
	}
}

// jsonClient is one connection of the JSON protocol.
type jsonClient struct {
	*cutClient
	*wire
	id     int                             // of the last command
	asked  map[notiflux.Topic]delivery.Ask // by a subscribe that is not answered
	ending notiflux.Topic                  // by an unsubscribe that is not answered
}

func (j *jsonClient) say(command map[string]any) error {
	j.id++
	command["id"] = j.id
	return sayJSON(j.wire, command)
}

func (j *jsonClient) subscribe(topics []notiflux.Topic) error {
	since := make(map[notiflux.Topic]string)
	for _, topic := range topics {
		if p, ok := j.positions[topic]; ok {
			since[topic] = p.String()
		}
	}
	j.asked = j.ask(topics)
	return j.say(map[string]any{"type": "subscribe", "topics": topics, "since": since, "token": j.token})
}

// take takes what came. Now and then it ends a subscription and makes it again.
func (j *jsonClient) take(m told) error {
	switch m.Type {
	case "message":
		if err := j.message(m); err != nil {
			return err
		}
		if j.goal != nil || j.asked != nil || j.ending != "" || j.random.IntN(20) > 0 {
			return nil
		}
		j.ending = cutTopics[j.random.IntN(len(cutTopics))]
		return j.say(map[string]any{"type": "unsubscribe", "topics": []notiflux.Topic{j.ending}})
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
		j.recording.Add(delivery.Event{Kind: delivery.Unsubscribed, Topic: topic})
		return j.subscribe([]notiflux.Topic{topic})
	}
	return fmt.Errorf("unexpected: %+v", m)
}

// next reads a text frame.
func next(w *wire) (told, error) {
	head := make([]byte, 4)
	if _, err := io.ReadFull(w.r, head[:2]); err != nil {
		return told{}, whole(err)
	}
	length := int(head[1])
	switch {
	case head[0] != 0x81 || length > 126:
		return told{}, fmt.Errorf("a frame that begins with %x", head[:2])
	case length == 126:
		if _, err := io.ReadFull(w.r, head[2:]); err != nil {
			return told{}, whole(err)
		}
		length = int(binary.BigEndian.Uint16(head[2:]))
	}
	data := make([]byte, length)
	if _, err := io.ReadFull(w.r, data); err != nil {
		return told{}, whole(err)
	}
	return parse(data)
}

// query is the topics, and where to go on from unless the caller says it in a header.
func (c *cutClient) query(since bool) string {
	q := ""
	for _, topic := range cutTopics {
		q += "&topic=" + string(topic)
	}
	if since && c.cursor != "" {
		q += "&since=" + c.cursor
	}
	return q[1:]
}

// get sends a request with the client's token.
func (c *cutClient) get(w *wire, target, more string) error {
	_, err := fmt.Fprintf(w, "GET %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n%s\r\n", target, c.token, more)
	return err
}

// openStream asks for a stream, with HTTP/1.1 or 1.0, and returns what reads its next
// event or line: a chunk, or what is before end and with it.
func (c *cutClient) openStream(w *wire, target, more, end string) (func() (string, error), error) {
	minor := c.random.IntN(2)
	if _, err := fmt.Fprintf(w, "GET %s HTTP/1.%d\r\nHost: x\r\nAuthorization: Bearer %s\r\n%s\r\n", target, minor, c.token, more); err != nil {
		return nil, err
	}
	length, err := header(w, http.StatusOK)
	if err == nil && length != map[int]int{0: -1, 1: inChunks}[minor] {
		err = fmt.Errorf("the body of an answer to HTTP/1.%d has the length %d", minor, length)
	}
	if minor == 0 {
		return func() (string, error) { return upTo(w, end) }, err
	}
	return func() (string, error) {
		chunk, err := nextChunk(w)
		if err == nil && strings.Index(chunk, end) != len(chunk)-len(end) {
			err = fmt.Errorf("the chunk %q does not hold one event or line", chunk)
		}
		return chunk, err
	}, err
}

// upTo reads up to and with end.
func upTo(w *wire, end string) (string, error) {
	var got []byte
	for !bytes.HasSuffix(got, []byte(end)) {
		line, err := w.r.ReadBytes('\n')
		if err != nil {
			return "", whole(err)
		}
		got = append(got, line...)
	}
	return string(got), nil
}

// nextChunk reads a chunk and returns its data, which is empty at the end of a body.
func nextChunk(w *wire) (string, error) {
	head, err := w.r.ReadString('\n')
	if err != nil {
		return "", whole(err)
	}
	size, err := strconv.ParseUint(strings.TrimSuffix(head, "\r\n"), 16, 32)
	if err != nil {
		return "", fmt.Errorf("a chunk that begins with %q", head)
	}
	data := make([]byte, size+2)
	if _, err := io.ReadFull(w.r, data); err != nil {
		return "", whole(err)
	}
	if string(data[size:]) != "\r\n" {
		return "", fmt.Errorf("a chunk that ends with %q", data[size:])
	}
	return string(data[:size]), nil
}

// speakEvents is an event stream. It resumes as a browser does, or by since.
func speakEvents(c *cutClient, w *wire) error {
	last, bySince := "", c.random.IntN(2) == 0
	if !bySince && c.cursor != "" {
		last = "Last-Event-ID: " + c.cursor + "\r\n"
	}
	asks := c.ask(cutTopics)
	next, err := c.openStream(w, "/events?"+c.query(bySince), last, "\n\n")
	if err != nil {
		return err
	}
	c.phase = asking
	for {
		text, err := next()
		if err != nil {
			return err
		}
		event := fields(text)
		if event["data"] == "" { // A heartbeat.
			continue
		}
		m, err := parse([]byte(event["data"]))
		if err == nil && m.Type != event["event"] {
			err = fmt.Errorf("the event %q holds %q", event["event"], m.Type)
		}
		if err == nil {
			err = c.streamed(m, event["id"], asks)
		}
		if err != nil {
			return err
		}
		if c.done() {
			return w.quiet()
		}
	}
}

// fields returns the fields of an event.
func fields(text string) map[string]string {
	event := make(map[string]string)
	for line := range strings.Lines(text) {
		if name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ":"); name != "" {
			event[name] = strings.TrimPrefix(value, " ")
		}
	}
	return event
}

// streamed takes an object of a stream.
func (c *cutClient) streamed(m told, cursor string, asks map[notiflux.Topic]delivery.Ask) error {
	var err error
	switch m.Type {
	case "hello":
		err = c.answered(m, asks)
	case "message":
		err = c.message(m)
	default:
		err = fmt.Errorf("unexpected: %+v", m)
	}
	if err != nil {
		return err
	}
	return c.keep(cursor)
}

// speakLines is an NDJSON stream.
func speakLines(c *cutClient, w *wire) error {
	asks := c.ask(cutTopics)
	next, err := c.openStream(w, "/stream?"+c.query(true), "", "\n")
	if err != nil {
		return err
	}
	c.phase = asking
	for {
		line, err := next()
		if err != nil {
			return err
		}
		m, err := parse([]byte(strings.TrimSuffix(line, "\n")))
		if err == nil && m.Type != "ping" {
			err = c.streamed(m, m.Cursor, asks)
		}
		if err != nil {
			return err
		}
		if c.done() {
			return w.quiet()
		}
	}
}

// mostPolled is how many messages an answer to a poll has at most.
const mostPolled = 1000

// speakPoll polls, answer by answer. Each of them is a subscription of its own.
func speakPoll(c *cutClient, w *wire) error {
	for {
		wait := 10
		resting := c.reached()
		if resting {
			wait = 0
		}
		asks := c.ask(cutTopics)
		if err := c.get(w, fmt.Sprintf("/poll?wait=%d&%s", wait, c.query(true)), ""); err != nil {
			return err
		}
		length, err := header(w, http.StatusOK)
		if err != nil {
			return err
		}
		c.phase, c.replay = replaying, 0
		body := make([]byte, max(length, 0))
		if _, err := io.ReadFull(w.r, body); err != nil {
			return whole(err)
		}
		m, err := parse(body)
		if err == nil {
			err = c.polled(m, asks)
		}
		if err != nil || resting && c.done() {
			return err
		}
		c.recording.Add(delivery.Event{Kind: delivery.Cut})
		c.settle()
	}
}

// polled takes the answer to a poll. It tells of all topics together whether they
// are recovered; of one that has messages it is not known then where they begin.
func (c *cutClient) polled(m told, asks map[notiflux.Topic]delivery.Ask) error {
	at, err := standing(m.Cursor)
	if err != nil {
		return err
	}
	came, first := make(map[notiflux.Topic]int), make(map[notiflux.Topic]string)
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
			replay, position = 0, notiflux.Position{}
		case ask.Since == notiflux.Position{}: // It begins now, and something came before the answer was made.
			if position, err = notiflux.ParsePosition(first[topic]); err != nil {
				return err
			}
			replay = 0
			position.Offset--
		case len(m.Messages) >= mostPolled:
			replay = -1
		}
		c.subscribed(topic, ask, position, recovered, replay)
	}
	for _, message := range m.Messages {
		if err := c.message(message); err != nil {
			return err
		}
	}
	return c.keep(m.Cursor)
}
