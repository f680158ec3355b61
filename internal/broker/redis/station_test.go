package redis_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/internal/broker"
	"github.com/ikornaselur/notiflux/internal/broker/brokertest"
	"github.com/ikornaselur/notiflux/internal/broker/redis"
	"github.com/ikornaselur/notiflux/internal/internaltest/delivery"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/topic"
)

// An order is what a test tells a station to do.
type order struct {
	ID      int // of this order; 0: none
	Publish bool
	Topic   pubsub.Topic
	Since   pubsub.Position // to subscribe; without an epoch: at the tail
	Data    string          // to publish
	Padding int             // bytes to publish after the data
}

// News are what a station tells a test: the answer to an order, or something that the
// subscription of that order got.
type news struct {
	ID        int // of the order
	Kind      delivery.Kind
	Position  pubsub.Position
	Data      string
	Recovered bool
	Code      pubsub.Code // of a publish that was refused
}

// answered is the kind of the answer to a publish.
const answered delivery.Kind = "answered"

// A stationConfig configures a node.
type stationConfig struct {
	Address  string // of Redis
	Messages int    // bound of the histories
}

// stationVariable is set in a process that serves a station, instead of running tests.
const stationVariable = "NOTIFLUX_TEST_STATION"

// serveProcess serves a station if this process is to do that.
func serveProcess() bool {
	var c stationConfig
	text, ok := os.LookupEnv(stationVariable)
	if ok {
		if err := json.Unmarshal([]byte(text), &c); err != nil {
			panic(err)
		}
		serveStation(c, os.Stdin, os.Stdout)
	}
	return ok
}

// A served is a node that executes orders.
type served struct {
	topics   *topic.Topics
	broker   *redis.Broker
	attacher *broker.Attacher
	ctx      context.Context // of this run

	mu  sync.Mutex
	out *json.Encoder // guarded by mu
}

// serveStation runs a node that executes orders, until there are no more.
func serveStation(c stationConfig, in io.Reader, out io.Writer) {
	ctx, stop := context.WithCancel(context.Background())
	s := &served{ctx: ctx, out: json.NewEncoder(out)}
	s.topics = topic.New(topic.Config{
		PerTopic: topic.Limits{Count: c.Messages},
		Detach:   func(name pubsub.Topic) { s.broker.Detach(name) },
	})
	s.broker = node(s.topics, c.Address, func(config *redis.Config) { config.Messages = c.Messages })
	s.attacher = broker.NewAttacher(s.broker, broker.AttacherConfig{})
	var running sync.WaitGroup
	running.Go(func() { _ = s.broker.Run(ctx) })
	running.Go(func() { _ = s.topics.Run(ctx) })
	for orders := json.NewDecoder(in); ; {
		var o order
		if orders.Decode(&o) != nil {
			break
		}
		running.Go(func() {
			if o.Publish {
				s.publish(o)
			} else {
				s.subscribe(o)
			}
		})
	}
	stop()
	running.Wait()
}

func (s *served) tell(n news) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.out.Encode(n) // The test notices what is missing.
}

func (s *served) publish(o order) {
	ps := []pubsub.Publication{{Topic: o.Topic, Body: pubsub.Body{Data: []byte(o.Data + strings.Repeat(" ", o.Padding))}}}
	done := make(chan struct{})
	if !s.broker.Publish(ps, func() { close(done) }) {
		<-done
	}
	n := news{ID: o.ID, Kind: answered, Position: ps[0].Position}
	if err := ps[0].Err; err != nil {
		n.Code = pubsub.Refusal(err).Code
	}
	s.tell(n)
}

// A waker is a listener that a goroutine waits for.
type waker chan struct{}

func (w waker) Wake() {
	select {
	case w <- struct{}{}:
	default:
	}
}

