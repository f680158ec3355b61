package client_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ikornaselur/notiflux/client"
	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/config"
	"github.com/ikornaselur/notiflux/internal/internaltest/delivery"
	"github.com/ikornaselur/notiflux/internal/internaltest/memnet"
	"github.com/ikornaselur/notiflux/internal/internaltest/rawclient"
	"github.com/ikornaselur/notiflux/internal/internaltest/servertest"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/server"
)

const (
	bubbleAddress = "10.0.0.1:80"
	bubbleClients = 5 // of Go
	bubbleRaw     = 4 // of bytes
	bubbleSteps   = 450
	bubbleHeld    = 30 // messages of a topic
	bubbleRuns    = 8

	bubbleShutdown = 25 * time.Second // more than a shutdown takes
)

// The same seed gives each client the same bytes at the same virtual times, on one processor
// and on two: the whole server and its clients depend on nothing else.
func TestSameSeedSameBytes(t *testing.T) {
	servertest.NotOnRedis(t, "its time is fake")
	keys := newBubbleKeys(t)
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	for _, seed := range servertest.Seeds(seed, 1, 2) {
		var first []string
		for run := range bubbleRuns {
			processors := 1 + run%2
			runtime.GOMAXPROCS(processors)
			var traces []string
			synctest.Test(t, func(t *testing.T) { traces = runBubble(t, keys, seed, time.Sleep) })
			if t.Failed() {
				t.Fatalf("-seed=%d", seed)
			}
			if run == 0 {
				first = traces
			}
			for i := range traces {
				if traces[i] != first[i] {
					t.Fatalf("-seed=%d: run %d, on %d processors: client %d received something else than in the first run:\n%s",
						seed, run, processors, i, difference(first[i], traces[i]))
				}
			}
		}
	}
}

// difference returns the first lines in which traces differ.
func difference(a, b string) string {
	as, bs := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range min(len(as), len(bs)) {
		if as[i] != bs[i] {
			common := 0
			for common < min(len(as[i]), len(bs[i])) && as[i][common] == bs[i][common] {
				common++
			}
			begin := max(0, common-100)
			return fmt.Sprintf("line %d, from byte %d on:\n%.300s\n%.300s", i, begin, as[i][begin:], bs[i][begin:])
		}
	}
	return fmt.Sprintf("%d lines and %d", len(as), len(bs))
}

// bubbleKeys are made outside of bubbles, because signatures are random.
type bubbleKeys struct {
	file      string // of the public key
	broadcast string
	subscribe [bubbleClients + bubbleRaw]string // each with a sub of its own
}

