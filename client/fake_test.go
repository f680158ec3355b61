package client_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/ikornaselur/notiflux/client"
	"github.com/ikornaselur/notiflux/internal/internaltest/memnet"
)

// A fake is a server controlled by its test, on an in-memory network, so that time can be fake
// too.
type fake struct {
	t       testing.TB
	link    *memnet.Link
	peers   chan *peer
	open    func(*memnet.Conn) // gets the client's end of each connection; nil: not called
	plain   http.HandlerFunc   // what is no handshake; nil: there is nothing
	welcome string             // the first frame; empty: that of a server with its defaults

	mu      sync.Mutex
	block   func(http.ResponseWriter, *http.Request)   // what each handshake gets instead; nil: they go through
	refuse  []func(http.ResponseWriter, *http.Request) // what the next handshakes get instead
	dialled []time.Time
}

const (
	base        = "http://notiflux.test"
	fakeAddress = "10.0.0.1:80"
)

func newFake(t testing.TB) *fake {
	network := memnet.New()
	listener, err := network.Listen(fakeAddress)
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{t: t, peers: make(chan *peer, 100)}
	// The window is smaller than a large message, so a client that does not read blocks f.
	f.link = network.Link(memnet.LinkConfig{Window: 4 << 10, Opened: func(c *memnet.Conn) {
		if f.open != nil {
			f.open(c)
		}
	}})
	server := &http.Server{Handler: http.HandlerFunc(f.serve), ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) })
	t.Cleanup(func() {
		_ = server.Close()
		serving.Wait()
	})
	return f
}

// client returns an HTTP client that reaches f.
func (f *fake) client() *http.Client {
	return &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return f.link.DialContext(ctx, network, fakeAddress)
		},
	}}
}

func (f *fake) serve(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/ws" {
		if f.plain == nil {
			http.NotFound(w, r)
			return
		}
		f.plain(w, r)
		return
	}
	f.mu.Lock()
	f.dialled = append(f.dialled, time.Now())
	refuse := f.block
	if len(f.refuse) > 0 {
		refuse, f.refuse = f.refuse[0], f.refuse[1:]
	}
	f.mu.Unlock()
	if refuse != nil {
		refuse(w, r)
		return
	}
	p := newPeer(f.t, w, r)
	if p == nil {
		return
	}
	var writing sync.WaitGroup
	defer writing.Wait()
	defer close(p.over)
	writing.Go(p.write)
	p.say(cmp.Or(f.welcome, `{"type":"welcome","connection":"00","version":"0","ping":25,"limits":{"message":65536,"command":81920,"topics":1000,"topicsPerCommand":100,"commandsPerSecond":100}}`))
	f.peers <- p
	p.read()
}

// refuseNext makes the next handshake fail with a status and, if it is not empty, a
// Retry-After header.
func (f *fake) refuseNext(status int, after string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refuse = append(f.refuse, func(w http.ResponseWriter, _ *http.Request) {
		if after != "" {
			w.Header().Set("Retry-After", after)
		}
		w.WriteHeader(status)
		fmt.Fprint(w, `{"code":"over_capacity","detail":"it is full"}`)
	})
}

// unblock accepts handshakes from now on.
func (f *fake) unblock() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.block = nil
}

// acceptAnd accepts a handshake without a server behind it, and closes after a while.
func acceptAnd(w http.ResponseWriter, r *http.Request, while func(*websocket.Conn)) {
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"notiflux.v1.json"}})
	if err == nil {
		while(conn)
		conn.CloseNow()
	}
}

// dials returns the times of handshakes.
func (f *fake) dials() []time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]time.Time(nil), f.dialled...)
}

// A peer is the server's end of one connection.
type peer struct {
	t        testing.TB
	conn     *websocket.Conn
	commands chan string
	frames   chan func() // what is to be written, in order
	over     chan struct{}
}

func newPeer(t testing.TB, w http.ResponseWriter, r *http.Request) *peer {
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"notiflux.v1.json"}})
	if err != nil {
		t.Errorf("accept: %v", err)
		return nil
	}
	conn.SetReadLimit(-1)
	return &peer{t, conn, make(chan string, 1000), make(chan func(), 100), make(chan struct{})}
}

func (p *peer) read() {
	for {
		_, data, err := p.conn.Read(context.Background())
		if err != nil {
			p.conn.CloseNow()
			close(p.commands)
			return
		}
		p.commands <- string(data)
	}
}

func (p *peer) write() {
	for {
		select {
		case send := <-p.frames:
			send()
		case <-p.over:
			return
		}
	}
}

// send sends a frame, and reports whether it succeeded. It blocks while the client does not
// read.
func (p *peer) send(frame string) bool {
	return p.conn.Write(context.Background(), websocket.MessageText, []byte(frame)) == nil
}

// say sends frames in the background.
func (p *peer) say(frames ...string) {
	for _, frame := range frames {
		p.frames <- func() { p.send(frame) }
	}
}

// expect fails the test unless the next commands are these.
func (p *peer) expect(want ...string) {
	p.t.Helper()
	for _, w := range want {
		if got := <-p.commands; got != w {
			p.t.Fatalf("got command %s\nwant        %s", got, w)
		}
	}
}

// end closes the connection with a code, after everything that was sent and a last frame if it
// is not empty.
func (p *peer) end(code websocket.StatusCode, bye string) {
	if bye != "" {
		p.say(bye)
	}
	p.frames <- func() { p.conn.Close(code, "so it is") }
}

// cut breaks the connection after everything that was sent.
func (p *peer) cut() { p.frames <- func() { p.conn.CloseNow() } }