// subscribe subscribes as soon as Redis can be reached, and tells what the subscription gets.
func (s *served) subscribe(o order) {
	var pin topic.Pin
	for {
		as := []broker.Attachment{{Topic: o.Topic, From: topic.ResumePoint{Since: o.Since}}}
		err := brokertest.AttachAll(s.ctx, s.attacher, as)
		if err == nil {
			pin, err = as[0].Take()
		}
		if err == nil {
			break
		}
		if s.ctx.Err() != nil {
			return
		}
		<-time.After(10 * time.Millisecond)
	}
	w := make(waker, 1)
	t, resumed := pin.Join(w)
	defer s.topics.Leave(t, w)
	s.tell(news{ID: o.ID, Kind: delivery.Subscribed, Position: resumed.Position, Recovered: resumed.Recovered})
	for cursor := resumed.Cursor; ; {
		entry, next, ok := cursor.Next()
		if !ok {
			select {
			case <-w:
				continue
			case <-s.ctx.Done():
				return
			}
		}
		cursor = next
		if to, marker := entry.Marker(); marker {
			s.tell(news{ID: o.ID, Kind: delivery.Gap, Position: to})
			continue
		}
		m := entry.Message()
		s.tell(news{ID: o.ID, Kind: delivery.Message, Position: m.Position, Data: strings.TrimRight(string(m.Body.Data), " ")})
	}
}

// A station is a node, in this process or in one of its own, as a test drives it.
type station struct {
	t        *testing.T
	recorder *delivery.Recorder
	process  *exec.Cmd // nil: none of its own
	orders   io.WriteCloser
	ended    chan struct{} // closed when no more news come

	mu sync.Mutex
	// Guarded by mu.
	last     int // ID of an order
	answers  map[int]chan news
	readings map[int]*reading
}

// A reading is a subscription of a station.
type reading struct {
	recording *delivery.Recording
	topic     pubsub.Topic
	ask       delivery.Ask
	recovered bool

	mu sync.Mutex
	// Guarded by mu.
	at   pubsub.Position
	gaps int
}

func (r *reading) reached() (at pubsub.Position, gaps int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.at, r.gaps
}

// startStation starts a node, which ends with the test.
func startStation(t *testing.T, recorder *delivery.Recorder, c stationConfig, ownProcess bool) *station {
	t.Helper()
	s := &station{t: t, recorder: recorder, ended: make(chan struct{}), answers: make(map[int]chan news), readings: make(map[int]*reading)}
	var told io.Reader
	if ownProcess {
		told = s.startProcess(c)
	} else {
		in, orders := io.Pipe()
		out, telling := io.Pipe()
		s.orders, told = orders, out
		go func() {
			serveStation(c, in, telling)
			telling.Close()
		}()
	}
	go s.listen(told)
	t.Cleanup(func() { s.end(false) })
	return s
}

func (s *station) startProcess(c stationConfig) io.Reader {
	s.t.Helper()
	config, err := json.Marshal(c)
	if err != nil {
		s.t.Fatal(err)
	}
	s.process = exec.Command(os.Args[0])
	s.process.Env = append(os.Environ(), stationVariable+"="+string(config))
	s.process.Stderr = os.Stderr
	told, err1 := s.process.StdoutPipe()
	orders, err2 := s.process.StdinPipe()
	for _, err := range []error{err1, err2, s.process.Start()} {
		if err != nil {
			s.t.Fatal(err)
		}
	}
	s.orders = orders
	return told
}

