package client_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/ikornaselur/notiflux/client"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// A blocked server is behind something that blocks WebSockets.
type blocked struct {
	*fake
	streams chan *streamPeer
	refuse  chan func(http.ResponseWriter, *http.Request) // what the next streams get instead
	deny    atomic.Bool                                   // all streams
}

// A streamPeer is the server's end of one event stream.
type streamPeer struct {
	t      testing.TB
	query  string // without what the test leaves to others
	token  string
	events chan string
	over   <-chan struct{} // closed when the client is gone
}

// newBlocked returns a server that answers handshakes with status.
func newBlocked(t testing.TB, block http.HandlerFunc) *blocked {
	b := &blocked{fake: newFake(t), streams: make(chan *streamPeer, 100), refuse: make(chan func(http.ResponseWriter, *http.Request), 100)}
	b.block = block
	b.plain = b.serveStream
	return b
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

func (b *blocked) serveStream(w http.ResponseWriter, r *http.Request) {
	if r.URL.RawQuery == "" {
		answer(400, "malformed")(w, r)
		return
	}
	if r.URL.Path == "/history" {
		if topic := r.URL.Query().Get("topic"); topic == "denied" {
			answer(403, "topic_denied")(w, r)
			return
		}
		answer(200, `{"messages":[],"position":"E:0","recovered":true,"more":false}`)(w, r)
		return
	}
	switch {
	case r.URL.Query().Get("topic") == "denied":
		answer(403, "topic_denied")(w, r)
		return
	case b.deny.Load():
		answer(403, "scope_denied")(w, r)
		return
	}
	select {
	case refuse := <-b.refuse:
		refuse(w, r)
		return
	default:
	}
	q := r.URL.Query()
	query := strings.Join(q["topic"], ",")
	for _, name := range []string{"last", "mode"} {
		if q.Has(name) {
			query += " " + name + "=" + q.Get(name)
		}
	}
	if since := q.Get("since"); since != "" {
		cursor, err := wire.ParseStreamCursor(since)
		if err != nil {
			b.t.Errorf("since=%s: %v", since, err)
		}
		for _, topic := range q["topic"] {
			if position, ok := cursor.Since(pubsub.Topic(topic)); ok {
				query += fmt.Sprintf(" %s=%v", topic, position)
			}
		}
	}
	p := &streamPeer{b.t, query, strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), make(chan string, 100), r.Context().Done()}
	w.Header().Set("Content-Type", "text/event-stream")
	w.WriteHeader(200)
	flusher := http.NewResponseController(w)
	_ = flusher.Flush()
	b.streams <- p
	for {
		select {
		case event, more := <-p.events:
			if !more {
				return
			}
			_, _ = w.Write([]byte(event))
			_ = flusher.Flush()
		case <-r.Context().Done():
			return
		}
	}
}

// accept returns the next stream, and fails the test unless it has this request.
func (b *blocked) accept(want string) *streamPeer {
	b.t.Helper()
	p := <-b.streams
	if p.query != want {
		b.t.Fatalf("got stream  %s\nwant stream %s", p.query, want)
	}
	return p
}

// say sends objects as events.
func (p *streamPeer) say(objects ...string) {
	for _, object := range objects {
		p.events <- "event: message\ndata: " + object + "\nid: opaque\n\n"
	}
}

// hello answers for topics, each as topic=position, with a minus if it is not recovered.
func (p *streamPeer) hello(topics ...string) {
	var members []string
	for _, topic := range topics {
		name, position, _ := strings.Cut(topic, "=")
		position, lost := strings.CutSuffix(position, "-")
		members = append(members, fmt.Sprintf(`%q:{"position":%q,"recovered":%v,"replay":0}`, name, position, !lost))
	}
	p.events <- "retry: 1730\n"
	p.say(`{"type":"hello","connection":"00","topics":{` + strings.Join(members, ",") + `}}`)
	p.events <- ":\n\n"
}

// cut ends the stream after everything that was sent.
func (p *streamPeer) cut() { close(p.events) }

// ended waits until the client has left the stream.
func (p *streamPeer) ended() { <-p.over }

