package session_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/broker"
	"github.com/ikornaselur/notiflux/internal/broker/brokertest/fakestore"
	"github.com/ikornaselur/notiflux/internal/internaltest/authtest"
	"github.com/ikornaselur/notiflux/internal/internaltest/delivery"
	"github.com/ikornaselur/notiflux/internal/internaltest/rawclient"
	"github.com/ikornaselur/notiflux/internal/presence"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/session"
	"github.com/ikornaselur/notiflux/internal/topic"
)

const (
	remoteSeeds   = 40
	remoteSteps   = 400
	remoteLoops   = 3
	remoteClients = 9
	remoteHeld    = 30 // messages of a topic in the store; the logs hold fewer
)

var (
	remoteTopics = []pubsub.Topic{"a", "b", "c"}

	seed = flag.Uint64("seed", 0, "of the random choices of tests; 0: a fixed list")
)

// Where a resume point, prepended messages and live ones meet, each client gets every
// message once and in order, or a report of a gap. Topics are attached in any order.
// Messages come late, in bursts, or get lost, and the store begins new epochs. Clients
// disconnect and tokens expire between a command and its answer.
func TestResumingOnARemoteBroker(t *testing.T) {
	var sum remoteCounts
	for _, seed := range seedsOf(remoteSeeds) {
		var w *remoteWorld
		synctest.Test(t, func(t *testing.T) { w = runRemote(t, seed, mutant{}, time.Sleep) })
		for _, fault := range w.faults[:min(len(w.faults), 10)] {
			t.Errorf("-seed=%d: %v", seed, fault)
		}
		sum.add(w.counts)
		if t.Failed() {
			return
		}
	}
	t.Logf("%+v", sum)
	if *seed == 0 && (sum.recovered < 100 || sum.lost < 100 || sum.gaps < 10 || sum.replayed < 100 || sum.leftWaiting < 10 || sum.endedWaiting < 10) {
		t.Errorf("the runs prove nothing: %+v", sum)
	}
}

// The test above detects bugs.
func TestMutantsOnARemoteBroker(t *testing.T) {
	for _, m := range []mutant{
		{name: "messages are missed while a topic is attached", sink: func(s broker.Sink) broker.Sink { return &missing{Sink: s, opened: make(map[pubsub.Topic]bool)} }},
		{name: "messages are prepended twice", sink: func(s broker.Sink) broker.Sink { return doubling{s} }},
		{name: "a new epoch is taken for the old one", sink: func(s broker.Sink) broker.Sink { return &stale{Sink: s} }},
		{name: "a gap is swallowed", sink: func(s broker.Sink) broker.Sink { return swallowing{s} }},
		{name: "a resume point is ignored", sink: func(s broker.Sink) broker.Sink { return ignoring{s} }},
		{name: "messages come before the answer", late: true},
	} {
		t.Run(m.name, func(t *testing.T) {
			for _, seed := range seedsOf(remoteSeeds) {
				var w *remoteWorld
				synctest.Test(t, func(t *testing.T) { w = runRemote(t, seed, m, time.Sleep) })
				if len(w.faults) > 0 {
					t.Logf("noticed with seed %d: %v", seed, w.faults[0])
					return
				}
			}
			t.Error("not noticed")
		})
	}
}

func seedsOf(n int) (seeds []uint64) {
	if *seed != 0 {
		return []uint64{*seed}
	}
	for i := range n {
		seeds = append(seeds, uint64(i+1))
	}
	return seeds
}

// A mutant is a bug that a test must detect. The zero mutant has none.
type mutant struct {
	name string
	sink func(broker.Sink) broker.Sink // the sink that the broker feeds; nil: the topics
	late bool                          // clients are answered after messages
}

// remoteCounts counts events in runs. If they do not occur, the runs prove nothing.
type remoteCounts struct{ recovered, lost, gaps, replayed, leftWaiting, endedWaiting int }

func (n *remoteCounts) add(m remoteCounts) {
	n.recovered += m.recovered
	n.lost += m.lost
	n.gaps += m.gaps
	n.replayed += m.replayed
	n.leftWaiting += m.leftWaiting
	n.endedWaiting += m.endedWaiting
}

