package server_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/broker"
	"github.com/ikornaselur/notiflux/internal/broker/memory"
	"github.com/ikornaselur/notiflux/internal/dialect/httpstream"
	"github.com/ikornaselur/notiflux/internal/dialect/v1json"
	"github.com/ikornaselur/notiflux/internal/dialect/v1text"
	"github.com/ikornaselur/notiflux/internal/internaltest/authtest"
	"github.com/ikornaselur/notiflux/internal/internaltest/frametest"
	"github.com/ikornaselur/notiflux/internal/loop"
	"github.com/ikornaselur/notiflux/internal/presence"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/session"
	"github.com/ikornaselur/notiflux/internal/topic"
	"github.com/ikornaselur/notiflux/internal/transport"
	"github.com/ikornaselur/notiflux/internal/worker"
	"github.com/ikornaselur/notiflux/internal/wsframe"
)

// closeTooSlow is the close code for a client that did not read.
const closeTooSlow = 4202

// A bubble is the part of a server behind its listener, in a synctest bubble: a loop, its
// sessions and their dependencies. Its connections are unbuffered pipes, so a write waits
// until the client reads.
type bubble struct {
	t        *testing.T
	loop     *loop.Loop
	group    *session.Group
	topics   *topic.Topics
	signer   *auth.Signer
	verifier *auth.Verifier
	stats    session.Stats
	sockets  transport.Config
	unread   *transport.Unread
	offset   uint64

	endpoints struct{ text, json, events *session.Endpoint }
}

// newBubble returns one that ends with the test.
func newBubble(t *testing.T) *bubble {
	orders, topics := memory.New(memory.Config{Epoch: "E"}, topic.Config{})
	b := &bubble{t: t, topics: topics, signer: authtest.NewSigner(t), unread: transport.NewUnread(0)}
	b.verifier = authtest.NewVerifier(t, b.signer)
	b.sockets.Stats = new(transport.Stats)
	pool := worker.NewPool(1, 0, slog.New(slog.DiscardHandler))
	b.loop = loop.New(loop.Config{Portable: true, Collect: func() bool { return b.group.Collect() }})
	b.endpoints.text, b.endpoints.json, b.endpoints.events = v1text.Endpoint(), v1json.Endpoint(""), httpstream.Events()
	attacher := broker.NewAttacher(orders, broker.AttacherConfig{})
	b.group = session.NewGroup(session.Config{
		Endpoints: []*session.Endpoint{b.endpoints.text, b.endpoints.json, b.endpoints.events},
		Topics:    b.topics, Broker: orders, Attacher: attacher, Members: broker.Roster{Topics: b.topics, Presence: presence.New(presence.Config{}), Attacher: attacher}, Verifier: b.verifier,
		VerifyWorkers: pool, WaitWorkers: pool, Unread: b.unread.Sessions, UnauthenticatedUnread: b.unread.Unauthenticated, Stats: &b.stats,
	}, b.loop)
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { b.loop.Run(ctx) })
	running.Go(func() { pool.Run(ctx) })
	t.Cleanup(func() { stop(); running.Wait() })
	return b
}

func (b *bubble) token(topics ...pubsub.Topic) string {
	b.t.Helper()
	return b.sign(time.Time{}, topics...)
}

// sign returns a token whose subscriptions end at a time; zero: never.
func (b *bubble) sign(until time.Time, topics ...pubsub.Topic) string {
	token, err := b.signer.Sign(auth.Grant{Subject: "s", Scopes: []auth.Scope{auth.Subscribe}, Topics: topics, Expires: time.Now().Add(1000 * time.Hour), Until: until})
	if err != nil {
		b.t.Fatal(err)
	}
	return string(token)
}

func (b *bubble) publish(topic pubsub.Topic, data string) {
	b.topics.Order([]pubsub.Publication{{Topic: topic, Body: pubsub.Body{Data: []byte(data)}}}, func() uint64 { b.offset++; return b.offset })
}

