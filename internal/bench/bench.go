// Package bench puts load on a notiflux server and measures it. It is the engine of
// `notiflux bench`.
//
// A run opens connections that speak the text protocol and subscribe to one topic each. It
// sends one message to every topic to check the subscriptions. Then it publishes through
// POST /broadcast, either at a rate or with a limited number of messages in flight.
// Connections are read by lanes, one per processor. Each lane has a poller, or, with
// [Config].Portable, a goroutine per connection. A publisher is a goroutine with a
// connection. The flow connects lanes and publishers: it lets publishers send, and lanes
// report to it which messages arrived.
//
// Every message begins with a mark: its publisher, its sequence number among the messages of
// that publisher to the topic, and the time when it was sent. So each delivery shows whether
// an earlier one is missing, whether it is a repetition, and how long it took. Messages of
// different publishers may arrive in any order.
//
// With a rate, the latency of a message begins when the message was due, even if all
// publishers were busy then. So if a server stops for a second, all messages that were due in
// this second show the delay, and not only the few that were waiting for an answer.
//
// Do not use the engine as an example of a client: it reads only as much of a message as it
// needs, and never reconnects.
package bench

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"runtime"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/ikornaselur/notiflux/internal/auth"
)

// Limits of the settings of a run.
const (
	MinMessageBytes = markBytes
	MaxPublishers   = 256
	MaxRate         = 1_000_000
)

const (
	// patience is how long a run waits while nothing arrives before it counts missing
	// deliveries as lost. A busy server pauses for much less.
	patience = 5 * time.Second
	// checkEvery is how often a run checks whether to continue.
	checkEvery = 5 * time.Millisecond
	// spareDescriptors are for everything that is neither a connection nor a publisher:
	// standard streams, pollers, and connections that are being handed over.
	spareDescriptors = 3 + openers + 64
)

// Reasons why a run measured nothing, for which a caller can add advice.
var (
	ErrDescriptors = errors.New("too few file descriptors")
	ErrDenied      = errors.New("the server denied a subscription")
)

// Config holds the settings of a run. All numbers must be at least 1 unless their comment
// says otherwise.
type Config struct {
	URL    *url.URL     // base address, http or https
	Signer *auth.Signer // signs the tokens
	TLS    *tls.Config  // for an https address; nil: what is usual

	Issuer, Audience string // iss and aud of the tokens; empty: none

	Connections  int
	Topics       int           // at most one for each connection
	MessageBytes int           // MinMessageBytes at least
	Publishers   int           // MaxPublishers at most
	Window       int           // messages under way; not used with a Rate
	Rate         float64       // messages a second over all publishers, MaxRate at most; 0: as the Window allows
	Duration     time.Duration // of publishing
	Ramp         int           // connections opened a second; 0: as fast as they come

	Portable bool           // never a poller
	Progress func(Progress) // called every ProgressEvery by one goroutine; may be nil
	// ProgressEvery must be above zero if Progress is set.
	ProgressEvery time.Duration
}

// Progress reports how far a run is.
type Progress struct {
	Open       int // connections now
	Lost       int // connections that failed or ended
	Publishing bool
	Published  uint64        // messages
	Delivered  uint64        // of them, over all connections
	Elapsed    time.Duration // since publishing began
}

// engine is the state of one run.
type engine struct {
	Config
	topics     []string
	began      time.Time
	expires    time.Time // of the tokens
	flow       *flow
	lanes      []*lane
	publishers []*publisher

	// Owned by Run.
	measured bool          // it came to publishing
	stalled  bool          // and ended early
	computed time.Duration // by this process while publishing

	mu sync.Mutex
	// Guarded by mu.
	connecting  *hdrhistogram.Histogram
	openingTime time.Duration
	failed      int   // connections
	first       error // the first thing that went wrong
	publishing  bool
}

// Run makes one run. When ctx ends, the run ends early with a report on what was done until
// then. An error says why nothing was measured; [ErrDescriptors] and [ErrDenied] are examples.
// Failures of the server under load are in the report.
func Run(ctx context.Context, c Config) (*Report, error) {
	if err := enoughDescriptors(c); err != nil {
		return nil, err
	}
	e, err := newEngine(c)
	if err != nil {
		return nil, err
	}
	defer e.close()
	defer e.reportProgress()()

	began := time.Now()
	err = e.open(ctx)
	e.mu.Lock()
	e.openingTime = time.Since(began)
	e.mu.Unlock()
	if err == nil {
		err = e.verify(ctx)
	}
	switch {
	case ctx.Err() != nil:
		return e.report(), nil
	case err != nil:
		return nil, err
	}
	e.measure(ctx)
	return e.report(), nil
}

// enoughDescriptors reports at the start what would otherwise only show near the end.
func enoughDescriptors(c Config) error {
	limit, need := descriptorLimit(), c.Connections+c.Publishers+spareDescriptors
	if limit == 0 || need <= limit {
		return nil
	}
	return fmt.Errorf("%w: %d connections need %d, and the limit is %d: raise it, as with `ulimit -n %d`, or ask for at most %d connections",
		ErrDescriptors, c.Connections, need, limit, need, max(0, c.Connections-(need-limit)))
}