// remoteWorld is the loops of a node with a remote broker, and their clients. One goroutine
// runs the loops and the clients.
type remoteWorld struct {
	t        *testing.T
	sleep    func(time.Duration)
	random   *rand.Rand
	mutant   mutant
	recorder *delivery.Recorder
	store    *fakestore.Store
	node     *fakestore.Node
	topics   *topic.Topics
	attacher *broker.Attacher
	loops    []*world
	token    string
	readers  []*remoteReader

	published int

	counts remoteCounts
	faults []error
}

// runRemote must run in a bubble, and sleeps with sleep.
func runRemote(t *testing.T, seed uint64, m mutant, sleep func(time.Duration)) *remoteWorld {
	w := &remoteWorld{t: t, sleep: sleep, random: rand.New(rand.NewPCG(seed, 0)), mutant: m, recorder: new(delivery.Recorder)}
	w.store = fakestore.New(fakestore.Config{Seed: seed, MaxMessages: remoteHeld})
	w.topics = topic.New(topic.Config{PerTopic: topic.Limits{Count: 4}, Detach: func(name pubsub.Topic) { w.node.Detach(name) }})
	var sink broker.Sink = w.topics
	if m.sink != nil {
		sink = m.sink(sink)
	}
	w.node = w.store.Node(sink)
	w.attacher = broker.NewAttacher(w.node, broker.AttacherConfig{})
	signer := authtest.NewSigner(t)
	verifier := authtest.NewVerifier(t, signer)
	for i := range remoteLoops {
		loop := &world{t: t, topics: w.topics, signer: signer, verifier: verifier, presence: presence.New(presence.Config{}), expires: time.Now().Add(1000 * time.Hour)}
		endpoints := loop.endpoints()
		if m.late {
			loop.json = late(loop.json)
			endpoints[1] = loop.json
		}
		loop.group = session.NewGroup(session.Config{
			Topics: w.topics, Broker: w.node, Attacher: w.attacher, Members: broker.Roster{Topics: w.topics, Presence: loop.presence, Attacher: w.attacher}, Verifier: verifier,
			VerifyWorkers: &loop.workers, WaitWorkers: &loop.workers, Endpoints: endpoints, Stats: &loop.stats,
			Random: rand.New(rand.NewPCG(seed, uint64(1+i))),
		}, &loop.loop)
		w.loops = append(w.loops, loop)
	}
	w.token = w.loops[0].token(remoteTopics...)
	for i := range remoteClients {
		w.readers = append(w.readers, &remoteReader{w: w, recording: w.recorder.Client(fmt.Sprint("client ", i)), positions: make(map[pubsub.Topic]pubsub.Position)})
	}
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = w.node.Run(ctx) })
	for range remoteSteps {
		w.step()
		w.pass(50 * time.Millisecond)
	}
	w.rest()
	stop()
	running.Wait()
	log := w.recorder.Log(-1) // Held messages may be lost.
	log.Behind, log.Carried = true, true
	w.faults = append(w.faults, delivery.Check(log)...)
	return w
}

// pass lets up to most pass.
func (w *remoteWorld) pass(most time.Duration) {
	w.sleep(time.Duration(w.random.Int64N(int64(most))))
	synctest.Wait()
}

func (w *remoteWorld) fault(format string, args ...any) {
	w.faults = append(w.faults, fmt.Errorf(format, args...))
}

func (w *remoteWorld) step() {
	name, r := remoteTopics[w.random.IntN(len(remoteTopics))], w.readers[w.random.IntN(len(w.readers))]
	switch n := w.random.IntN(1000); {
	case n < 250:
		for range 1 + w.random.IntN(6) {
			w.publish(name)
		}
	case n < 500:
		r.act()
	case n < 840:
		r.turn(w.random.IntN(3) > 0)
	case n < 900:
		r.leave()
	case n < 906:
		w.store.Lose(name, 1+w.random.IntN(3))
	case n < 912:
		w.store.NewEpoch()
	case n < 918:
		w.node.Away()
	case n < 950:
		w.node.Back()
	default:
		w.pass(3 * time.Second)
	}
}