// open returns the client's end of a connection. The client's writes never block the test.
func (b *bubble) open(client func(c *loop.Conn, now time.Duration) loop.Client) *pipe {
	ours, theirs := net.Pipe()
	p := &pipe{Conn: theirs, sending: make(chan []byte, 10_000)}
	go func() {
		for m := range p.sending {
			if _, err := theirs.Write(m); err != nil {
				return
			}
		}
	}()
	b.t.Cleanup(func() { theirs.Close(); close(p.sending) })
	b.loop.Serve(ours, nil, client)
	synctest.Wait()
	return p
}

type pipe struct {
	net.Conn
	sending chan []byte
}

func (p *pipe) send(frame []byte) { p.sending <- frame }

func (p *pipe) say(message string) { p.send(frametest.Text(message)) }

func (b *bubble) text() *pipe {
	return b.open(func(c *loop.Conn, now time.Duration) loop.Client {
		socket := transport.NewWebSocket(&b.sockets, c, now)
		socket.Serve(b.group.Open(socket, b.endpoints.text, session.Request{Now: now}))
		return socket
	})
}

func (b *bubble) json() *pipe {
	return b.open(func(c *loop.Conn, now time.Duration) loop.Client {
		socket := transport.NewWebSocket(&b.sockets, c, now)
		socket.Serve(b.group.Open(socket, b.endpoints.json, session.Request{Now: now}))
		return socket
	})
}

func (b *bubble) events(until time.Time, topics ...pubsub.Topic) *pipe {
	claims, err := b.verifier.Verify(auth.Token(b.sign(until, topics...)))
	if err != nil {
		b.t.Fatal(err)
	}
	r := session.Request{Claims: claims}
	for _, name := range topics {
		pin, err := b.topics.Open(name, pubsub.Position{}, topic.ResumePoint{})
		if err != nil {
			b.t.Fatal(err)
		}
		r.Subscriptions, r.Pins = append(r.Subscriptions, session.Subscription{Topic: name}), append(r.Pins, pin)
	}
	return b.open(func(c *loop.Conn, now time.Duration) loop.Client {
		stream := transport.NewStream(&b.sockets, c, []byte("head\n"), now)
		stream.Serve(b.group.Open(stream, b.endpoints.events, r))
		return stream
	})
}

// left returns the number of open sessions.
func (b *bubble) left() int64 {
	synctest.Wait()
	return b.stats.Sessions.Load()
}

// What clients do that read nothing, in each dialect.
var readNothing = map[string]func(b *bubble) *pipe{
	"text that only sends commands": func(b *bubble) *pipe {
		p := b.text()
		for range 900 {
			p.say("/subscribe " + strings.Repeat("x", 300) + " t")
		}
		return p
	},
	"text that also pings": func(b *bubble) *pipe {
		p := b.text()
		for range 90 {
			p.say("/nonsense")
			p.send(frametest.Ping("p"))
		}
		return p
	},
	"text with a message": func(b *bubble) *pipe {
		p := b.text()
		p.say("/subscribe a " + b.token("a"))
		synctest.Wait()
		b.publish("a", "x")
		return p
	},
	"JSON, not even the welcome": func(b *bubble) *pipe {
		p := b.json()
		p.say(`{"type":"ping"}`)
		return p
	},
	"events": func(b *bubble) *pipe { return b.events(time.Time{}, "a") },
	"events of several topics": func(b *bubble) *pipe {
		p := b.events(time.Time{}, "a", "b")
		b.publish("b", "x")
		return p
	},
}

func TestAClientThatReadsNothingIsCutOff(t *testing.T) {
	for name, do := range readNothing {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBubble(t)
				p := do(b)
				time.Sleep(55*time.Second - time.Since(began(b)))
				if b.left() != 1 {
					t.Fatal("cut off before its time")
				}
				time.Sleep(20 * time.Second) // 60 s, and 5 s for the close frame
				if n := b.left(); n != 0 {
					t.Fatal("the session is still open")
				}
				if got := b.sockets.Stats.Closes(); got[closeTooSlow] != 1 {
					t.Errorf("closes %v, want one with %d", got, closeTooSlow)
				}
				if n, err := io.Copy(io.Discard, p); n > 0 {
					t.Errorf("the client still reads %d bytes, %v", n, err)
				}
				if used := b.unread.Used(); used != 0 {
					t.Errorf("%d bytes of answers remain", used)
				}
			})
		})
	}
}