func TestFallsBackToEventStreams(t *testing.T) {
	for name, block := range map[string]http.HandlerFunc{
		"200":                  status(200),
		"400":                  status(400),
		"403":                  status(403),
		"405":                  status(405),
		"426":                  status(426),
		"502":                  status(502),
		"504":                  status(504),
		"upgrade left out":     answer(426, "upgrade_required"),
		"handshake changed":    answer(400, "malformed"),
		"cut without answer":   hangUp,
		"no answer":            hang,
		"cut after the answer": func(w http.ResponseWriter, r *http.Request) { acceptAnd(w, r, func(*websocket.Conn) {}) },
		"silent": func(w http.ResponseWriter, r *http.Request) {
			acceptAnd(w, r, func(c *websocket.Conn) { _, _, _ = c.Read(r.Context()) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBlocked(t, block)
				a := listen(t, b.dial(client.Options{Token: "secret"}), wish{Topics: topics("a", "two words").Topics, Last: 3})
				p := b.accept("a,two words last=3")
				if p.token != "secret" {
					t.Errorf("the token is %q", p.token)
				}
				p.hello("a=E:42", "two words=E:1")
				p.say(message("a", 43, `"x"`), `{"type":"skipped","topic":"a","from":"E:43","to":"E:50"}`, `{"type":"gap","topic":"two words","position":"E:60"}`)
				a.expect("subscribed a E:42 0 resumed=false", "subscribed two words E:1 0 resumed=false",
					`message a E:43 "x"`, "skipped a E:43 E:50", "lost two words E:1 E:60 gap")
				p.cut()
				a.expect("disconnected")
				p = b.accept("a,two words a=E:50 two words=E:60")
				p.hello("a=F:7-", "two words=E:60")
				a.expect("lost a E:50 F:7 expired", "subscribed two words E:60 0 resumed=true")
			})
		})
	}
}

// A temporary failure is no reason to give up WebSockets.
func TestDoesNotFallBackAtOnce(t *testing.T) {
	for _, refusal := range []int{500, 502, 504} {
		t.Run(fmt.Sprint(refusal), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBlocked(t, nil)
				b.fake.refuse = []func(http.ResponseWriter, *http.Request){status(refusal)}
				a := listen(t, b.dial(client.Options{}), wish{Topics: topics("a").Topics, Presence: true})
				p := b.fake.accept()
				p.expect(`{"type":"subscribe","id":1,"topics":["a"],"presence":true}`)
				p.say(subscribedTo(1, "a"))
				a.expect("subscribed a E:0 0 resumed=false")
			})
		})
	}
}

func TestDoesNotFallBack(t *testing.T) {
	for name, block := range map[string]http.HandlerFunc{
		"full":       answer(503, "over_capacity"),
		"origin":     answer(403, "origin_denied"),
		"balancer":   status(503),
		"limiter":    status(429),
		"proxy":      status(407),
		"redirect":   status(302),
		"wrong path": status(404),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBlocked(t, block)
				err := b.new(client.Options{}).Connect(t.Context())
				if _, ok := errors.AsType[*client.Error](err); !ok {
					t.Errorf("Connect = %v, want what was answered", err)
				}
			})
		})
	}
	t.Run("no server", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := newBlocked(t, status(502))
			b.plain = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(502) }
			err := b.new(client.Options{}).Connect(t.Context())
			if refused, ok := errors.AsType[*client.Error](err); !ok || refused.Status != 502 {
				t.Errorf("Connect = %v, want status 502", err)
			}
		})
	})
}

