package eventstream_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ikornaselur/notiflux/client/internal/eventstream"
	"github.com/ikornaselur/notiflux/client/internal/rest"
	"github.com/ikornaselur/notiflux/client/internal/wire"
	"github.com/ikornaselur/notiflux/internal/internaltest/memnet"
	"github.com/ikornaselur/notiflux/internal/internaltest/servertest"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

var seed = flag.Uint64("seed", 0, "of the random choices of TestNothingIsLostOrDoubled; 0: others each time")

const (
	modelRuns   = 30
	modelSteps  = 400
	modelHeld   = 5        // messages of a topic that the model remembers
	modelDenied = "denied" // a topic that no token allows
)

var modelTopics = []string{"a", "b", "c", "d", "e", "f", modelDenied}

// A user subscribes and unsubscribes at random, messages arrive, streams are cut, and the
// server restarts. Each message that follows an answer arrives once and in order, except
// where the server says that it no longer has it.
func TestNothingIsLostOrDoubled(t *testing.T) {
	seeds := make([]uint64, modelRuns)
	for i := range seeds {
		seeds[i] = rand.Uint64()
	}
	messages, losses := 0, 0
	for _, seed := range servertest.Seeds(seed, seeds...) {
		synctest.Test(t, func(t *testing.T) {
			m := newModel(t, seed)
			m.run()
			messages, losses = messages+m.messages, losses+m.losses
		})
		if t.Failed() {
			t.Fatalf("-seed=%d", seed)
		}
	}
	if messages == 0 || losses == 0 {
		t.Errorf("%d messages and %d losses: the test covers too little", messages, losses)
	}
}

// A model is a server with a history for each topic, and its user.
type model struct {
	t      *testing.T
	random *rand.Rand // of the goroutine that runs the test
	server *rest.Server
	link   *memnet.Link

	// Owned by the goroutine that runs the test.
	conn   *eventstream.Conn
	ids    int64
	reader sync.WaitGroup

	mu sync.Mutex
	// Guarded by mu.
	changed   *sync.Cond          // a topic, the epoch or paused changed
	epoch     int                 // of the server
	offsets   map[string][]uint64 // of the messages of each topic, in this epoch
	wanted    map[string]*wish    // by topic
	messages  int                 // that arrived
	losses    int                 // that were announced while the connection held
	connected bool
	paused    bool // the user does not read
	cuts      *rand.Rand
}

// A wish is a topic that the user subscribed to.
type wish struct {
	id       int64
	command  wire.Command
	live     bool
	position string
}

func newModel(t *testing.T, seed uint64) *model {
	m := &model{t: t, random: rand.New(rand.NewPCG(seed, 0)), epoch: 1, offsets: map[string][]uint64{}, wanted: map[string]*wish{}, cuts: rand.New(rand.NewPCG(seed, 1))}
	m.changed = sync.NewCond(&m.mu)
	m.server, m.link = serve(t, m.serve, m.opened)
	return m
}

// opened has some connections break at a random byte.
func (m *model) opened(c *memnet.Conn) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.cuts.IntN(10) == 0 {
		c.CutAfter(memnet.Down, m.cuts.IntN(2000), memnet.End(m.cuts.IntN(2)))
	}
}

func (m *model) run() {
	m.connect()
	for range modelSteps {
		m.step()
		if m.random.IntN(3) == 0 {
			synctest.Wait()
		}
	}
	m.pause(false)
	for range 20 { // until a connection holds
		synctest.Wait()
		m.reconnect()
	}
	synctest.Wait()
	m.check()
	_ = m.conn.Close(context.Background())
	m.reader.Wait()
	m.mu.Lock()
	m.epoch = 0 // ends all streams
	m.changed.Broadcast()
	m.mu.Unlock()
}

func (m *model) step() {
	topic := modelTopics[m.random.IntN(len(modelTopics))]
	switch n := m.random.IntN(100); {
	case n < 50:
		m.publish(topic, 1+m.random.IntN(3))
	case n < 75:
		m.subscribe(topic)
	case n < 90:
		m.unsubscribe(topic)
	case n < 93:
		m.link.Cut(memnet.ByReset)
	case n < 95:
		m.restart()
	case n < 98:
		m.pause(!m.paused)
	case n < 99:
		<-time.After(time.Duration(m.random.IntN(int(time.Second))))
	}
	m.reconnect()
}

func (m *model) pause(paused bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.paused = paused
	m.changed.Broadcast()
}

func (m *model) publish(topic string, n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for range n {
		m.offsets[topic] = append(m.offsets[topic], m.headLocked(topic)+1+m.random.Uint64N(3))
	}
	m.changed.Broadcast()
}