// accept returns the next connection.
func (f *fake) accept() *peer { return <-f.peers }

// dial returns a client of f, closed at the end of the test.
func (f *fake) dial(o client.Options) *client.Client {
	f.t.Helper()
	c := f.new(o)
	if err := c.Connect(context.Background()); err != nil {
		f.t.Fatal(err)
	}
	return c
}

// new returns a client of f that is not connected, closed at the end of the test.
func (f *fake) new(o client.Options) *client.Client {
	f.t.Helper()
	o.HTTPClient = f.client()
	c, err := client.New(base, o)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { c.Close() })
	return c
}

// A wish is what a test subscribes to.
type wish struct {
	Topics           []string
	Since            map[string]client.Position
	Last             int
	Latest, Presence bool
	Buffer           int
	Pattern          string // in place of Topics
}

func (w wish) subscribe(c *client.Client) *client.Subscription {
	if w.Pattern != "" {
		return c.SubscribePattern(w.Pattern, client.PatternOptions{Since: w.Since[w.Pattern], Buffer: w.Buffer})
	}
	return c.SubscribeWith(client.SubscribeOptions{Since: w.Since, Last: w.Last, Latest: w.Latest, Presence: w.Presence, Buffer: w.Buffer}, w.Topics...)
}

func topics(names ...string) wish { return wish{Topics: names} }

// An audience is a loop over a subscription whose body is controlled by the test.
type audience struct {
	t            testing.TB
	subscription *client.Subscription
	events       chan string
	leave        context.CancelFunc // ends it by its context
	stop         chan struct{}      // ends it by break
}

func listen(t testing.TB, c *client.Client, w wish) *audience {
	ctx, cancel := context.WithCancel(context.Background())
	a := &audience{t, w.subscribe(c), make(chan string), cancel, make(chan struct{})}
	go func() {
		defer close(a.events)
		for event, err := range a.subscription.Events(ctx) {
			select {
			case a.events <- describe(event, err):
			case <-a.stop:
				return
			}
		}
	}()
	t.Cleanup(func() {
		cancel()
		for range a.events {
		}
	})
	return a
}

// describe formats a result of the iterator for the message of a failed test.
func describe(event client.Event, err error) string {
	if lost, ok := errors.AsType[*client.LostError](err); ok {
		return fmt.Sprintf("lost %s %v %v %v", lost.Topic, lost.Since, lost.Position, lost.Reason)
	}
	if refused, ok := errors.AsType[*client.Error](err); ok && refused.Topic != "" {
		return fmt.Sprintf("refused %s %s", refused.Topic, refused.Code)
	}
	if err != nil {
		return "end " + err.Error()
	}
	switch e := event.(type) {
	case client.Message:
		if e.JSON {
			return fmt.Sprintf("message %s %v %s", e.Topic, e.Position, e.Data)
		}
		return fmt.Sprintf("message %s %v %q", e.Topic, e.Position, e.Data)
	case client.Subscribed:
		return fmt.Sprintf("subscribed %s %v %d resumed=%v", e.Topic, e.Position, e.Replay, e.Resumed)
	case client.PatternPosition:
		return fmt.Sprintf("reached %s %v", e.Pattern, e.Position)
	case client.Skipped:
		return fmt.Sprintf("skipped %s %v %v", e.Topic, e.From, e.To)
	case client.Disconnected:
		return "disconnected"
	case client.Present:
		if e.Err != nil {
			return fmt.Sprintf("present %s %v", e.Topic, e.Err)
		}
		return fmt.Sprintf("present %s %d of %d%s", e.Topic, e.Count, e.Subscribers, describeMembers(e.Members))
	case client.Joined:
		return fmt.Sprintf("joined %s%s", e.Topic, describeMembers(e.Members))
	case client.Left:
		return fmt.Sprintf("left %s%s", e.Topic, describeMembers(e.Members))
	}
	return fmt.Sprintf("unknown %T", event)
}

func describeMembers(members []client.Member) string {
	var out strings.Builder
	for _, m := range members {
		fmt.Fprintf(&out, " %s%s", m.Sub, m.Info)
	}
	return out.String()
}

// expect fails the test unless these events are next.
func (a *audience) expect(want ...string) {
	a.t.Helper()
	for _, w := range want {
		if got := <-a.events; got != w {
			a.t.Fatalf("got event %q\nwant      %q", got, w)
		}
	}
}

// over fails the test unless the iteration has ended.
func (a *audience) over() {
	a.t.Helper()
	if got, more := <-a.events; more {
		a.t.Fatalf("got event %q after the last", got)
	}
}

// subscribedTo answers the subscribe command with an id: the topics are at E:0, without replay.
func subscribedTo(id int, topics ...string) string {
	var members []string
	for _, topic := range topics {
		members = append(members, fmt.Sprintf(`%q:{"position":"E:0","recovered":true,"replay":0}`, topic))
	}
	return fmt.Sprintf(`{"type":"subscribed","id":%d,"topics":{%s}}`, id, strings.Join(members, ","))
}

func message(topic string, offset int, data string) string {
	return fmt.Sprintf(`{"type":"message","topic":%q,"position":"E:%d","time":1790000000000,"data":%s}`, topic, offset, data)
}

// logged returns a logger and its output.
func logged() (*slog.Logger, *strings.Builder) {
	var out strings.Builder
	return slog.New(slog.NewTextHandler(io.Writer(&out), &slog.HandlerOptions{Level: slog.LevelDebug})), &out
}