// publish publishes a message without waiting for the answer.
func (w *remoteWorld) publish(name pubsub.Topic) {
	w.published++
	data := fmt.Sprint("message ", w.published)
	answered := w.recorder.Publishing(name, data)
	ps := []pubsub.Publication{{Topic: name, Body: pubsub.Body{Data: []byte(data)}}}
	done := func() {
		switch err := ps[0].Err; {
		case err == nil:
			answered(delivery.Acknowledged, ps[0].Position)
		case pubsub.Refusal(err).Code != pubsub.OutcomeUnknown:
			answered(delivery.Refused, pubsub.Position{})
		}
	}
	if w.node.Publish(ps, done) {
		done()
	}
}

// rest delivers everything that is left to all clients, makes them leave, and checks that
// nothing is left.
func (w *remoteWorld) rest() {
	w.node.Back()
	w.sleep(time.Minute)
	for _, name := range remoteTopics {
		w.store.Lose(name, 0)
		for range 3 {
			w.publish(name) // so that the last epoch is known
		}
	}
	for range 20 {
		w.sleep(10 * time.Second)
		synctest.Wait()
		for _, r := range w.readers {
			r.turn(true)
			r.wantAll()
			r.turn(true)
		}
	}
	for i, r := range w.readers {
		if len(r.subscribed) != len(remoteTopics) {
			w.fault("client %d rests, and is subscribed to %d topics", i, len(r.subscribed))
		}
		r.recording.Add(delivery.Event{Kind: delivery.Rest})
		r.leave()
	}
	w.sleep(time.Minute)
	synctest.Wait()
	if n := w.topics.Stats().Topics; n != 0 || w.attacher.Waiting() != 0 {
		w.fault("%d topics are left, %d attachments wait", n, w.attacher.Waiting())
	}
}

// A remoteReader is a client over all its connections.
type remoteReader struct {
	w         *remoteWorld
	recording *delivery.Recording
	positions map[pubsub.Topic]pubsub.Position // where to resume

	// State of a connection.
	*client                                  // nil: not connected
	subscribed map[pubsub.Topic]bool         // by an answer
	asked      map[pubsub.Topic]delivery.Ask // by a command without an answer; nil: no such command
	ending     bool                          // a command to unsubscribe has no answer yet
	until      bool                          // its token expires
}

// act sends a command, or connects.
func (r *remoteReader) act() {
	w := r.w
	switch {
	case r.client == nil:
		r.connect()
	case r.s.Busy() || r.asked != nil || r.ending:
		return
	case w.random.IntN(8) == 0:
		r.ending = true
		r.command(map[string]any{"type": "unsubscribe", "topics": []pubsub.Topic{remoteTopics[w.random.IntN(len(remoteTopics))]}})
	default:
		topics := slices.Clone(remoteTopics)
		w.random.Shuffle(len(topics), func(i, j int) { topics[i], topics[j] = topics[j], topics[i] })
		token := w.token
		if r.until = w.random.IntN(4) == 0; r.until {
			token = r.client.w.signUntil(remoteTopics, time.Now().Add(time.Duration(w.random.Int64N(int64(2*time.Second)))))
		}
		r.subscribe(token, topics[:1+w.random.IntN(len(topics))])
	}
}

// wantAll subscribes to the missing topics, with a token that does not expire.
func (r *remoteReader) wantAll() {
	if r.client == nil {
		r.connect()
	}
	if !r.s.Busy() && r.asked == nil && !r.ending {
		r.until = false
		r.subscribe(r.w.token, remoteTopics)
	}
}

func (r *remoteReader) connect() {
	loop := r.w.loops[r.w.random.IntN(len(r.w.loops))]
	r.client, r.subscribed, r.asked = &client{w: loop}, make(map[pubsub.Topic]bool), nil
	r.ending = false
	r.s = loop.group.Open(r.client, loop.json, session.Request{})
}

func (r *remoteReader) command(c map[string]any) {
	data, err := json.Marshal(c)
	if err != nil {
		r.w.t.Fatal(err)
	}
	r.s.Receive(data, false)
	r.client.w.workers.work(context.Background())
}

// subscribe subscribes to topics from the client's position, or from the last messages of
// an unknown topic.
func (r *remoteReader) subscribe(token string, topics []pubsub.Topic) {
	since, last := make(map[pubsub.Topic]string), r.w.random.IntN(2)*r.w.random.IntN(2*remoteHeld)
	r.asked = make(map[pubsub.Topic]delivery.Ask)
	for _, name := range topics {
		var from pubsub.Position
		if p, ok := r.positions[name]; ok && !r.subscribed[name] {
			from = p
			since[name] = p.String()
		}
		r.asked[name] = r.recording.Ask(from, last)
	}
	r.command(map[string]any{"type": "subscribe", "topics": topics, "since": since, "last": last, "token": token})
}

