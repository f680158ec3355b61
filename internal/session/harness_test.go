package session_test

import (
	"bytes"
	"cmp"
	"context"
	"io"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/broker"
	"github.com/ikornaselur/notiflux/internal/broker/memory"
	"github.com/ikornaselur/notiflux/internal/dialect/httpstream"
	"github.com/ikornaselur/notiflux/internal/dialect/v1json"
	"github.com/ikornaselur/notiflux/internal/dialect/v1text"
	"github.com/ikornaselur/notiflux/internal/internaltest/authtest"
	"github.com/ikornaselur/notiflux/internal/internaltest/frametest"
	"github.com/ikornaselur/notiflux/internal/presence"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/session"
	"github.com/ikornaselur/notiflux/internal/topic"
	"github.com/ikornaselur/notiflux/internal/wire"
	"github.com/ikornaselur/notiflux/internal/worker"
	"github.com/ikornaselur/notiflux/internal/wsframe"
)

// tb is the common part of testing.TB and rapid.T.
type tb interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
	Errorf(string, ...any)
}

// world is topics and one group of sessions, which tests run step by step.
type world struct {
	t         tb
	topics    *topic.Topics
	broker    broker.Broker
	group     *session.Group
	loop      fakeLoop
	workers   fakeWorkers
	publisher publisher
	stats     session.Stats
	signer    *auth.Signer
	verifier  *auth.Verifier
	presence  *presence.Registry
	text      *session.Endpoint
	json      *session.Endpoint
	events    *session.Endpoint
	ndjson    *session.Endpoint
	expires   time.Time // of tokens
	offset    uint64
}

// fakeLoop keeps posted functions, including those of timers, until the test runs them.
type fakeLoop struct {
	mu    sync.Mutex
	posts []func()
}

func (l *fakeLoop) Wake() {}

func (l *fakeLoop) Post(f func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.posts = append(l.posts, f)
	return true
}

// take returns the posted functions.
func (l *fakeLoop) take() []func() {
	l.mu.Lock()
	defer l.mu.Unlock()
	posts := l.posts
	l.posts = nil
	return posts
}

// run runs the posted functions, and reports whether there were any.
func (l *fakeLoop) run() (any bool) {
	for {
		posts := l.take()
		if len(posts) == 0 {
			return any
		}
		for _, f := range posts {
			f()
		}
		any = true
	}
}

// fakeWorkers work when the test says so.
type fakeWorkers struct {
	full    bool
	waiting []func(context.Context)
}

func (q *fakeWorkers) Submit(work func(context.Context)) bool {
	if !q.full {
		q.waiting = append(q.waiting, work)
	}
	return !q.full
}

func (q *fakeWorkers) Do(work func(context.Context), done func(error)) error {
	return worker.Do(q, work, done)
}

func (q *fakeWorkers) work(ctx context.Context) {
	waiting := q.waiting
	q.waiting = nil
	for _, f := range waiting {
		f(ctx)
	}
}

// publisher is the broker of a world.
type publisher struct {
	w     *world
	err   error    // of the next broadcasts
	holds bool     // publications wait for release
	held  []func() // order them
}

func (p *publisher) Publish(ps []pubsub.Publication, done func()) (finished bool) {
	if p.holds {
		p.held = append(p.held, func() { p.order(ps); done() })
		return false
	}
	p.order(ps)
	return true
}

// release orders the held publications.
func (p *publisher) release() {
	held := p.held
	p.held = nil
	for _, order := range held {
		order()
	}
}

func (p *publisher) order(ps []pubsub.Publication) {
	if p.err != nil {
		ps[0].Err = p.err
		return
	}
	p.w.append(ps)
}

func (p *publisher) History(_ context.Context, name pubsub.Topic, since pubsub.Position, limit int) (topic.History, error) {
	return p.w.topics.History(name, since, limit), nil
}