func (m *model) headLocked(topic string) uint64 {
	if n := len(m.offsets[topic]); n > 0 {
		return m.offsets[topic][n-1]
	}
	return 0
}

func (m *model) restart() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.epoch++
	clear(m.offsets)
	m.changed.Broadcast()
}

// subscribe subscribes to a topic that the user does not have, with others.
func (m *model) subscribe(topic string) {
	c := wire.Command{
		Token: fmt.Sprint("token ", m.random.IntN(2)),
		Mode:  []string{"", "latest"}[m.random.IntN(2)],
		Last:  m.random.IntN(2) * modelHeld,
	}
	m.mu.Lock()
	for _, name := range modelTopics {
		if m.wanted[name] == nil && (name == topic || m.random.IntN(5) == 0) {
			c.Topics = append(c.Topics, name)
			m.wanted[name] = &wish{command: c}
		}
	}
	m.mu.Unlock()
	m.ask(c)
}

// ask sends a subscribe command for topics that are wanted.
func (m *model) ask(c wire.Command) {
	if len(c.Topics) == 0 {
		return
	}
	m.mu.Lock()
	m.ids++
	c.Type, c.ID, c.Since = "subscribe", m.ids, map[string]string{}
	for _, topic := range c.Topics {
		w := m.wanted[topic]
		w.id, w.live = c.ID, false
		if w.position != "" {
			c.Since[topic] = w.position
		}
	}
	m.mu.Unlock()
	_ = m.conn.Write(context.Background(), &c) // on error the next connection gets it
}

func (m *model) unsubscribe(topic string) {
	m.mu.Lock()
	delete(m.wanted, topic)
	m.mu.Unlock()
	_ = m.conn.Write(context.Background(), &wire.Command{Type: "unsubscribe", Topics: []string{topic}})
}

// connect opens a connection and asks for everything that is wanted.
func (m *model) connect() {
	m.conn = eventstream.New(m.server)
	m.mu.Lock()
	m.connected = true
	var all []string
	for _, topic := range modelTopics {
		if m.wanted[topic] != nil {
			all = append(all, topic)
		}
	}
	m.mu.Unlock()
	m.reader.Go(func() { m.read(m.conn) })
	for _, topic := range all {
		c := m.wanted[topic].command
		c.Topics = []string{topic}
		m.ask(c)
	}
}

// reconnect connects again if the connection has ended.
func (m *model) reconnect() {
	m.mu.Lock()
	connected := m.connected || m.paused
	m.mu.Unlock()
	if !connected {
		_ = m.conn.Close(context.Background())
		m.reader.Wait()
		m.connect()
	}
}

// read takes the frames of a connection, as a client does.
func (m *model) read(conn *eventstream.Conn) {
	for {
		m.mu.Lock()
		for m.paused {
			m.changed.Wait()
		}
		m.mu.Unlock()
		f, err := conn.Read()
		m.mu.Lock()
		if err != nil {
			m.connected = false
			m.mu.Unlock()
			return
		}
		switch f.Type {
		case "subscribed":
			for topic, a := range f.Answers() {
				m.answerLocked(topic, f.ID, a)
			}
			for topic := range f.Refused {
				if topic != modelDenied {
					m.t.Errorf("%s is refused", topic)
				}
			}
		case "message", "skipped", wire.Expired:
			m.moveLocked(f)
		}
		m.mu.Unlock()
	}
}

func (m *model) answerLocked(topic string, id int64, a wire.Answer) {
	w := m.wanted[topic]
	if w == nil || w.id != id {
		return
	}
	if w.live {
		m.t.Errorf("command %d is answered twice for %s", id, topic)
	}
	if w.position == "" && !a.Recovered {
		m.t.Errorf("%s has lost what it never had", topic)
	}
	if w.position != "" && a.Recovered && a.Position != w.position {
		m.t.Errorf("%s resumes at %s, want %s", topic, a.Position, w.position)
	}
	if epoch, offset := split(a.Position); w.position == "" && w.command.Last > 0 && epoch == m.epoch && m.afterLocked(topic, offset) < min(modelHeld, len(m.offsets[topic])) {
		m.t.Errorf("%s begins at %s and has %v: want the last %d messages", topic, a.Position, m.offsets[topic], modelHeld)
	}
	w.live, w.position = true, a.Position
}

func (m *model) afterLocked(topic string, offset uint64) (n int) {
	for _, o := range m.offsets[topic] {
		if o > offset {
			n++
		}
	}
	return n
}

func split(position string) (epoch int, offset uint64) {
	before, after, _ := strings.Cut(position, ":")
	epoch, _ = strconv.Atoi(before)
	offset, _ = strconv.ParseUint(after, 10, 64)
	return epoch, offset
}

