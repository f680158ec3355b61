package server_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux"
	"github.com/ikornaselur/notiflux/internal/internaltest/delivery"
)

// phase is what a connection was doing.
type phase string

const (
	opening   phase = "opening"
	asking    phase = "asking"
	replaying phase = "replaying"
	listening phase = "listening"
)

// cutClient is a client that loses its connection all the time. It speaks bytes
// over TCP, with no code of the server's, and remembers what a real one would.
type cutClient struct {
	t              *testing.T
	address, token string
	random         *rand.Rand
	recording      *delivery.Recording

	// What it has, over all connections.
	positions map[notiflux.Topic]notiflux.Position // of each topic that it was ever answered about
	cursor    string

	// Of this connection.
	wire   *wire
	phase  phase
	replay int                                  // messages to come before live ones
	live   int                                  // it is cut at most so many bytes after what is replayed; 0: where its wire says
	goal   map[notiflux.Topic]notiflux.Position // nil: it is going to be cut

	cutIn           map[phase]int
	recovered, lost int
}

// dialect speaks over one connection until that ends, or the goal is reached:
// then it returns nil.
type dialect func(c *cutClient, w *wire) error

// wire is a connection that ends after so many bytes in a direction.
type wire struct {
	net.Conn
	r       *bufio.Reader
	in, out int
}

var errCut = errors.New("cut")

func (w *wire) Read(p []byte) (int, error) {
	if w.in == 0 {
		return 0, errCut
	}
	n, err := w.Conn.Read(p[:min(len(p), w.in)])
	w.in -= n
	return n, err
}

func (w *wire) Write(p []byte) (int, error) {
	n, err := w.Conn.Write(p[:min(len(p), w.out)])
	w.out -= n
	if err == nil && n < len(p) {
		err = errCut
	}
	return n, err
}

// quiet returns nil if nothing more comes for a moment.
func (w *wire) quiet() error {
	w.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	b, err := w.r.Peek(1)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil
	}
	return fmt.Errorf("after the last message came %q, %v", b, err)
}