func newWorld(t tb, limits topic.Limits, change func(*session.Config)) *world {
	t.Helper()
	w := &world{t: t}
	b := w.open(topic.Config{PerTopic: limits})
	w.broker = b
	w.publisher.w = w
	w.signer = authtest.NewSigner(t)
	w.verifier = authtest.NewVerifier(t, w.signer)
	w.expires = time.Now().Add(time.Hour).Truncate(time.Second)
	w.presence = presence.New(presence.Config{})
	attacher := broker.NewAttacher(b, broker.AttacherConfig{})
	c := session.Config{
		Topics: w.topics, Broker: &w.publisher, Attacher: attacher, Members: broker.Roster{Topics: w.topics, Presence: w.presence, Attacher: attacher}, Verifier: w.verifier, VerifyWorkers: &w.workers, WaitWorkers: &w.workers,
		Endpoints: w.endpoints(), Stats: &w.stats,
	}
	if change != nil {
		change(&c)
	}
	w.group = session.NewGroup(c, &w.loop)
	return w
}

// open gives the world topics in the epoch E, and returns their broker.
func (w *world) open(c topic.Config) broker.Broker {
	var b broker.Broker
	b, w.topics = memory.New(memory.Config{Epoch: "E"}, c)
	return b
}

// token returns a token to subscribe, both returns one for both scopes.
func (w *world) token(topics ...pubsub.Topic) string {
	w.t.Helper()
	return w.sign(topics, auth.Subscribe)
}

func (w *world) both(topics ...pubsub.Topic) string {
	w.t.Helper()
	return w.sign(topics, auth.Subscribe, auth.Broadcast)
}

func (w *world) sign(topics []pubsub.Topic, scopes ...auth.Scope) string {
	w.t.Helper()
	token, err := w.signer.Sign(auth.Grant{Subject: "s", Scopes: scopes, Topics: topics, Expires: w.expires})
	if err != nil {
		w.t.Fatal(err)
	}
	return string(token)
}

func (w *world) publish(topic pubsub.Topic, data string) {
	w.t.Helper()
	w.order(pubsub.Publication{Topic: topic, Body: pubsub.Body{Data: []byte(data)}})
}

func (w *world) order(p pubsub.Publication) pubsub.Position {
	w.t.Helper()
	ps := []pubsub.Publication{p}
	w.append(ps)
	if ps[0].Err != nil {
		w.t.Fatal(ps[0].Err)
	}
	return ps[0].Position
}

func (w *world) append(ps []pubsub.Publication) {
	w.topics.Order(ps, func() uint64 { w.offset++; return w.offset })
}

// client is the connection of one session, and the bytes it received.
type client struct {
	w       *world
	s       *session.Session
	dirty   bool
	resumed bool
	sent    []byte // all bytes that the socket took
	read    int    // bytes of sent that messages has read
	code    wire.CloseCode
	armed   time.Duration
	refuses bool // the socket took fewer bytes than it was last offered
	hurried bool
	gone    bool
}

func (c *client) Dirty()  { c.dirty = true }
func (c *client) Resume() { c.resumed = true }

func (c *client) Blocked() bool { return c.refuses }
func (c *client) WillClose()    { c.hurried = true }

func (c *client) Arm(at time.Duration) { c.armed = at }

func (c *client) Remote() string { return "192.0.2.1:1234" }

func (c *client) Post(f func()) bool {
	return c.w.loop.Post(func() {
		if !c.gone {
			f()
		}
	})
}

// leave ends the connection.
func (c *client) leave() {
	c.gone = true
	c.s.Gone()
}

func (c *client) Close(goodbye []byte, code wire.CloseCode, _ string) {
	if c.code == 0 {
		c.code = code
		c.sent = append(c.sent, goodbye...)
	}
}

// endpoints creates the endpoints of all dialects.
func (w *world) endpoints() []*session.Endpoint {
	w.text, w.json, w.events, w.ndjson = v1text.Endpoint(), v1json.Endpoint("0.1.0"), httpstream.Events(), httpstream.NDJSON()
	return []*session.Endpoint{w.text, w.json, w.events, w.ndjson}
}

// A form is a dialect and the format of its frames.
type form uint8

const (
	text form = iota
	textDeflated
	sse
	sseChunk
	ndjson
	ndjsonChunk
)

func (w *world) connect() *client { return w.connectWith(text) }

func (w *world) connectWith(f form) *client {
	c := &client{w: w}
	c.s = w.group.Open(c, w.text, session.Request{Compressed: f == textDeflated})
	return c
}

