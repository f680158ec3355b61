package client_test

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/client"
	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/config"
	"github.com/ikornaselur/notiflux/internal/internaltest/delivery"
	"github.com/ikornaselur/notiflux/internal/internaltest/servertest"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

var (
	cuts = flag.Int("cuts", 250, "how often TestCutAtARandomByte cuts clients, for each way to connect and size of the history")
	seed = flag.Uint64("seed", 0, "of the random choices of TestCutAtARandomByte; 0: another each time")
)

const (
	cutClients = 5
	cutRate    = 200 // messages per second and topic
	mostCutAt  = 3000
	// handshakeBytes is more than a server sends before the welcome is complete. At most one of
	// two consecutive connections is cut earlier, because the client would otherwise switch to
	// event streams.
	handshakeBytes = 700
)

var cutTopics = []string{"left", "right"}

// hurry is the back-off of clients in cut tests.
func hurry(int) time.Duration { return rand.N(5 * time.Millisecond) }

// A scissors is a proxy that breaks each connection after a number of bytes from the server.
type scissors struct {
	address string
	blocks  bool // lets no WebSocket through
	most    int  // bytes before a cut; 0: mostCutAt, and not twice in a handshake

	mu      sync.Mutex
	random  *rand.Rand
	left    int // connections that are still to be cut
	cut     int
	spared  bool              // the last one was not cut in its handshake
	open    map[net.Conn]bool // both ends of each connection
	running sync.WaitGroup
}