// listen takes the news until there are no more.
func (s *station) listen(told io.Reader) {
	defer close(s.ended)
	for all := json.NewDecoder(bufio.NewReader(told)); ; {
		var n news
		if all.Decode(&n) != nil {
			break
		}
		s.mu.Lock()
		r, answer := s.readings[n.ID], s.answers[n.ID]
		delete(s.answers, n.ID)
		s.mu.Unlock()
		if r != nil {
			r.take(n)
		}
		if answer != nil {
			answer <- n
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, answer := range s.answers {
		close(answer)
	}
	s.answers = nil
}

func (r *reading) take(n news) {
	r.recording.Add(delivery.Event{Kind: n.Kind, Topic: pubsub.Topic(r.topic.Shown()), Position: n.Position, Data: n.Data, Ask: r.ask, Recovered: n.Recovered, Replay: -1})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.at = n.Position
	switch n.Kind {
	case delivery.Subscribed:
		r.recovered = n.Recovered
	case delivery.Gap:
		r.gaps++
	}
}

// do gives an order, and waits for the answer. ok is false if the node ended first.
func (s *station) do(o order, r *reading) (answer news, ok bool) {
	told := make(chan news, 1)
	s.mu.Lock()
	if s.answers == nil {
		s.mu.Unlock()
		return news{}, false
	}
	s.last++
	o.ID = s.last
	s.answers[o.ID] = told
	if r != nil {
		s.readings[o.ID] = r
	}
	line, _ := json.Marshal(o)
	_, _ = s.orders.Write(append(line, '\n')) // If it fails, the node has ended.
	s.mu.Unlock()
	answer, ok = <-told
	return answer, ok
}

// publish publishes a message, and returns its position if it was acknowledged.
func (s *station) publish(name pubsub.Topic, data string, padding int) (at pubsub.Position, ok bool) {
	record := s.recorder.Publishing(name, data)
	answer, ok := s.do(order{Publish: true, Topic: name, Data: data, Padding: padding}, nil)
	switch {
	case !ok || answer.Code == pubsub.OutcomeUnknown:
		return pubsub.Position{}, false
	case answer.Code != "":
		record(delivery.Refused, pubsub.Position{})
		return pubsub.Position{}, false
	}
	record(delivery.Acknowledged, answer.Position)
	return answer.Position, true
}

// mustPublish publishes a message as soon as Redis can be reached.
func (s *station) mustPublish(name pubsub.Topic, data string, padding int) pubsub.Position {
	for i := 0; ; i++ {
		if at, ok := s.publish(name, fmt.Sprint(data, " try ", i), padding); ok {
			return at
		}
		<-time.After(10 * time.Millisecond)
	}
}

// subscribe subscribes as soon as Redis can be reached.
func (s *station) subscribe(name pubsub.Topic, since pubsub.Position) *reading {
	s.t.Helper()
	r := &reading{topic: name}
	s.mu.Lock()
	r.recording = s.recorder.Client(fmt.Sprintf("%p/%d", s, s.last+1))
	s.mu.Unlock()
	r.ask = r.recording.Ask(since, 0)
	if _, ok := s.do(order{Topic: name, Since: since}, r); !ok {
		s.t.Fatalf("the node ended before it subscribed to %q", name)
	}
	return r
}

// patience is how long rest waits.
const patience = 20 * time.Second

// rest waits until all subscriptions have reached the last message of their topic, and ends
// the node. The oracle reports those that have not.
func (s *station) rest(last map[pubsub.Topic]pubsub.Position) {
	s.mu.Lock()
	readings := slices.Collect(maps.Values(s.readings))
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, r := range readings {
		for at, _ := r.reached(); at != last[r.topic] && ctx.Err() == nil; at, _ = r.reached() {
			<-time.After(10 * time.Millisecond)
		}
	}
	s.end(false)
	for _, r := range readings {
		r.recording.Add(delivery.Event{Kind: delivery.Rest})
	}
}

// kill ends a process at once, as kill -9 does. What its subscribers had is complete then.
func (s *station) kill() {
	s.end(true)
	for _, r := range s.readings {
		r.recording.Add(delivery.Event{Kind: delivery.Cut})
	}
}

// end ends the node, and waits for it.
func (s *station) end(kill bool) {
	if kill {
		_ = s.process.Process.Kill()
	} else {
		s.orders.Close()
	}
	<-s.ended
	if s.process != nil {
		_ = s.process.Wait() // Its status says only how it ended.
	}
}