// openStream makes c the client of a stream.
func (c *client) openStream(f form, r session.Request) {
	endpoint := c.w.events
	if f >= ndjson {
		endpoint = c.w.ndjson
	}
	r.Chunked = f == sseChunk || f == ndjsonChunk
	slices.SortFunc(r.Subscriptions, func(a, b session.Subscription) int { return cmp.Compare(a.Topic, b.Topic) })
	for _, sub := range r.Subscriptions {
		pin, err := c.w.topics.Open(sub.Topic, pubsub.Position{}, sub.From)
		if err != nil {
			c.w.t.Fatal(err)
		}
		r.Pins = append(r.Pins, pin)
	}
	if r.Claims == nil {
		r.Claims = c.w.claims()
	}
	c.s = c.w.group.Open(c, endpoint, r)
}

// claims returns the claims of a token for a topic that no test uses.
func (w *world) claims() *auth.Claims { return w.claimsOf(w.both("none")) }

// claimsOf returns the claims of a token.
func (w *world) claimsOf(token string) *auth.Claims {
	w.t.Helper()
	claims, err := w.verifier.Verify(auth.Token(token))
	if err != nil {
		w.t.Fatal(err)
	}
	return claims
}

// onTopics returns a request for a stream of topics.
func onTopics(topics ...pubsub.Topic) (r session.Request) {
	for _, name := range topics {
		r.Subscriptions = append(r.Subscriptions, session.Subscription{Topic: name})
	}
	return r
}

// onTopicsUntil returns a request for a stream of topics that ends at a time.
func (w *world) onTopicsUntil(at time.Time, topics ...pubsub.Topic) session.Request {
	r := onTopics(topics...)
	r.Claims = w.claimsOf(w.ending(topics[0], at))
	return r
}

// say sends a message and lets its token be verified.
func (c *client) say(line string) {
	if c.s.Busy() {
		c.w.t.Fatal("a message for a busy session")
	}
	c.s.Receive([]byte(line), false)
	c.settle()
}

// settle runs everything that is waiting, on the loop and off it.
func (c *client) settle() {
	for {
		c.w.workers.work(context.Background())
		if !c.w.loop.run() {
			return
		}
	}
}

func (c *client) subscribe(topic pubsub.Topic) {
	c.say("/subscribe " + string(topic) + " " + c.w.token(topic))
}

// write lets the socket take up to n bytes.
func (c *client) write(n int) {
	for n > 0 && c.code == 0 {
		p := c.s.Rest()
		if len(p) == 0 {
			p = c.s.Next()
		}
		if len(p) == 0 {
			return
		}
		k := min(n, len(p))
		c.sent = append(c.sent, p[:k]...)
		c.s.Wrote(k)
		n -= k
		if c.refuses = k < len(p); c.refuses {
			return
		}
	}
}

// refuse is a turn of the loop in which the socket takes nothing.
func (c *client) refuse() {
	c.w.group.Collect()
	if len(c.s.Rest()) > 0 || len(c.s.Next()) > 0 {
		c.s.Wrote(0)
		c.refuses = true
	}
}

// turn is a turn of the loop in which the socket takes everything.
func (c *client) turn() {
	for c.w.group.Collect() {
	}
	c.write(1 << 30)
}

// messages returns the complete text frames since the last call.
func (c *client) messages() (all []string) {
	c.w.t.Helper()
	r := bytes.NewReader(c.sent[c.read:])
	for {
		frame, err := frametest.ReadFrame(r)
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return all
		}
		if err != nil || frame.Opcode() != wsframe.Text || !frame.Fin() || frame.Masked {
			c.w.t.Fatalf("frame %+v, %v", frame.Header, err)
		}
		if frame.RSV() == wsframe.RSV1 {
			if frame.Payload, err = frametest.Inflate(frame.Payload); err != nil {
				c.w.t.Fatal(err)
			}
		}
		all = append(all, string(frame.Payload))
		c.read = len(c.sent) - r.Len()
	}
}

func (c *client) expect(t *testing.T, want ...string) {
	t.Helper()
	c.turn()
	got := c.messages()
	if len(got) != len(want) {
		t.Fatalf("got %q, want %q", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
}

// heap returns how much more memory is in use after f.
func heap(f func()) int64 {
	inUse := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC() // This empties pools.
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := inUse()
	f()
	return inUse() - before
}