// turn is a turn of the client's loop, in which the socket takes everything or a part.
func (r *remoteReader) turn(all bool) {
	if r.client == nil {
		return
	}
	r.client.w.workers.work(context.Background())
	r.client.w.loop.run()
	for r.client.w.group.Collect() {
	}
	n := 1 << 30
	if !all {
		n = r.w.random.IntN(500)
	}
	r.write(n)
	if r.w.mutant.late {
		r.s.Tick(0)
	}
	for _, text := range r.messages() {
		r.take(text)
	}
	if r.code != 0 {
		r.leave()
	}
}

// leave ends the connection.
func (r *remoteReader) leave() {
	if r.client == nil {
		return
	}
	if r.asked != nil && r.s.Busy() {
		r.w.counts.leftWaiting++
	}
	r.client.leave()
	r.client.w.loop.run()
	r.recording.Add(delivery.Event{Kind: delivery.Cut})
	r.client, r.subscribed, r.asked = nil, nil, nil
}

// take handles an object from the server.
func (r *remoteReader) take(text string) {
	m, err := rawclient.ParseObject([]byte(text))
	if err != nil {
		r.w.fault("%v", err)
		return
	}
	position, _ := pubsub.ParsePosition(m.Position)
	switch m.Type {
	case "welcome":
	case "subscribed":
		r.answered(m)
	case "message", "gap":
		kind := delivery.Message
		if m.Type == "gap" {
			kind = delivery.Gap
			r.w.counts.gaps++
		}
		r.recording.Add(delivery.Event{Kind: kind, Topic: m.Topic, Position: position, Data: m.Data})
		r.positions[m.Topic] = position
	case "unsubscribed":
		var topics []pubsub.Topic
		if err := json.Unmarshal(m.Topics, &topics); err != nil {
			r.w.fault("%v in %s", err, text)
		}
		r.ending = r.ending && m.Code != ""
		for _, name := range topics {
			r.recording.Add(delivery.Event{Kind: delivery.Unsubscribed, Topic: name})
			delete(r.subscribed, name)
		}
	default:
		r.w.fault("unexpected: %s", text)
	}
}

// answered handles the answer to subscribe.
func (r *remoteReader) answered(m rawclient.Object) {
	var topics map[pubsub.Topic]rawclient.Object
	var refused map[pubsub.Topic]struct{ Code pubsub.Code }
	err := json.Unmarshal(m.Topics, &topics)
	if err == nil && m.Refused != nil {
		err = json.Unmarshal(m.Refused, &refused)
	}
	if err != nil || len(topics)+len(refused) != len(r.asked) {
		r.w.fault("asked for %d topics, answered %s %s, %v", len(r.asked), m.Topics, m.Refused, err)
	}
	for _, name := range slices.Sorted(maps.Keys(topics)) {
		a, ask := topics[name], r.asked[name]
		position, err := pubsub.ParsePosition(a.Position)
		if err != nil {
			r.w.fault("%v", err)
		}
		if !r.subscribed[name] && ask.Since.Epoch != "" {
			if a.Recovered {
				r.w.counts.recovered++
			} else {
				r.w.counts.lost++
			}
			r.w.counts.replayed += min(a.Replay, 1)
		}
		r.recording.Add(delivery.Event{Kind: delivery.Subscribed, Topic: name, Ask: ask, Position: position, Recovered: a.Recovered, Replay: a.Replay})
		r.subscribed[name], r.positions[name] = true, position
	}
	for name, why := range refused {
		switch {
		case why.Code == pubsub.TokenExpired && r.until:
			r.w.counts.endedWaiting++
		case why.Code != pubsub.Unavailable:
			r.w.fault("%s: %s", name, why.Code)
		}
	}
	r.asked = nil
}

// signUntil returns a token for topics whose subscriptions end at a time.
func (w *world) signUntil(topics []pubsub.Topic, until time.Time) string {
	token, err := w.signer.Sign(auth.Grant{Subject: "s", Scopes: []auth.Scope{auth.Subscribe}, Topics: topics, Expires: w.expires, Until: until})
	if err != nil {
		w.t.Fatal(err)
	}
	return string(token)
}