func newEngine(c Config) (*engine, error) {
	began := time.Now()
	e := &engine{Config: c, began: began, connecting: newHistogram()}
	e.URL = c.URL.JoinPath("/") // so that what is joined to it begins with a slash
	if c.Rate > 0 {
		e.Window = 0
	}
	// One hour is for opening connections, and for clocks that differ.
	e.expires = began.Add(c.Duration + time.Hour)
	e.flow = newFlow(c.Topics, func() time.Duration { return time.Since(began) })

	run := make([]byte, 4) // so that runs do not receive each other's messages
	_, _ = rand.Read(run)  // never fails
	tokens := make([]string, c.Topics)
	for i := range c.Topics {
		topic := fmt.Sprintf("bench-%s-%d", hex.EncodeToString(run), i)
		token, err := e.sign(auth.Broadcast, topic, i)
		if err != nil {
			return nil, err
		}
		e.topics, tokens[i] = append(e.topics, topic), token
	}
	sent := newRequests(c.URL.Host, e.URL.JoinPath("broadcast").RequestURI(), e.topics, tokens, c.MessageBytes)
	for i := range c.Publishers {
		e.publishers = append(e.publishers, &publisher{index: i, flow: e.flow, requests: sent, dial: e.dial, next: make([]uint32, c.Topics)})
	}
	for range runtime.GOMAXPROCS(0) {
		e.lanes = append(e.lanes, newLane(e.flow, c.MessageBytes, c.Portable))
	}
	return e, nil
}

// verify sends one message to every topic and waits until each connection has received the
// message of its topic.
func (e *engine) verify(ctx context.Context) error {
	e.publish(ctx, phase{messages: e.Topics}, 0)
	sums, _, _ := e.flow.sums()
	if sums.refused > 0 || sums.unknown > 0 {
		for _, p := range e.publishers {
			if p.first != nil {
				return p.first
			}
		}
	}
	if _, missing, _ := e.flow.state(); missing > 0 {
		return fmt.Errorf("%d of %d connections did not receive the first message of their topic within %v", missing, e.Connections, patience)
	}
	for _, l := range e.lanes {
		l.reset()
	}
	return nil
}

// measure publishes as configured.
func (e *engine) measure(ctx context.Context) {
	e.measured = true
	e.mu.Lock()
	e.publishing = true
	e.mu.Unlock()
	before := processorTime()
	what := phase{window: e.Window}
	if e.Rate > 0 {
		what = phase{rate: e.Rate, messages: max(1, int(e.Rate*e.Duration.Seconds()))}
	}
	e.publish(ctx, what, e.Duration)
	e.computed = processorTime() - before
}

// publish runs a phase, for a fixed time unless that is 0. It returns when everything is
// delivered or when nothing arrives any longer.
func (e *engine) publish(ctx context.Context, what phase, most time.Duration) {
	limited, end := context.WithCancel(ctx)
	defer end()
	if most > 0 {
		defer time.AfterFunc(most, end).Stop()
	}
	e.flow.begin(what)
	var publishing sync.WaitGroup
	for _, p := range e.publishers {
		publishing.Go(func() { p.run(context.WithoutCancel(ctx)) }) // what is being sent is sent
	}
	done := make(chan struct{})
	go func() {
		publishing.Wait()
		close(done)
	}()
	e.watch(limited, done)
	e.flow.end()
	<-done
	e.drain()
}

// watch waits for the end of a phase: its time is over, or done is closed because all
// messages are sent or all publishers gave up. It ends early when no connection is left, or
// when nothing arrives any longer.
func (e *engine) watch(ctx context.Context, done <-chan struct{}) {
	tick := time.NewTicker(checkEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-done:
			return
		case <-tick.C:
		}
		switch open, underWay, quiet := e.flow.state(); {
		case open == 0: // all are lost
			return
		case underWay > 0 && quiet > patience:
			e.stalled = true
			return
		}
	}
}

// drain waits until nothing is in flight, or until nothing arrives any longer.
func (e *engine) drain() {
	tick := time.NewTicker(checkEvery)
	defer tick.Stop()
	for range tick.C {
		if _, underWay, quiet := e.flow.state(); underWay <= 0 || quiet > patience {
			return
		}
	}
}

// opened counts an open connection.
func (e *engine) opened(took time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	_ = e.connecting.RecordValue(min(took, longestLatency).Microseconds())
}

// fail counts a connection that could not be opened.
func (e *engine) fail(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.failed++
	if e.first == nil {
		e.first = err
	}
}

// reportProgress starts the goroutine that reports progress, and returns the function that
// stops it.
func (e *engine) reportProgress() (stop func()) {
	if e.Progress == nil {
		return func() {}
	}
	quit := make(chan struct{})
	var telling sync.WaitGroup
	telling.Go(func() {
		tick := time.NewTicker(e.ProgressEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				e.Progress(e.progress())
			case <-quit:
				return
			}
		}
	})
	return func() {
		close(quit)
		telling.Wait()
	}
}

func (e *engine) progress() Progress {
	e.mu.Lock()
	p := Progress{Lost: e.failed, Publishing: e.publishing}
	e.mu.Unlock()
	p.Open, _, _ = e.flow.state()
	sums, began, _ := e.flow.sums()
	for _, l := range e.lanes {
		t := l.counted(nil)
		p.Lost += t.lost
		p.Delivered += t.got
	}
	if p.Publishing {
		p.Published, p.Elapsed = sums.published, e.flow.now()-began
	}
	return p
}

func (e *engine) close() {
	for _, p := range e.publishers {
		p.close()
	}
	var closing sync.WaitGroup
	for _, l := range e.lanes {
		closing.Go(l.close)
	}
	closing.Wait()
}