// When topics come and go, the others resume silently.
func TestStreamsFollowTheTopics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBlocked(t, status(502))
		c := b.dial(client.Options{})
		first := listen(t, c, topics("a"))
		p := b.accept("a")
		p.hello("a=E:1")
		p.say(message("a", 2, "2"))
		first.expect("subscribed a E:1 0 resumed=false", "message a E:2 2")

		// A new topic joins the stream.
		second := listen(t, c, wish{Topics: topics("b").Topics, Last: 7})
		p.ended()
		p = b.accept("a,b last=7 a=E:2")
		p.hello("a=E:2", "b=E:0")
		p.say(message("a", 3, "3"))
		second.expect("subscribed b E:0 0 resumed=false")
		first.expect("message a E:3 3")

		// So does a topic with a position, which must not start over.
		third := listen(t, c, wish{Topics: topics("c").Topics, Since: map[string]client.Position{"c": "E:9"}})
		p.ended()
		p = b.accept("a,b,c a=E:3 b=E:0 c=E:9")
		p.hello("a=E:3", "b=E:0", "c=E:9")
		third.expect("subscribed c E:9 0 resumed=false")

		// A position of another epoch does not fit into the cursor, and another mode does not fit
		// into the stream.
		fourth := listen(t, c, wish{Topics: topics("d").Topics, Since: map[string]client.Position{"d": "D:9"}})
		q := b.accept("d d=D:9")
		q.hello("d=E:5-")
		fourth.expect("lost d D:9 E:5 expired")
		fifth := listen(t, c, wish{Topics: topics("e").Topics, Latest: true})
		r := b.accept("e mode=latest")
		r.hello("e=E:0")
		fifth.expect("subscribed e E:0 0 resumed=false")

		// Messages missed while a stream was replaced are reported.
		second.leave()
		second.expect("end context canceled")
		p.ended()
		p = b.accept("a,c a=E:3 c=E:9")
		p.hello("a=E:8-", "c=E:9")
		first.expect("lost a E:3 E:8 expired")

		// All streams together count as the connection.
		r.cut()
		for _, a := range []*audience{first, third, fourth, fifth} {
			a.expect("disconnected")
		}
		b.acceptAll("a,c,d a=E:8 c=E:9 d=E:5", "e mode=latest e=E:0")
	})
}

// acceptAll fails the test unless the next streams are these, in any order.
func (b *blocked) acceptAll(want ...string) {
	b.t.Helper()
	for range want {
		p := <-b.streams
		known := false
		for _, w := range want {
			known = known || p.query == w
		}
		if !known {
			b.t.Errorf("got stream %s, want one of %q", p.query, want)
		}
	}
}

func TestManyTopicsTakeSeveralStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBlocked(t, status(502))
		// costarring and liquid have the same FNV-1a hash: a cursor of version 1 could not
		// distinguish their offsets.
		s := wish{Topics: []string{"costarring", "liquid"}, Since: map[string]client.Position{
			"costarring": "E:1", "liquid": "E:2",
		}}
		for n := range 150 {
			topic := string(fmt.Sprint("long ", n, strings.Repeat("ü", 40)))
			s.Topics = append(s.Topics, topic)
			if n%2 == 0 {
				s.Since[topic] = client.Position(fmt.Sprint("E:", 1<<63+uint64(n)))
			}
		}
		a := listen(t, b.dial(client.Options{}), s)
		seen := map[string]bool{}
		for len(seen) < len(s.Topics) {
			p := <-b.streams
			names, since, _ := strings.Cut(p.query, " costarring=")
			_ = since
			list := strings.Split(strings.SplitN(names, "=", 2)[0], ",")
			if len(list) > 64 {
				t.Errorf("a stream of %d topics", len(list))
			}
			for at, name := range list {
				if at == len(list)-1 {
					for _, topic := range s.Topics { // what follows belongs to the positions
						if strings.HasPrefix(name, string(topic)) {
							name = string(topic)
						}
					}
				}
				seen[name] = true
			}
			if strings.Contains(p.query, "costarring=E:2") || strings.Contains(p.query, "liquid=E:1") || strings.Contains(p.query, "-:") {
				t.Errorf("positions were mixed up: %s", p.query)
			}
		}
		a.leave()
	})
}

func TestRefusedStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBlocked(t, status(502))
		var calls atomic.Int32
		c := b.dial(client.Options{TokenSource: func(context.Context, client.TokenRequest) (string, error) {
			return fmt.Sprint("secret", calls.Add(1)), nil
		}})
		// One denied topic denies the whole stream, but not the other topics. Another token is
		// tried for it.
		b.refuse <- answer(403, "topic_denied")
		a := listen(t, c, topics("a", "denied", "b"))
		a.expect("refused denied topic_denied")
		p := b.accept("a,b")
		p.hello("a=E:0", "b=E:0")
		a.expect("subscribed a E:0 0 resumed=false", "subscribed b E:0 0 resumed=false")

		// An expired token is replaced once. Different tokens use different streams.
		p.say(`{"type":"unsubscribed","topics":["a"],"code":"token_expired"}`)
		q := b.accept("a a=E:0")
		if q.token != "secret3" {
			t.Errorf("the token is %s, want secret3", q.token)
		}
		q.hello("a=E:0")
		a.expect("subscribed a E:0 0 resumed=true")
		p.say(message("b", 1, "1"))
		a.expect("message b E:1 1")

		// A temporary refusal ends the connection.
		b.refuse <- later(503, "7", "draining")
		b.refuse <- answer(401, "token_expired")
		p.say(`{"type":"bye","code":"draining","after":2000}`)
		began := time.Now()
		a.expect("disconnected")
		p = b.accept("a,b a=E:0 b=E:1")
		if took := time.Since(began); took < 9*time.Second || took > 11*time.Second {
			t.Errorf("it was back after %v, want what the server said, 9 s in all", took)
		}
		if p.token != "secret4" {
			t.Errorf("the token is %s, want secret4", p.token)
		}
		p.hello("a=E:0", "b=E:1")
		a.expect("subscribed a E:0 0 resumed=true", "subscribed b E:1 0 resumed=true")
		b.refuse <- answer(403, "topic_denied")
		p.say(`{"type":"unsubscribed","topics":["b"],"code":"topic_denied"}`)
		a.expect("refused b topic_denied")

		// Everything is refused.
		b.deny.Store(true)
		second := listen(t, c, topics("c"))
		second.expect("refused c scope_denied")
		second.over()
		a.expect("refused a scope_denied")
		a.over()
	})
}