func newScissors(t *testing.T, server string, blocks bool, random *rand.Rand) *scissors {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	x := &scissors{address: "http://" + listener.Addr().String(), blocks: blocks, random: random, open: map[net.Conn]bool{}}
	var accepting sync.WaitGroup
	accepting.Go(func() {
		for {
			in, err := listener.Accept()
			if err != nil {
				return
			}
			x.running.Go(func() { x.pass(in, strings.TrimPrefix(server, "http://")) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		accepting.Wait()
		x.mu.Lock()
		x.closeLocked()
		x.mu.Unlock()
		x.running.Wait()
	})
	return x
}

// begin cuts the open connections and the next n.
func (x *scissors) begin(n int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.left = n
	x.closeLocked()
}

func (x *scissors) closeLocked() {
	for c := range x.open {
		c.Close()
	}
}

// at returns the number of bytes after which the next connection is cut, or a negative number.
func (x *scissors) at() int64 {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.left == 0 {
		return -1
	}
	x.left--
	x.cut++
	at := x.random.IntN(cmp.Or(x.most, mostCutAt))
	if x.most == 0 && !x.spared && at < handshakeBytes {
		at += handshakeBytes
	}
	x.spared = at >= handshakeBytes
	return int64(at)
}

func (x *scissors) done() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.left == 0
}

func (x *scissors) pass(in net.Conn, server string) {
	defer in.Close()
	head := make([]byte, 4<<10)
	n, err := in.Read(head) // a client sends the head of its request at once
	if err != nil {
		return
	}
	if x.blocks && strings.HasPrefix(string(head[:n]), "GET /ws") {
		_, _ = io.WriteString(in, "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
		return
	}
	out, err := net.Dial("tcp", server)
	if err != nil {
		return
	}
	defer out.Close()
	x.mu.Lock()
	x.open[in], x.open[out] = true, true
	x.mu.Unlock()
	defer func() {
		x.mu.Lock()
		defer x.mu.Unlock()
		delete(x.open, in)
		delete(x.open, out)
	}()
	var up sync.WaitGroup
	up.Go(func() {
		if _, err := out.Write(head[:n]); err == nil {
			_, _ = io.Copy(out, in)
		}
		out.Close()
	})
	if at := x.at(); at < 0 {
		_, _ = io.Copy(in, out)
	} else {
		_, _ = io.CopyN(in, out, at)
	}
	in.Close()
	out.Close()
	up.Wait()
}

// Connections break at any byte, again and again. A loop over a subscription still gets each
// message once and in order, or learns that some are missing, which never happens within the
// limits of the history.
func TestCutAtARandomByte(t *testing.T) {
	if *seed == 0 {
		*seed = rand.Uint64()
	}
	for _, way := range []string{"websocket", "events"} {
		for _, held := range []int{2, 1_000_000} {
			t.Run(fmt.Sprintf("%s/held=%d", way, held), func(t *testing.T) {
				s := servertest.Start(t, func(c *config.Serve) { c.HistoryMessages, c.HistoryBytes = held, c.HistoryTotalBytes })
				cutAtRandomBytes(t, s, way == "events", held)
			})
		}
	}
}

func cutAtRandomBytes(t *testing.T, s *servertest.Server, blocks bool, held int) {
	recorder := new(delivery.Recorder)
	goal := make(chan map[string]client.Position, 2*cutClients)
	var listeners []*cutListener
	var listening sync.WaitGroup
	for n := range cutClients {
		x := newScissors(t, s.URL, blocks, rand.New(rand.NewPCG(*seed, uint64(n))))
		c := connect(t, x.address, client.Options{Token: subscribeToken(s, cutTopics...)}, hurry)
		t.Cleanup(func() { c.Close() })
		// The second one resumes from a position, which needs another connection.
		for _, name := range []string{"from now on", "from a position"} {
			l := &cutListener{t: t, scissors: x, recording: recorder.Client(fmt.Sprint("client ", n, name)), positions: map[string]client.Position{}}
			if name == "from a position" {
				for _, topic := range cutTopics {
					position, err := c.Position(t.Context(), topic)
					if err != nil {
						t.Fatal(err)
					}
					l.positions[topic] = position
				}
			}
			subscription := l.subscribe(c)
			listening.Go(func() { l.listen(subscription, goal) })
			listeners = append(listeners, l)
		}
		x.begin(*cuts / cutClients)
	}
	heads := publishUntil(t, s, recorder, func() bool {
		for _, l := range listeners {
			if !l.scissors.done() && !t.Failed() {
				return false
			}
		}
		return true
	})
	for range listeners {
		goal <- heads
	}
	listening.Wait()

	log := recorder.Log(held)
	log.Behind = servertest.Remote()
	delivery.Report(t, *seed, log)
	cut, resumed, lost := 0, 0, 0
	for _, l := range listeners {
		cut, resumed, lost = cut+l.scissors.cut, resumed+l.resumed, lost+l.lost
		l.scissors.cut = 0 // it is counted
	}
	t.Logf("-seed=%d: cut %d times up to %v; resumed %d times, lost %d times", *seed, cut, heads, resumed, lost)
	if cut < *cuts/cutClients*cutClients || resumed == 0 || held > 10 && lost > 0 || held < 10 && *cuts >= 100 && lost == 0 {
		t.Errorf("cut %d times, resumed %d times, lost %d times with %d messages held", cut, resumed, lost, held)
	}
}

// publishUntil publishes to all topics at a steady rate, and returns their last
// positions.
func publishUntil(t *testing.T, s *servertest.Server, recorder *delivery.Recorder, enough func() bool) map[string]client.Position {
	c, err := client.New(s.URL, client.Options{Token: broadcastToken(s, cutTopics...)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	heads := map[string]client.Position{}
	pace := time.NewTicker(time.Second / cutRate)
	defer pace.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	for n := 0; !enough(); n++ {
		for _, topic := range cutTopics {
			// The separator between events also appears inside a message.
			data := fmt.Sprint(topic, n, strings.Repeat("\n\ndata: {\"é\"}\r\n", n%12))
			answered := recorder.Publishing(pubsub.Topic(topic), data)
			position, err := c.Publish(ctx, topic, []byte(data))
			if err != nil {
				t.Error(err)
				return heads
			}
			answered(delivery.Acknowledged, parse(position))
			heads[topic] = position
		}
		<-pace.C
	}
	return heads
}

// Each message is published once, at whatever byte a publisher's connections break.
func TestPublishCutAtARandomByte(t *testing.T) {
	if *seed == 0 {
		*seed = rand.Uint64()
	}
	s := servertest.Start(t, func(c *config.Serve) { c.HistoryMessages = 10_000 })
	x := newScissors(t, s.URL, false, rand.New(rand.NewPCG(*seed, 0)))
	x.most = 300 // an answer takes about as much
	x.begin(*cuts)
	c := connect(t, s.URL, client.Options{Token: subscribeToken(s, "a")}, hurry)
	defer c.Close()
	p, err := client.NewForTest(x.address, client.Options{Token: broadcastToken(s, "a")}, hurry)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	want := 0
	for ; !x.done() && want < 9000; want += 3 {
		position, err := p.PublishJSON(t.Context(), "a", want)
		if err != nil {
			t.Fatal(err)
		}
		for n, r := range p.PublishAll(t.Context(), []client.Publication{{Topic: "a", JSON: want + 1}, {Topic: "a", JSON: want + 2}}) {
			if r.Err != nil || parse(r.Position).Offset <= parse(position).Offset {
				t.Fatalf("result %d after %v is %v, %v", n, position, r.Position, r.Err)
			}
			position = r.Position
		}
	}
	h, err := c.History(t.Context(), "a", client.HistoryOptions{Limit: 1000})
	for at := max(0, want-1000); err == nil && at < want; {
		if len(h.Messages) == 0 {
			t.Fatalf("%d of %d messages are in the history", at, want)
		}
		for _, m := range h.Messages {
			if string(m.Data) != fmt.Sprint(at) {
				t.Fatalf("message %d is %s", at, m.Data)
			}
			at++
		}
		h, err = c.History(t.Context(), "a", client.HistoryOptions{Since: h.Position})
	}
	if err != nil {
		t.Error(err)
	}
	t.Logf("-seed=%d: cut %d times in %d messages", *seed, x.cut, want)
}

// A cutListener records what a loop gets.
type cutListener struct {
	t         *testing.T
	scissors  *scissors
	recording *delivery.Recording
	positions map[string]client.Position
	asked     delivery.Time // before what is answered next was asked
	waiting   func() int    // the number of entries that the loop has not taken

	resumed, lost int
	presence      int // events
}

// subscribe subscribes from the listener's position.
func (l *cutListener) subscribe(c *client.Client) *client.Subscription {
	l.asked = l.recording.Ask(pubsub.Position{}, 0).Time
	s := c.SubscribeWith(client.SubscribeOptions{Since: l.positions}, cutTopics...)
	l.waiting = s.WaitingForTest
	return s
}

// listen runs until the loop has received everything up to the goal.
func (l *cutListener) listen(s *client.Subscription, goal <-chan map[string]client.Position) {
	ctx, cancel := context.WithTimeout(l.t.Context(), 5*time.Minute)
	defer cancel()
	reached := func(heads map[string]client.Position) bool {
		for topic, head := range heads {
			if parse(l.positions[topic]).Offset < parse(head).Offset {
				return false
			}
		}
		return heads != nil
	}
	var heads map[string]client.Position
	events := make(chan func(), 1)
	go func() {
		defer close(events)
		for event, err := range s.Events(ctx) {
			taken := make(chan struct{})
			events <- func() {
				l.note(event, err)
				close(taken)
			}
			<-taken
		}
	}()
	for !reached(heads) {
		select {
		case heads = <-goal:
			goal = nil // the next ones are for others
		case note, more := <-events:
			if !more {
				return
			}
			note()
		}
	}
	l.recording.Add(delivery.Event{Kind: delivery.Rest})
	cancel()
	for note := range events {
		note()
	}
}

// note records what the iterator yielded.
func (l *cutListener) note(event client.Event, err error) {
	out := delivery.Event{}
	if lost, ok := err.(*client.LostError); ok {
		l.lost++
		out = l.answer(lost.Topic, lost.Position, -1)
		if lost.Reason != client.Expired { // an overflow has no answer of the server either
			out = delivery.Event{Kind: delivery.Gap, Topic: pubsub.Topic(lost.Topic), Position: parse(lost.Position)}
		}
	} else if err != nil {
		if l.t.Context().Err() == nil && err != context.Canceled {
			l.t.Errorf("the iteration ended with %v", err)
		}
		return
	}
	switch e := event.(type) {
	case client.Message:
		out = delivery.Event{Kind: delivery.Message, Topic: pubsub.Topic(e.Topic), Position: parse(e.Position), Data: e.Text()}
	case client.Subscribed:
		if e.Resumed {
			l.resumed++
		}
		out = l.answer(e.Topic, e.Position, e.Replay)
		out.Recovered = true
	case client.Present, client.Joined, client.Left:
		l.presence++
		return
	case client.Disconnected:
		out = delivery.Event{Kind: delivery.Cut}
	}
	l.recording.Add(out)
	if out.Topic != "" {
		l.positions[string(out.Topic)] = client.Position(out.Position.String())
	}
	// The client resubscribes after it has put Disconnected into the queue, and it does not
	// wait for the loop. After a message, Disconnected comes after now if nothing waits. After
	// the answer for one topic, that for the other may still come.
	if now := l.recording.Ask(pubsub.Position{}, 0).Time; out.Kind == delivery.Message && l.waiting() == 0 {
		l.asked = now
	}
}

func (l *cutListener) answer(topic string, position client.Position, replay int) delivery.Event {
	return delivery.Event{
		Kind: delivery.Subscribed, Topic: pubsub.Topic(topic), Position: parse(position), Replay: max(replay, 0),
		Ask: delivery.Ask{Time: l.asked, Since: parse(l.positions[topic])},
	}
}

// connect returns a client that is connected.
func connect(t *testing.T, address string, o client.Options, delay func(int) time.Duration) *client.Client {
	t.Helper()
	c, err := client.NewForTest(address, o, delay)
	if err == nil {
		err = c.Connect(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func subscribeToken(s *servertest.Server, topics ...string) string {
	return string(s.Token(auth.Subscribe, named(topics)...))
}

func broadcastToken(s *servertest.Server, topics ...string) string {
	return string(s.Token(auth.Broadcast, named(topics)...))
}

func named(topics []string) (all []pubsub.Topic) {
	for _, topic := range topics {
		all = append(all, pubsub.Topic(topic))
	}
	return all
}

// parse parses a position, which programs must not do. It returns zero for an empty one.
func parse(p client.Position) pubsub.Position {
	position, _ := pubsub.ParsePosition(string(p))
	return position
}
