package eventstream_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/ikornaselur/notiflux/client/internal/eventstream"
	"github.com/ikornaselur/notiflux/client/internal/rest"
	"github.com/ikornaselur/notiflux/client/internal/wire"
	"github.com/ikornaselur/notiflux/internal/internaltest/memnet"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	serverwire "github.com/ikornaselur/notiflux/internal/wire"
)

const address = "10.0.0.1:80"

// serve serves HTTP on a network in memory until the test ends, and returns the way to it.
// It calls opened with the client's end of each connection, unless it is nil.
func serve(t *testing.T, handler http.HandlerFunc, opened func(*memnet.Conn)) (*rest.Server, *memnet.Link) {
	network := memnet.New()
	listener, err := network.Listen(address)
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: handler, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)}
	var serving sync.WaitGroup
	serving.Go(func() { _ = s.Serve(listener) })
	link := network.Link(memnet.LinkConfig{Opened: opened})
	server, err := rest.New("http://notiflux.test", &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return link.DialContext(ctx, network, address)
		},
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = s.Close()
		serving.Wait()
	})
	return server, link
}

// refuse answers a request with a problem.
func refuse(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"code":%q,"detail":"no"}`, code)
}

// A fake is a server whose streams are written by the test.
type fake struct {
	t       *testing.T
	server  *rest.Server
	streams chan *peer

	mu     sync.Mutex
	refuse func(http.ResponseWriter, *http.Request) bool // answers a request instead; guarded by mu
}

// A peer is the server's end of one event stream.
type peer struct {
	query  string // topics and what the stream is requested with, readable
	token  string
	events chan string
	gone   <-chan struct{} // closed when the client has left
}

func newFake(t *testing.T) *fake {
	f := &fake{t: t, streams: make(chan *peer, 100)}
	f.server, _ = serve(t, f.serve, nil)
	return f
}

// refuseWith has requests answered by refuse from now on, as long as it returns true.
func (f *fake) refuseWith(refuse func(http.ResponseWriter, *http.Request) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refuse = refuse
}

func (f *fake) serve(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	refuse := f.refuse
	f.mu.Unlock()
	if refuse != nil && refuse(w, r) {
		return
	}
	if r.URL.Path == "/history" {
		fmt.Fprint(w, `{"messages":[],"position":"E:0","recovered":true,"more":false}`)
		return
	}
	p := &peer{describeQuery(f.t, r), strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), make(chan string, 100), r.Context().Done()}
	w.Header().Set("Content-Type", "text/event-stream")
	flusher := http.NewResponseController(w)
	_ = flusher.Flush()
	f.streams <- p
	for {
		select {
		case event, more := <-p.events:
			if !more {
				return
			}
			_, _ = w.Write([]byte(event))
			_ = flusher.Flush()
		case <-p.gone:
			return
		}
	}
}

// describeQuery returns the topics of a request, with their positions, and its options.
func describeQuery(t *testing.T, r *http.Request) string {
	q := r.URL.Query()
	cursor := cursorOf(t, r)
	var parts []string
	for _, topic := range q["topic"] {
		if p, ok := cursor.Since(pubsub.Topic(topic)); ok {
			topic += "=" + p.String()
		}
		parts = append(parts, topic)
	}
	for _, name := range []string{"last", "mode"} {
		if q.Has(name) {
			parts = append(parts, name+":"+q.Get(name))
		}
	}
	return strings.Join(parts, " ")
}

func cursorOf(t *testing.T, r *http.Request) (c serverwire.StreamCursor) {
	since := r.URL.Query().Get("since")
	if since == "" {
		return c
	}
	c, err := serverwire.ParseStreamCursor(since)
	if err != nil {
		t.Errorf("since=%s: %v", since, err)
	}
	return c
}

// accept returns the next stream, and fails the test unless it is requested like this.
func (f *fake) accept(want string) *peer {
	f.t.Helper()
	p := <-f.streams
	if p.query != want {
		f.t.Fatalf("got stream  %s\nwant stream %s", p.query, want)
	}
	return p
}

// say sends objects as events.
func (p *peer) say(objects ...string) {
	for _, object := range objects {
		p.events <- "event: x\ndata: " + object + "\nid: opaque\n\n"
	}
}

// hello answers for topics: each is name=position, with a minus if it is not recovered.
func (p *peer) hello(topics ...string) {
	answers := map[string]wire.Answer{}
	for _, topic := range topics {
		name, position, _ := strings.Cut(topic, "=")
		position, lost := strings.CutSuffix(position, "-")
		answers[name] = wire.Answer{Position: position, Recovered: !lost}
	}
	encoded, _ := json.Marshal(answers)
	p.events <- "retry: 1730\n"
	p.say(fmt.Sprintf(`{"type":"hello","connection":"00","topics":%s}`, encoded))
}

// cut ends the stream, after all that was said.
func (p *peer) cut() { close(p.events) }

// ended waits until the client has left the stream.
func (p *peer) ended() { <-p.gone }

func message(topic, position string) string {
	return fmt.Sprintf(`{"type":"message","topic":%q,"position":%q,"time":1,"data":1}`, topic, position)
}

// A user reads a Conn.
type user struct {
	t    *testing.T
	conn *eventstream.Conn
	ids  int64
}

func (f *fake) connect() *user {
	u := &user{t: f.t, conn: eventstream.New(f.server)}
	f.t.Cleanup(func() { _ = u.conn.Close(context.Background()) })
	return u
}

// subscribe sends a command with the next id.
func (u *user) subscribe(c wire.Command) {
	u.t.Helper()
	u.ids++
	c.Type, c.ID = "subscribe", u.ids
	if err := u.conn.Write(u.t.Context(), &c); err != nil {
		u.t.Fatal(err)
	}
}

func (u *user) unsubscribe(topics ...string) {
	u.t.Helper()
	if err := u.conn.Write(u.t.Context(), &wire.Command{Type: "unsubscribe", ID: 99, Topics: topics}); err != nil {
		u.t.Fatal(err)
	}
}

// expect fails the test unless Read returns these next.
func (u *user) expect(want ...string) {
	u.t.Helper()
	for _, w := range want {
		f, err := u.conn.Read()
		if got := describe(f, err); got != w {
			u.t.Fatalf("Read = %s\nwant   %s", got, w)
		}
	}
}

func describe(f *wire.Frame, err error) string {
	if err != nil {
		return fmt.Sprintf("%T %v", err, err)
	}
	switch f.Type {
	case "message", "gap", wire.Expired:
		return fmt.Sprintf("%s %s=%s", f.Type, f.Topic, f.Position)
	case "skipped":
		return fmt.Sprintf("skipped %s=%s", f.Topic, f.To)
	case "unsubscribed":
		return fmt.Sprintf("unsubscribed %s %s", strings.Join(f.Ended(), " "), f.Code)
	case "subscribed":
		out := fmt.Sprintf("subscribed %d", f.ID)
		answers := f.Answers()
		for _, topic := range slices.Sorted(maps.Keys(answers)) {
			out += fmt.Sprintf(" %s=%s", topic, answers[topic].Position)
			if !answers[topic].Recovered {
				out += "-"
			}
		}
		for _, topic := range slices.Sorted(maps.Keys(f.Refused)) {
			out += fmt.Sprintf(" %s:%s", topic, f.Refused[topic].Code)
		}
		return out
	}
	return "a frame of type " + f.Type
}