func newBubbleKeys(t *testing.T) *bubbleKeys {
	private, public, err := auth.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	k := &bubbleKeys{file: filepath.Join(t.TempDir(), "public.pem")}
	if err := os.WriteFile(k.file, public, 0o600); err != nil {
		t.Fatal(err)
	}
	signer, err := auth.ParsePrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	bubbleBegin := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) // by testing/synctest
	sign := func(sub string, scope auth.Scope) string {
		token, err := signer.Sign(auth.Grant{Subject: sub, Scopes: []auth.Scope{scope}, Topics: named(cutTopics), Expires: bubbleBegin.Add(1000 * time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		return string(token)
	}
	k.broadcast = sign("publisher", auth.Broadcast)
	for i := range k.subscribe {
		k.subscribe[i] = sign(fmt.Sprint("client ", i), auth.Subscribe)
	}
	return k
}

// A bubble is a server and its clients. It performs one action at a time.
type bubble struct {
	t        *testing.T
	sleep    func(time.Duration)
	keys     *bubbleKeys
	random   *rand.Rand
	network  *memnet.Network
	recorder *delivery.Recorder
	clients  []*bubbleClient

	publisher *client.Client
	published int

	stop  context.CancelFunc
	ended chan error // of the server that runs
}

// A bubbleClient is a client that may be subscribed.
type bubbleClient struct {
	kind      string
	link      *memnet.Link
	trace     *trace
	recording *delivery.Recording
	stalled   bool

	follow func(context.Context) // is subscribed until the context ends
	close  func()                // when it is not subscribed any more
	counts func() counts

	cancel context.CancelFunc // ends the subscription; nil: there is none
	done   chan struct{}      // closed when it has ended
}

// counts are how often clients resumed, lost messages, and received presence events.
type counts struct{ resumed, lost, presence int }

// runBubble returns what each client received, and when. It runs in bubbles only, so the
// caller passes sleep.
func runBubble(t *testing.T, keys *bubbleKeys, seed uint64, sleep func(time.Duration)) (traces []string) {
	b := &bubble{
		t: t, sleep: sleep, keys: keys, random: rand.New(rand.NewPCG(seed, 0)),
		network: memnet.New(), recorder: new(delivery.Recorder),
	}
	b.startServer()
	link := b.network.Link(memnet.LinkConfig{Latency: 3_001_003})
	transport := &http.Transport{DialContext: link.DialContext}
	o := client.Options{Token: keys.broadcast, HTTPClient: &http.Client{Transport: transport}}
	var err error
	if b.publisher, err = client.NewForTest("http://"+bubbleAddress, o, b.delays(1)); err != nil {
		t.Fatal(err)
	}
	for i := range bubbleClients {
		b.clients = append(b.clients, b.dial(i > 1))
	}
	for _, raw := range []struct {
		kind  string
		speak rawclient.Dialect
	}{{"text", rawclient.Text}, {"stream", rawclient.Events}, {"stream", rawclient.NDJSON}, {"poll", rawclient.Poll}} {
		b.clients = append(b.clients, b.dialRaw(raw.kind, raw.speak))
	}
	for range bubbleSteps {
		b.step()
	}
	b.rest()
	transport.CloseIdleConnections()
	b.stopServer()
	log := b.recorder.Log(bubbleHeld)
	log.Behind = servertest.Remote()
	delivery.Report(t, seed, log)
	sums := make(map[string]counts)
	for _, c := range b.clients {
		traces = append(traces, c.trace.String())
		n, sum := c.counts(), sums[c.kind]
		sums[c.kind] = counts{sum.resumed + n.resumed, sum.lost + n.lost, sum.presence + n.presence}
	}
	for kind, sum := range sums {
		if kind != "text" && (sum.resumed == 0 || sum.lost == 0) || kind == "Go" && sum.presence == 0 {
			t.Errorf("%s: %+v: the run proves nothing", kind, sum)
		}
	}
	return traces
}

// delays returns the waits of a client before its attempts.
func (b *bubble) delays(stream uint64) func(int) time.Duration {
	random := rand.New(rand.NewPCG(b.random.Uint64(), stream))
	var mu sync.Mutex
	return func(attempt int) time.Duration {
		mu.Lock()
		defer mu.Unlock()
		return time.Duration(random.Int64N(int64(min(500*time.Millisecond<<min(attempt, 10), 30*time.Second))))
	}
}

func (b *bubble) startServer() {
	l, err := b.network.Listen(bubbleAddress)
	if err != nil {
		b.t.Fatal(err)
	}
	c := config.Default()
	c.JWTPublicKeyFile, c.Loops = b.keys.file, "portable" // epoll waits in the kernel
	c.HistoryMessages, c.HistoryAge = bubbleHeld, 100*time.Hour
	env := server.Environment{Random: rand.NewPCG(b.random.Uint64(), 0), Loops: 2, Public: l}
	env, _ = servertest.WithBroker(b.t, env, &c)
	s, err := server.Open(c, env, slog.New(slog.DiscardHandler))
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	b.stop, b.ended = stop, make(chan error, 1)
	go func() { b.ended <- s.Run(ctx) }()
}

func (b *bubble) stopServer() {
	b.stop()
	if err := <-b.ended; err != nil {
		b.t.Errorf("the server ended with %v", err)
	}
}

// newClient returns a client without follow, close and counts. Clients have different
// latencies in nanoseconds, so that two events hardly ever happen at the same instant.
func (b *bubble) newClient(kind string, window int) *bubbleClient {
	i := len(b.clients)
	return &bubbleClient{
		kind:      kind,
		link:      b.network.Link(memnet.LinkConfig{Latency: time.Duration(7_000_109 + 10_020_317*i), Window: window}),
		trace:     &trace{began: time.Now()},
		recording: b.recorder.Client(fmt.Sprint("client ", i)),
	}
}

// connect dials so that the client's trace records what it receives.
func (c *bubbleClient) connect(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := c.link.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return c.trace.tap(conn.(*memnet.Conn)), nil
}

// dial connects a Go client, which may be present in the topics.
func (b *bubble) dial(present bool) *bubbleClient {
	window := 2000 << len(b.clients)
	if present {
		// The client requests the members at the instant when it reads that it is subscribed. If
		// its window could be full, the server would continue to write at the same instant.
		window = 1 << 20
	}
	c := b.newClient("Go", window)
	transport := &http.Transport{DisableKeepAlives: true, DialContext: c.connect}
	o := client.Options{Token: b.keys.subscribe[len(b.clients)], HTTPClient: &http.Client{Transport: transport}}
	dialed := connect(b.t, "http://"+bubbleAddress, o, b.delays(uint64(2+len(b.clients))))
	l := &cutListener{t: b.t, recording: c.recording, positions: map[string]client.Position{}}
	c.follow = func(ctx context.Context) { l.follow(ctx, dialed, present) }
	c.close = func() { dialed.Close() }
	c.counts = func() counts { return counts{l.resumed, l.lost, l.presence} }
	return c
}

// dialRaw returns a client that works on bytes.
func (b *bubble) dialRaw(kind string, speak rawclient.Dialect) *bubbleClient {
	c := b.newClient(kind, 2000<<(len(b.clients)-bubbleClients))
	delay := b.delays(uint64(2 + len(b.clients)))
	r := &rawclient.Reader{
		Topics: named(cutTopics), Token: string(b.keys.subscribe[len(b.clients)]), Recording: c.recording,
		Random: rand.New(rand.NewPCG(b.random.Uint64(), 0)),
	}
	once := func(ctx context.Context) error {
		conn, err := c.connect(ctx, "tcp", bubbleAddress)
		if err != nil {
			return err
		}
		defer conn.Close()
		defer context.AfterFunc(ctx, func() { conn.Close() })()
		return r.Follow(rawclient.New(conn), speak)
	}
	c.follow = func(ctx context.Context) {
		for ctx.Err() == nil {
			err := once(ctx)
			_, broken := errors.AsType[*net.OpError](err)
			status, refused := errors.AsType[*rawclient.StatusError](err)
			if refused = refused && strings.Contains(status.Line, " 503 "); !broken && !refused && !errors.Is(err, rawclient.ErrEnded) && ctx.Err() == nil {
				b.t.Errorf("a connection ended while %s: %v", r.Phase, err)
			}
			select {
			case <-time.After(delay(0)):
			case <-ctx.Done():
			}
		}
	}
	c.close = func() {}
	c.counts = func() counts { return counts{r.Recovered, r.Lost, 0} }
	return c
}

// step performs one action.
func (b *bubble) step() {
	c := b.clients[b.random.IntN(len(b.clients))]
	how := []memnet.End{memnet.ByReset, memnet.ByClose}[b.random.IntN(2)]
	switch n := b.random.IntN(100); {
	case n < 50:
		for range 1 + b.random.IntN(10) {
			b.publish(cutTopics[b.random.IntN(len(cutTopics))])
		}
	case n < 60:
		switch {
		case c.cancel == nil:
			c.subscribe()
		case n < 52:
			c.unsubscribe()
		}
	case n < 66:
		c.link.Cut(how)
	case n < 70:
		c.trace.cutAfter(memnet.Direction(b.random.IntN(2)), b.random.IntN(3000), how)
	case n < 78:
		if c.stalled = !c.stalled; c.stalled {
			c.link.Stall()
		} else {
			c.link.Release()
		}
	case n < 80:
		// net/http checks at random intervals whether its connections have ended.
		again := time.Now().Add(bubbleShutdown + b.upTo(10*time.Second))
		b.stopServer()
		b.sleep(time.Until(again))
		b.startServer()
	case n < 85:
		b.sleep(b.upTo(5 * time.Minute))
	default:
		b.sleep(b.upTo(3 * time.Second))
	}
	// Actions at the same instant happen in any order, so no two steps happen at one.
	b.sleep(time.Millisecond + b.upTo(time.Millisecond))
	synctest.Wait()
}

// upTo returns a random time that is not a multiple of the server's intervals.
func (b *bubble) upTo(most time.Duration) time.Duration {
	return time.Duration(b.random.Int64N(int64(most))) | 1
}

func (b *bubble) publish(topic string) {
	b.published++
	data := fmt.Sprint(b.published, strings.Repeat(" é\n", b.random.IntN(300)))
	answered := b.recorder.Publishing(pubsub.Topic(topic), data)
	ctx, cancel := context.WithTimeout(b.t.Context(), time.Minute)
	defer cancel()
	position, err := b.publisher.Publish(ctx, topic, []byte(data))
	if err != nil {
		b.t.Errorf("publish: %v", err)
		return
	}
	answered(delivery.Acknowledged, parse(position))
}

func (c *bubbleClient) subscribe() {
	ctx, cancel := context.WithCancel(context.Background())
	c.cancel, c.done = cancel, make(chan struct{})
	go func() {
		defer close(c.done)
		c.follow(ctx)
	}()
}

// follow records what a loop over a subscription gets until the context ends.
func (l *cutListener) follow(ctx context.Context, c *client.Client, present bool) {
	l.asked = l.recording.Ask(pubsub.Position{}, 0).Time
	s := c.SubscribeWith(client.SubscribeOptions{Since: l.positions, Presence: present}, cutTopics...)
	l.waiting = s.WaitingForTest
	for event, err := range s.Events(ctx) {
		l.note(event, err)
	}
}

func (c *bubbleClient) unsubscribe() {
	c.cancel()
	<-c.done
	c.cancel = nil
	c.recording.Add(delivery.Event{Kind: delivery.Cut})
}

// rest lets all clients receive the rest, and closes them.
func (b *bubble) rest() {
	for _, c := range b.clients {
		if c.stalled {
			c.link.Release()
		}
		if c.cancel == nil {
			c.subscribe()
		}
		b.sleep(time.Millisecond)
	}
	for _, topic := range cutTopics {
		b.publish(topic) // so that the last epoch is known
	}
	b.sleep(10 * time.Minute)
	synctest.Wait()
	for _, c := range b.clients {
		c.recording.Add(delivery.Event{Kind: delivery.Rest})
		c.unsubscribe()
		b.sleep(time.Second)
		c.close()
		b.sleep(time.Second)
	}
}

// A trace is what a client received over all its connections, one line for all bytes that
// arrived over one connection at one time.
type trace struct {
	began time.Time

	mu sync.Mutex
	// Guarded by mu.
	newest *memnet.Conn
	lines  []line
}

type line struct {
	at   time.Duration
	port int // of the connection
	text string
}

// tap returns c so that everything read from it is recorded.
func (tr *trace) tap(c *memnet.Conn) net.Conn {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if tr.newest == nil || port(tr.newest) < port(c) { // Dials that wait for the end of a stall end at once.
		tr.newest = c
	}
	return &tapped{c, tr}
}

// cutAfter cuts the newest connection, if there is one.
func (tr *trace) cutAfter(d memnet.Direction, n int, how memnet.End) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if tr.newest != nil {
		tr.newest.CutAfter(d, n, how)
	}
}

func port(c *memnet.Conn) int { return c.LocalAddr().(*net.TCPAddr).Port }

type tapped struct {
	*memnet.Conn
	trace *trace
}

func (c *tapped) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n == 0 {
		return n, err
	}
	tr := c.trace
	tr.mu.Lock()
	defer tr.mu.Unlock()
	at, from := time.Since(tr.began), port(c.Conn)
	i := len(tr.lines) - 1
	for i >= 0 && tr.lines[i].port != from && tr.lines[i].at == at {
		i--
	}
	if i < 0 || tr.lines[i].at != at {
		i = len(tr.lines)
		tr.lines = append(tr.lines, line{at: at, port: from})
	}
	tr.lines[i].text += string(p[:n])
	return n, err
}

// ownRandom matches bytes that depend on the client's own randomness: WebSocket keys come from
// crypto/rand.
var ownRandom = regexp.MustCompile(`Sec-WebSocket-Accept: [^\r]*`)

func (tr *trace) String() string {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	slices.SortFunc(tr.lines, func(a, b line) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.port, b.port)) })
	var all strings.Builder
	for _, l := range tr.lines {
		fmt.Fprintf(&all, "%v %d %q\n", l.at, l.port, ownRandom.ReplaceAllString(l.text, "Sec-WebSocket-Accept:"))
	}
	return all.String()
}
