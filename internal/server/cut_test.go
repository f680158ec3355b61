package server_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/config"
	"github.com/ikornaselur/notiflux/internal/internaltest/delivery"
	"github.com/ikornaselur/notiflux/internal/internaltest/rawclient"
	"github.com/ikornaselur/notiflux/internal/internaltest/servertest"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

var (
	cuts = flag.Int("cuts", 1000, "how often TestCutAtARandomByte cuts clients of a dialect on a kind of loop")
	seed = flag.Uint64("seed", 0, "of the random choices of tests; 0: others each time")
)

const (
	cutClients = 5
	cutRate    = 500 // messages per second and topic
)

var (
	cutTopics    = []pubsub.Topic{"left", "right"}
	cutHistories = []int{0, 5, 1_000_000} // messages of a topic: no history, one that loses messages, and one that never does
)

var dialects = []struct {
	name  string
	speak rawclient.Dialect
}{{"websocket", rawclient.JSON}, {"events", rawclient.Events}, {"stream", rawclient.NDJSON}, {"poll", rawclient.Poll}}

// A client whose connection is cut at any byte, again and again, gets every message once
// and in order after each resume, or learns that some are missing. Within the limits of the
// history, the server never says that, and no message is missing where it says recovered.
func TestCutAtARandomByte(t *testing.T) {
	seeded()
	for _, d := range dialects {
		for _, held := range cutHistories {
			t.Run(fmt.Sprintf("%s/held=%d", d.name, held), func(t *testing.T) {
				onBothLoops(t, func(t *testing.T, start starter) {
					s := start(func(c *config.Serve) { setHistory(c, held) })
					cutAtRandomBytes(t, s, d.speak, held)
				})
			})
		}
	}
}

// setHistory makes histories hold this number of messages.
func setHistory(c *config.Serve, messages int) {
	c.HistoryMessages, c.HistoryBytes = max(1, messages), c.HistoryTotalBytes
	if messages == 0 {
		c.Sections = []config.Section{{Topic: "*", History: new(config.Switch)}}
	}
}

// seeded makes sure that there is a seed.
func seeded() {
	if *seed == 0 {
		*seed = rand.Uint64()
	}
}

func cutAtRandomBytes(t *testing.T, s *servertest.Server, speak rawclient.Dialect, held int) {
	recorder := new(delivery.Recorder)
	p := newPress(t, s, recorder)
	clients := make([]*cutClient, cutClients)
	for i := range clients {
		clients[i] = newCutClient(t, recorder, i)
		clients[i].url, clients[i].Token = s.URL, s.Token(auth.Subscribe, cutTopics...)
	}
	each := func(do func(c *cutClient)) {
		var wg sync.WaitGroup
		for _, c := range clients {
			wg.Go(func() { do(c) })
		}
		wg.Wait()
	}
	p.begin()
	each(func(c *cutClient) {
		for range *cuts / len(cutHistories) / cutClients {
			p.await(c.Random.IntN(2) * c.Random.IntN(20))
			c.connect(speak, nil)
		}
	})
	goal := p.end()
	each(func(c *cutClient) { c.connect(speak, goal) })

	log := recorder.Log(held)
	log.Behind = servertest.Remote()
	delivery.Report(t, *seed, log)
	total := clients[0]
	for _, c := range clients[1:] {
		total.Recovered += c.Recovered
		total.Lost += c.Lost
		for phase, n := range c.cutIn {
			total.cutIn[phase] += n
		}
	}
	t.Logf("-seed=%d: %d messages; cut while %v; recovered %d times, not recovered %d times", *seed, p.count(), total.cutIn, total.Recovered, total.Lost)
	if held >= p.count() && total.Lost > 0 {
		t.Errorf("not recovered %d times, although the history holds everything", total.Lost)
	}
	if *cuts >= 400 && (held < 10 && total.Lost == 0 || total.Recovered == 0 || len(total.cutIn) < 3) {
		t.Errorf("the cuts prove nothing: %v, recovered %d times, not recovered %d times", total.cutIn, total.Recovered, total.Lost)
	}
}

// A press publishes to the topics at a steady rate.
type press struct {
	t        *testing.T
	s        *servertest.Server
	recorder *delivery.Recorder
	rate     int    // messages per second and topic
	size     int    // about how often a part of a message is repeated at most; 0: 12
	name     string // begins each message, and differs from that of other presses
	stop     context.CancelFunc
	running  sync.WaitGroup

	mu    sync.Mutex
	more  *sync.Cond
	sent  int
	ended bool
	heads map[pubsub.Topic]pubsub.Position
}

func newPress(t *testing.T, s *servertest.Server, r *delivery.Recorder) *press {
	p := &press{t: t, s: s, recorder: r, rate: cutRate, heads: make(map[pubsub.Topic]pubsub.Position)}
	p.more = sync.NewCond(&p.mu)
	return p
}

func (p *press) begin() {
	ctx, stop := context.WithCancel(context.Background())
	p.stop = stop
	for _, topic := range cutTopics {
		p.running.Go(func() { p.publish(ctx, topic) })
	}
}

// end waits for publications in flight, and returns the last position of each topic.
func (p *press) end() map[pubsub.Topic]pubsub.Position {
	p.stop()
	p.running.Wait()
	return p.heads
}

// publish runs until the context ends or something fails.
func (p *press) publish(ctx context.Context, topic pubsub.Topic) {
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.ended = true
		p.more.Broadcast()
	}()
	token := p.s.Token(auth.Broadcast, topic)
	random := rand.New(rand.NewPCG(*seed, 1<<32+uint64(len(topic))))
	pace := time.NewTicker(time.Second / time.Duration(p.rate))
	defer pace.Stop()
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			return
		case <-pace.C:
		}
		// Anything that separates frames of a dialect also occurs inside a message.
		data := fmt.Sprint(p.name, topic, i, strings.Repeat("\n\ndata: {\"é\"}\r\n", random.IntN(cmp.Or(p.size, 12))))
		answered := p.recorder.Publishing(topic, data)
		position, err := post(p.s, topic, data, token)
		if err != nil {
			p.t.Errorf("publish: %v", err)
			return
		}
		answered(delivery.Acknowledged, position)
		p.mu.Lock()
		p.sent++
		p.heads[topic] = position
		p.more.Broadcast()
		p.mu.Unlock()
	}
}

func post(s *servertest.Server, topic pubsub.Topic, data, token string) (pubsub.Position, error) {
	body, err := json.Marshal(map[string]any{"topic": topic, "message": data, "token": token})
	if err != nil {
		return pubsub.Position{}, err
	}
	r, err := s.HTTP.Post(s.URL+"/broadcast", "application/json", bytes.NewReader(body))
	if err != nil {
		return pubsub.Position{}, err
	}
	defer r.Body.Close()
	answer, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != http.StatusOK {
		return pubsub.Position{}, fmt.Errorf("%s: %s, %w", r.Status, answer, err)
	}
	var ok struct{ Position string }
	if err := json.Unmarshal(answer, &ok); err != nil {
		return pubsub.Position{}, err
	}
	return pubsub.ParsePosition(ok.Position)
}

// await waits until n more messages are acknowledged.
func (p *press) await(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for until := p.sent + n; p.sent < until && !p.ended; {
		p.more.Wait()
	}
}

func (p *press) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sent
}