// connect opens a connection that is cut at a random byte, or that ends when the
// client has reached its goal.
func (c *cutClient) connect(speak dialect, goal map[notiflux.Topic]notiflux.Position) {
	if c.t.Failed() {
		return
	}
	conn, err := net.Dial("tcp", c.address)
	if err != nil {
		c.t.Error(err)
		return
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	w := &wire{Conn: conn, in: math.MaxInt, out: math.MaxInt}
	w.r = bufio.NewReader(w)
	c.wire, c.goal, c.phase, c.replay, c.live = w, goal, opening, 0, 0
	if goal == nil {
		w.in, w.out, c.live = c.budget()
		if c.random.IntN(2) == 0 {
			conn.(*net.TCPConn).SetLinger(0) // A reset, not a good end.
		}
	}
	err = speak(c, w)
	if goal == nil && errors.Is(err, errCut) {
		c.cutIn[c.phase]++
	} else if err != nil || goal == nil {
		c.t.Errorf("-seed=%d: a connection ended while %s: %v", *seed, c.phase, err)
	}
	c.recording.Add(delivery.Event{Kind: delivery.Cut})
}

// budget draws where a connection is cut: in what the client says, in the
// handshake, in the answer, in what is replayed, or in what is live.
func (c *cutClient) budget() (in, out, live int) {
	in, out = math.MaxInt, math.MaxInt
	switch c.random.IntN(8) {
	case 0:
		out = c.random.IntN(1000)
		in = c.random.IntN(1000)
	case 1, 2, 3:
		live = 1 + c.random.IntN(1000)
	default:
		in = c.random.IntN([]int{200, 500, 1000, 4000}[c.random.IntN(4)])
	}
	return in, out, live
}

// told is any object that the server sends: what this test reads of it.
type told struct {
	Type          string
	ID            int
	Topic         notiflux.Topic
	Topics        json.RawMessage
	Position      string
	Data          string
	Cursor        string
	Recovered     bool
	Replay        int
	Messages      []told
	Refused       json.RawMessage
	Code, Message string

	Member             *member
	Members            []member
	Count, Subscribers int
}

// member is one who is present.
type member struct {
	Sub  string
	Info json.RawMessage
}

func parse(data []byte) (m told, err error) {
	if err = json.Unmarshal(data, &m); err != nil {
		err = fmt.Errorf("%w in %q", err, data)
	}
	return m, err
}

// ask notes a question about each topic, from where the client stands.
func (c *cutClient) ask(topics []notiflux.Topic) map[notiflux.Topic]delivery.Ask {
	asks := make(map[notiflux.Topic]delivery.Ask)
	for _, topic := range topics {
		asks[topic] = c.recording.Ask(c.positions[topic], 0)
	}
	return asks
}

// answered takes the answer to a question, a member for each topic of it.
func (c *cutClient) answered(m told, asks map[notiflux.Topic]delivery.Ask) error {
	var topics map[notiflux.Topic]told
	if err := json.Unmarshal(m.Topics, &topics); err != nil || len(topics) != len(asks) || m.Refused != nil {
		return fmt.Errorf("asked for %d topics, answered %s %s, %v", len(asks), m.Topics, m.Refused, err)
	}
	for topic, ask := range asks {
		a, ok := topics[topic]
		position, err := notiflux.ParsePosition(a.Position)
		if !ok || err != nil {
			return fmt.Errorf("no answer for %q in %s, %v", topic, m.Topics, err)
		}
		c.subscribed(topic, ask, position, a.Recovered, a.Replay)
		c.replay += a.Replay
	}
	c.settle()
	return nil
}

func (c *cutClient) subscribed(topic notiflux.Topic, ask delivery.Ask, position notiflux.Position, recovered bool, replay int) {
	c.recording.Add(delivery.Event{Kind: delivery.Subscribed, Topic: topic, Ask: ask, Position: position, Recovered: recovered, Replay: replay})
	c.positions[topic] = position
	if !recovered {
		c.lost++
	} else if ask.Since != (notiflux.Position{}) {
		c.recovered++
	}
}

// message takes a message.
func (c *cutClient) message(m told) error {
	position, err := notiflux.ParsePosition(m.Position)
	if err != nil {
		return err
	}
	c.recording.Add(delivery.Event{Kind: delivery.Message, Topic: m.Topic, Position: position, Data: m.Data})
	c.positions[m.Topic] = position
	c.replay--
	c.settle()
	return nil
}

func (c *cutClient) settle() {
	switch {
	case c.replay > 0:
		c.phase = replaying
	case c.phase != listening:
		if c.phase = listening; c.live > 0 {
			c.wire.in = c.random.IntN(c.live)
		}
	}
}

// keep takes the cursor that came with the last object. It must say what the
// client was given so far, of every topic.
func (c *cutClient) keep(cursor string) error {
	at, err := standing(cursor)
	if err != nil {
		return fmt.Errorf("cursor %q: %w", cursor, err)
	}
	for topic, position := range c.positions {
		if at[topic] != position {
			return fmt.Errorf("the cursor %q stands at %v in %q, and %v was given", cursor, at[topic], topic, position)
		}
	}
	c.cursor = cursor
	return nil
}

// reached reports whether the client has what it wanted.
func (c *cutClient) reached() bool {
	for _, topic := range cutTopics {
		if c.goal == nil || c.positions[topic].Offset < c.goal[topic].Offset {
			return false
		}
	}
	return true
}

// done is reached, and notes that the client rests.
func (c *cutClient) done() bool {
	if !c.reached() {
		return false
	}
	c.recording.Add(delivery.Event{Kind: delivery.Rest})
	return true
}

// standing reads a cursor of the topics of this test: the version, the length of the
// epoch, the epoch, and for each topic, in the order of their names, the first eight
// bytes of its SHA-256 and its offset as a varint.
func standing(cursor string) (map[notiflux.Topic]notiflux.Position, error) {
	p, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil || len(p) < 2 || p[0] != 130 || len(p) < 2+int(p[1]) {
		return nil, errors.New("no epoch")
	}
	epoch, p := string(p[2:2+p[1]]), p[2+p[1]:]
	at := make(map[notiflux.Topic]notiflux.Position)
	for _, topic := range cutTopics {
		sum := sha256.Sum256([]byte(topic))
		rest, ok := bytes.CutPrefix(p, sum[:8])
		if !ok {
			return nil, fmt.Errorf("%q is not in its place", topic)
		}
		offset, n := binary.Uvarint(rest)
		if n <= 0 {
			return nil, errors.New("no offset")
		}
		at[topic] = notiflux.Position{Epoch: epoch, Offset: offset}
		p = rest[n:]
	}
	if len(p) > 0 {
		return nil, errors.New("more than its topics")
	}
	return at, nil
}

// inChunks is the length of a body that has chunks.
const inChunks = -2

// header reads the header of an answer, which must have that status. It returns
// the length of the body, -1 if that is not told.
func header(w *wire, status int) (length int, err error) {
	first, err := w.r.ReadString('\n')
	length = -1
	for line := first; err == nil && line != "\r\n"; {
		if line, err = w.r.ReadString('\n'); err != nil {
			break
		}
		switch name, value, _ := strings.Cut(strings.TrimSpace(line), ": "); {
		case strings.EqualFold(name, "Content-Length"):
			length, err = strconv.Atoi(value)
		case strings.EqualFold(name, "Transfer-Encoding") && value == "chunked":
			length = inChunks
		}
	}
	if err == nil && !strings.HasPrefix(first, fmt.Sprintf("HTTP/1.1 %d ", status)) {
		body, _ := io.ReadAll(io.LimitReader(w.r, int64(max(length, 0))))
		err = fmt.Errorf("answered %q: %s", first, body)
	}
	return length, whole(err)
}

// whole makes the end that the server made an error that tells.
func whole(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the server ended the connection")
	}
	return err
}