func TestPresenceTakesAWebSocket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBlocked(t, status(502))
		c := b.dial(client.Options{})
		a := listen(t, c, wish{Topics: topics("a", "b").Topics, Presence: true})
		a.expect("refused a upgrade_required", "refused b upgrade_required")
		a.over()
		if got := a.subscription.Connection("a"); got != "" {
			t.Errorf("Connection() = %q", got)
		}
	})
}

func TestSilentStreamIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBlocked(t, status(502))
		a := listen(t, b.dial(client.Options{}), topics("a"))
		p := b.accept("a")
		p.hello("a=E:0")
		a.expect("subscribed a E:0 0 resumed=false")
		for range 10 { // comments are life
			time.Sleep(15 * time.Second)
			p.events <- ":\n\n"
		}
		heard := time.Now()
		a.expect("disconnected")
		if got := time.Since(heard); got != 40*time.Second {
			t.Errorf("the stream was given up after %v of silence, want 40s", got)
		}
	})
}

// After a while the client tries a WebSocket again.
func TestWebSocketsAreTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBlocked(t, status(502))
		a := listen(t, b.dial(client.Options{}), topics("a"))
		b.accept("a").hello("a=E:1")
		a.expect("subscribed a E:1 0 resumed=false")
		b.unblock()
		time.Sleep(30 * time.Second) // no comment: it is given up
		a.expect("disconnected")
		p := b.accept("a a=E:1")
		p.hello("a=E:1")
		a.expect("subscribed a E:1 0 resumed=true")
		for range 40 {
			time.Sleep(15 * time.Second)
			p.events <- ":\n\n"
		}
		p.cut()
		a.expect("disconnected")
		w := b.fake.accept()
		w.expect(`{"type":"subscribe","id":1,"topics":["a"],"since":{"a":"E:1"}}`)
	})
}

func TestCloseEndsStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBlocked(t, status(502))
		c := b.dial(client.Options{})
		a := listen(t, c, topics("a"))
		p := b.accept("a")
		p.hello("a=E:0")
		p.say(message("a", 1, "1")) // which nobody takes
		synctest.Wait()
		began := time.Now()
		c.Close()
		a.expect("subscribed a E:0 0 resumed=false", "end the client or the subscription is closed")
		a.over()
		p.ended()
		if took := time.Since(began); took > 0 {
			t.Errorf("Close took %v", took)
		}
	})
}

// A hook is a logger that calls f for each record.
type hook struct {
	slog.Handler
	f func(message string)
}

func (h hook) Enabled(context.Context, slog.Level) bool { return true }

func (h hook) Handle(_ context.Context, r slog.Record) error {
	h.f(r.Message)
	return nil
}

func TestCloseWhileFallingBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBlocked(t, nil)
		var c *client.Client
		c = b.dial(client.Options{Logger: slog.New(hook{slog.DiscardHandler, func(message string) {
			if message == "using event streams" {
				go c.Close()
				synctest.Wait()
			}
		}})})
		a := listen(t, c, topics("a"))
		p := b.fake.accept()
		<-p.commands
		b.mu.Lock()
		b.block = status(502)
		b.mu.Unlock()
		p.cut()
		a.expect("disconnected", "end the client or the subscription is closed")
	})
}
