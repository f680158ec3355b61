// Package bench loads a notiflux server and finds out how well it bears that:
// the engine of `notiflux bench`.
//
// A run opens connections that speak the text protocol and subscribe to one
// topic each, sends one message to every topic to see that the subscriptions
// hold, and then publishes through POST /broadcast, either as many messages as
// a window allows to be under way, or at a rate. Connections are read by lanes,
// one per processor, each with a poller ([Config].Portable: a goroutine per
// connection); a publisher is a goroutine and a connection. The flow stands
// between them: it lets publishers go on, and lanes tell it what arrived.
//
// Every message begins with a mark: its publisher, its sequence among the
// messages of that publisher to the topic, and when it was sent. So each
// delivery tells whether one before it is missing, whether it came before, and
// how long it took. Messages of different publishers may come in any order.
//
// With a rate, a message that publishers were too busy to send when it was due
// counts from that moment: a server that stops for a second shows that second,
// not only in the few messages that waited for an answer.
//
// The engine is no client to copy: it reads of a message what it has to, and
// never reconnects.
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

// What a run can be asked for.
const (
	MinMessageBytes = markBytes
	MaxPublishers   = 256
	MaxRate         = 1_000_000
)

const (
	// patience is how long a run waits while nothing comes, before it takes
	// what is missing for lost: the pause of a busy server is much shorter.
	patience = 5 * time.Second
	// checkEvery is how often a run looks whether it may go on.
	checkEvery = 5 * time.Millisecond
	// spareDescriptors are for what is neither a connection nor a publisher:
	// standard streams, pollers, and connections that are handed over.
	spareDescriptors = 3 + openers + 64
)

// Why there was nothing to measure, where a caller knows more about it.
var (
	ErrDescriptors = errors.New("too few file descriptors")
	ErrDenied      = errors.New("the server denied a subscription")
)

// Config is what a run shall do. All numbers but those that say otherwise are
// at least 1.
type Config struct {
	URL    *url.URL     // base address, http or https
	Signer *auth.Signer // signs the tokens
	TLS    *tls.Config  // for an https address; nil: what is usual

	Connections  int
	Topics       int           // at most one for each connection
	MessageBytes int           // MinMessageBytes at least
	Publishers   int           // MaxPublishers at most
	Window       int           // messages under way; not used with a Rate
	Rate         float64       // messages a second over all publishers, MaxRate at most; 0: as the Window allows
	Duration     time.Duration // of publishing
	Ramp         int           // connections opened a second; 0: as fast as they come

	Portable bool           // never a poller
	Progress func(Progress) // called every ProgressEvery by one goroutine; nil: nobody is told
	// ProgressEvery must be above zero if Progress is set.
	ProgressEvery time.Duration
}

// Progress is how far a run is.
type Progress struct {
	Open       int // connections now
	Lost       int // connections that failed or ended
	Publishing bool
	Published  uint64        // messages
	Delivered  uint64        // of them, over all connections
	Elapsed    time.Duration // since publishing began
}

// engine is one run.
type engine struct {
	Config
	topics     []string
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

// Run makes one run. It ends early, with a report on what was done by then,
// when ctx does. An error says why there was nothing to measure, [ErrDescriptors]
// and [ErrDenied] among others; what the server did wrong under load is in the
// report.
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

// enoughDescriptors tells at once what would only show near the end.
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
	e := &engine{Config: c, connecting: newHistogram()}
	e.URL = c.URL.JoinPath("/") // so that what is joined to it begins with a slash
	if c.Rate > 0 {
		e.Window = 0
	}
	// An hour for opening, and for clocks that differ.
	e.expires = began.Add(c.Duration + time.Hour)
	e.flow = newFlow(c.Topics, func() time.Duration { return time.Since(began) })

	run := make([]byte, 4) // so that runs do not hear each other
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

// verify sends one message to every topic and waits until each connection has
// received that of its own.
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

// publish runs a phase, for a time if it is not 0, and waits until everything
// is delivered, or nothing comes any more.
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

// watch waits for the end of a phase: its time is over, or done is closed
// because all messages are sent or all publishers gave up. It ends early when
// no connection is left, or nothing comes any more.
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

// drain waits until nothing is under way, or nothing comes any more.
func (e *engine) drain() {
	tick := time.NewTicker(checkEvery)
	defer tick.Stop()
	for range tick.C {
		if _, underWay, quiet := e.flow.state(); underWay <= 0 || quiet > patience {
			return
		}
	}
}

// opened counts a connection.
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

// reportProgress starts the goroutine that tells of the progress, and returns what ends it.
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