// began returns when the bubble began.
func began(*bubble) time.Time { return time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) }

// A client that resumes reading in time learns why the connection ends, if its dialect can
// say so.
func TestACutOffClientLearnsWhy(t *testing.T) {
	for name, c := range map[string]struct {
		open func(b *bubble) *pipe
		want string
	}{
		"text":   {readNothing["text with a message"], "\x88"},
		"JSON":   {readNothing["JSON, not even the welcome"], `"bye","code":"too_slow"`},
		"events": {readNothing["events"], `"bye","code":"too_slow"`},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBubble(t)
				p := c.open(b)
				time.Sleep(63 * time.Second)
				p.SetReadDeadline(time.Now().Add(time.Minute))
				got, err := io.ReadAll(p)
				if err != nil || !strings.Contains(string(got), c.want) {
					t.Errorf("read %q, %v; want it to contain %q", got, err, c.want)
				}
			})
		})
	}
}

// A client that reads slowly, but stays within the history, is not cut off.
func TestAClientThatReadsSlowlyStays(t *testing.T) {
	for name, open := range map[string]func(b *bubble) *pipe{
		"text":                     readNothing["text with a message"],
		"text with answers":        readNothing["text that only sends commands"],
		"JSON":                     readNothing["JSON, not even the welcome"],
		"events":                   readNothing["events"],
		"events of several topics": readNothing["events of several topics"],
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBubble(t)
				b.sockets.PingTimeout = -1 // it need not answer pings here
				p := open(b)
				b.publish("a", strings.Repeat("x", 50_000))
				for i := range 100 {
					time.Sleep(50 * time.Second)
					if _, err := p.Read(make([]byte, 1)); err != nil {
						t.Fatalf("after %d bytes: %v", i, err)
					}
				}
			})
		})
	}
}

// Delays of the loop itself do not count.
func TestALateLoopCutsOffNoClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t)
		p := b.events(time.Time{}, "a")
		time.Sleep(30 * time.Second)
		for range 3 {
			b.loop.Post(func() { time.Sleep(100 * time.Second) })
			time.Sleep(102 * time.Second)
		}
		if b.left() != 1 {
			t.Fatal("cut off although the loop was late")
		}
		if _, err := p.Read(make([]byte, 100)); err != nil {
			t.Error(err)
		}
	})
}

// A client that reads nothing does not delay a shutdown, whatever its dialect.
func TestAClientThatReadsNothingDoesNotHoldADrain(t *testing.T) {
	for name, do := range readNothing {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBubble(t)
				do(b)
				b.loop.Post(func() { b.group.Drain(0) })
				time.Sleep(8 * time.Second)
				if n := b.left(); n != 0 {
					t.Error("the session is still open")
				}
			})
		})
	}
}

// A stream ends with its token, even if its client does not read.
func TestAnUnreadStreamEndsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t)
		b.events(time.Now().Add(20*time.Second), "a")
		time.Sleep(19 * time.Second)
		if b.left() != 1 {
			t.Fatal("ended before its time")
		}
		time.Sleep(8 * time.Second)
		if b.left() != 0 {
			t.Error("the session is still open")
		}
	})
}

// A client that pauses while the connection ends has 5 s for the close frame.
func TestACloseFrameHasItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t)
		p := b.text()
		b.loop.Post(func() { b.group.Drain(0) })
		time.Sleep(4 * time.Second)
		p.SetReadDeadline(time.Now().Add(time.Minute))
		frame, err := frametest.ReadFrame(p)
		if err != nil || frame.Opcode() != wsframe.Close {
			t.Errorf("read a frame with opcode %v, %v; want a close frame", frame.Opcode(), err)
		}
	})
}