func (m *model) moveLocked(f *wire.Frame) {
	w := m.wanted[f.Topic]
	if w == nil || !w.live {
		return
	}
	next := f.Position
	switch f.Type {
	case "skipped":
		next = f.To
		if f.From != w.position || w.command.Mode != "latest" {
			m.t.Errorf("skipped %s from %s, want %s", f.Topic, f.From, w.position)
		}
	case "message":
		m.messages++
		epoch, offset := split(w.position)
		for _, o := range m.offsets[f.Topic] {
			if o > offset && epoch == m.epoch {
				if want := fmt.Sprintf("%d:%d", epoch, o); next != want {
					m.t.Errorf("message %s=%s after %s, want %s", f.Topic, next, w.position, want)
				}
				break
			}
		}
	default:
		m.losses++
	}
	w.position = next
}

// check fails the test unless every topic is live and has all its messages.
func (m *model) check() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for topic, w := range m.wanted {
		want := fmt.Sprintf("%d:%d", m.epoch, m.headLocked(topic))
		if topic != modelDenied && (!w.live || w.position != want) {
			m.t.Errorf("%s is at %s, live: %v; want %s", topic, w.position, w.live, want)
		}
	}
}

// serve answers like a notiflux server that remembers modelHeld messages of a topic.
func (m *model) serve(w http.ResponseWriter, r *http.Request) {
	topics := r.URL.Query()["topic"]
	if slices.Contains(topics, modelDenied) {
		refuse(w, 403, "topic_denied")
		return
	}
	if r.URL.Path == "/history" {
		fmt.Fprint(w, `{}`)
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	gone := context.AfterFunc(r.Context(), func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.changed.Broadcast()
	})
	defer gone()
	w.Header().Set("Content-Type", "text/event-stream")
	epoch := m.epoch
	at, hello := m.helloLocked(r)
	m.writeLocked(w, hello)
	for r.Context().Err() == nil && m.epoch == epoch {
		if frames := m.followLocked(at, r.URL.Query().Get("mode") == "latest"); frames != nil {
			m.writeLocked(w, frames...)
		} else {
			m.changed.Wait()
		}
	}
}

// writeLocked writes frames, and lets go of mu meanwhile.
func (m *model) writeLocked(w http.ResponseWriter, frames ...string) {
	m.mu.Unlock()
	defer m.mu.Lock()
	for _, f := range frames {
		fmt.Fprintf(w, "event: x\ndata: %s\nid: x\n\n", f)
	}
	_ = http.NewResponseController(w).Flush()
}

// helloLocked returns where the topics of a stream begin, and the first event.
func (m *model) helloLocked(r *http.Request) (at map[string]uint64, hello string) {
	q := r.URL.Query()
	cursor := cursorOf(m.t, r)
	covers := !q.Has("since") // whether the cursor is of this epoch
	for _, topic := range q["topic"] {
		p, ok := cursor.Since(pubsub.Topic(topic))
		covers = covers || ok && p.Epoch == fmt.Sprint(m.epoch)
	}
	at = map[string]uint64{}
	answers := map[string]wire.Answer{}
	last, _ := strconv.Atoi(q.Get("last"))
	for _, topic := range q["topic"] {
		offsets := m.offsets[topic]
		forgotten := offsets[:max(0, len(offsets)-modelHeld)]
		recovered := covers
		at[topic] = m.headLocked(topic)
		p, ok := cursor.Since(pubsub.Topic(topic))
		switch {
		case covers && ok:
			if recovered = len(forgotten) == 0 || p.Offset >= forgotten[len(forgotten)-1]; recovered {
				at[topic] = p.Offset
			}
		case covers && last > 0 && len(forgotten) > 0:
			at[topic] = forgotten[len(forgotten)-1]
		case covers && last > 0:
			at[topic] = 0
		}
		answers[topic] = wire.Answer{Position: fmt.Sprintf("%d:%d", m.epoch, at[topic]), Recovered: recovered}
	}
	encoded, _ := json.Marshal(answers)
	return at, fmt.Sprintf(`{"type":"hello","topics":%s}`, encoded)
}

// followLocked returns what follows in topics, and moves them on.
func (m *model) followLocked(at map[string]uint64, latest bool) (frames []string) {
	for topic := range at {
		for i, o := range m.offsets[topic] {
			rest := m.offsets[topic][i:]
			switch {
			case o <= at[topic]:
			case latest && len(rest) > 2:
				to := rest[len(rest)-2]
				frames = append(frames, fmt.Sprintf(`{"type":"skipped","topic":%q,"from":"%d:%d","to":"%d:%d"}`, topic, m.epoch, at[topic], m.epoch, to))
				at[topic] = to
			default:
				frames = append(frames, message(topic, fmt.Sprintf("%d:%d", m.epoch, o)))
				at[topic] = o
			}
		}
	}
	return frames
}