// missing drops the first messages after a topic is opened.
type missing struct {
	broker.Sink
	opened map[pubsub.Topic]bool
}

func (m *missing) Open(name pubsub.Topic, head pubsub.Position, from topic.ResumePoint) (topic.Pin, error) {
	m.opened[name] = true
	return m.Sink.Open(name, head, from)
}

func (m *missing) Append(ms []pubsub.Message) {
	for _, message := range ms {
		if !m.opened[message.Topic] {
			m.Sink.Append([]pubsub.Message{message})
		}
		delete(m.opened, message.Topic)
	}
}

// doubling prepends messages twice.
type doubling struct{ broker.Sink }

func (d doubling) Prepend(p *topic.Pin, from pubsub.Position, ms []pubsub.Message) {
	d.Sink.Prepend(p, from, append(slices.Clone(ms), ms...))
}

// stale mistakes each epoch for the first one.
type stale struct {
	broker.Sink
	epoch string
}

func (s *stale) at(p pubsub.Position) pubsub.Position {
	if s.epoch == "" {
		s.epoch = p.Epoch
	}
	p.Epoch = s.epoch
	return p
}

func (s *stale) Open(name pubsub.Topic, head pubsub.Position, from topic.ResumePoint) (topic.Pin, error) {
	return s.Sink.Open(name, s.at(head), from)
}

func (s *stale) Gap(name pubsub.Topic, to pubsub.Position) { s.Sink.Gap(name, s.at(to)) }

func (s *stale) Append(ms []pubsub.Message) {
	ms = slices.Clone(ms)
	for i := range ms {
		ms[i].Position = s.at(ms[i].Position)
	}
	s.Sink.Append(ms)
}

// swallowing drops the gaps in an epoch.
type swallowing struct{ broker.Sink }

func (s swallowing) Gap(name pubsub.Topic, to pubsub.Position) {
	if pin, ok := s.Sink.Pin(name, topic.ResumePoint{}); ok {
		defer pin.Release()
		if pin.Position().Epoch == to.Epoch {
			return
		}
	}
	s.Sink.Gap(name, to)
}

// ignoring attaches every topic at its head.
type ignoring struct{ broker.Sink }

func (g ignoring) Open(name pubsub.Topic, head pubsub.Position, _ topic.ResumePoint) (topic.Pin, error) {
	return g.Sink.Open(name, head, topic.ResumePoint{})
}

// late returns an endpoint whose answers to subscribe come after the messages of the next
// write.
func late(e *session.Endpoint) *session.Endpoint {
	l := *e
	l.Open = func(s *session.Session, r session.Request) session.Dialect {
		return &lateDialect{Dialect: e.Open(s, r)}
	}
	return &l
}

type lateDialect struct {
	session.Dialect
	answer []byte
}

func (d *lateDialect) Receive(s *session.Session, message []byte, binary bool) {
	var c struct {
		Type, Token string
		Topics      []pubsub.Topic
		Since       map[pubsub.Topic]string
	}
	if err := json.Unmarshal(message, &c); err != nil || c.Type != "subscribe" {
		d.Dialect.Receive(s, message, binary)
		return
	}
	var subs []session.Subscription
	for _, name := range c.Topics {
		since, _ := pubsub.ParsePosition(c.Since[name])
		subs = append(subs, session.Subscription{Topic: name, From: topic.ResumePoint{Since: since}})
	}
	s.Verify(auth.Token(c.Token), func(token session.Credential) {
		s.Subscribe(token, subs, func(_ *session.Session, results []session.Subscribed) {
			topics, refused := map[pubsub.Topic]any{}, map[pubsub.Topic]any{}
			for _, r := range results {
				if r.Err != nil {
					refused[r.Topic] = map[string]any{"code": pubsub.Refusal(r.Err).Code}
					continue
				}
				topics[r.Topic] = map[string]any{"position": r.Position.String(), "recovered": r.Recovered, "replay": r.Replay}
			}
			d.answer, _ = json.Marshal(map[string]any{"type": "subscribed", "topics": topics, "refused": refused})
		})
	})
}

func (d *lateDialect) Tick(s *session.Session, _ time.Duration) {
	if d.answer != nil {
		s.SendText(d.answer)
		d.answer = nil
	}
}
