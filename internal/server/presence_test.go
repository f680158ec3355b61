package server_test

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/config"
	"github.com/ikornaselur/notiflux/internal/internaltest/delivery"
	"github.com/ikornaselur/notiflux/internal/internaltest/rawclient"
	"github.com/ikornaselur/notiflux/internal/internaltest/redistest"
	"github.com/ikornaselur/notiflux/internal/internaltest/servertest"
	"github.com/ikornaselur/notiflux/internal/presence"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/server"
)

var visits = flag.Int("visits", 1000, "how often guests of TestPresenceConverges connect on a kind of loop")

const (
	guests    = 60
	guestSubs = 40 // some of them belong to two guests
	guestRate = 20 // messages per second and topic
	gather    = 100 * time.Millisecond
	testGrace = 400 * time.Millisecond // the server's is 10 s, too long for a test
	settled   = testGrace + 10*gather  // by then all presence events have arrived
)

var guestTopics = append(slices.Clone(cutTopics), "attic", "cellar")

// A guest is a client of the JSON protocol that comes and goes. While it is connected, it
// is a member of topics.
type guest struct {
	t         *testing.T
	servers   []*servertest.Server
	s         *servertest.Server // of the current visit
	troubled  bool               // a broker that the servers share has faults, except during the last visits
	sub       string
	until     time.Time // when its subscriptions end; zero: never
	random    *rand.Rand
	recording *delivery.Recording
	stay      <-chan struct{} // closed when the guests that stay may check who is present
	looking   *sync.WaitGroup // they leave when all have checked

	positions map[pubsub.Topic]pubsub.Position
	frames    int // presence frames

	// Of the current visit.
	wire      *rawclient.Conn
	token     string
	asks      map[pubsub.Topic]delivery.Ask // not answered yet
	here      map[pubsub.Topic]bool
	leaves    bool // an unsubscribe is not answered yet
	questions int  // presence requests that are not answered yet
}

// visit connects, stays for a time, and is cut. The last time it stays, calls arrived when
// it is a member, and checks who is present when all others have come.
func (g *guest) visit(arrived func()) {
	g.s = g.servers[g.random.IntN(len(g.servers))]
	w, err := rawclient.Dial(g.s.URL, 0, 20*time.Second)
	if err != nil {
		g.t.Error(err)
		if arrived != nil {
			g.looking.Done()
		}
		return
	}
	defer w.Close()
	g.wire, g.asks, g.here, g.leaves, g.questions = w, nil, make(map[pubsub.Topic]bool), false, 0
	info, until := `{"last":true}`, time.Now().Add(time.Minute)
	if arrived == nil {
		info, until = `{"last":false}`, time.Now().Add(time.Duration(g.random.Int64N(int64(testGrace))))
		switch g.random.IntN(8) {
		case 0:
			w.In = g.random.IntN(2000)
		case 1:
			w.Out = g.random.IntN(1000)
		}
		if g.random.IntN(2) == 0 {
			w.Conn.(*net.TCPConn).SetLinger(0) // a reset instead of an orderly close
		}
	}
	g.token = g.s.Sign(auth.Grant{Subject: g.sub, Scopes: []auth.Scope{auth.Subscribe}, Topics: guestTopics, Info: json.RawMessage(info), Until: g.until})
	switch err := g.speak(until, arrived); {
	case arrived == nil && (errors.Is(err, rawclient.ErrCut) || errors.Is(err, os.ErrDeadlineExceeded)):
	case err != nil:
		g.t.Errorf("-seed=%d: %s: %v", *seed, g.sub, err)
	}
	if arrived != nil {
		g.looking.Done()
		g.looking.Wait()
	}
	g.recording.Add(delivery.Event{Kind: delivery.Leaving})
	w.Close()
	g.recording.Add(delivery.Event{Kind: delivery.Cut})
}

func (g *guest) speak(until time.Time, arrived func()) error {
	g.wire.SetDeadline(time.Now().Add(20 * time.Second))
	if err := g.wire.OpenJSON(""); err != nil {
		return err
	}
	topics := guestTopics
	if arrived == nil {
		topics = guestTopics[:1+g.random.IntN(len(guestTopics))]
	}
	if err := g.subscribe(topics); err != nil {
		return err
	}
	if err := g.listen(until, arrived); err != nil || arrived == nil {
		return err
	}
	// Both the presence events and another request tell it who is present.
	g.wire.SetDeadline(time.Now().Add(20 * time.Second))
	g.recording.Add(delivery.Event{Kind: delivery.Rest})
	if !g.until.IsZero() {
		return nil // it can no longer ask
	}
	if err := g.question(guestTopics...); err != nil {
		return err
	}
	for g.questions > 0 {
		if err := g.take(); err != nil {
			return err
		}
	}
	g.recording.Add(delivery.Event{Kind: delivery.Rest})
	return nil
}

// listen handles frames until a time, or until the guests that stay may leave.
func (g *guest) listen(until time.Time, arrived func()) error {
	for time.Now().Before(until) {
		if arrived != nil && g.asks == nil && g.questions == 0 {
			arrived()
			arrived = func() {}
		}
		select {
		case <-g.stay:
			return nil
		default:
		}
		g.wire.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		_, err := g.wire.R.Peek(1)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			continue
		}
		g.wire.SetReadDeadline(time.Now().Add(20 * time.Second))
		if err == nil {
			err = g.take()
		}
		if err == nil && arrived == nil {
			err = g.wander()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// wander ends a subscription now and then.
func (g *guest) wander() error {
	if g.asks != nil || g.leaves || len(g.here) == 0 || g.random.IntN(30) > 0 {
		return nil
	}
	topics := slices.Sorted(maps.Keys(g.here))
	topic := topics[g.random.IntN(len(topics))]
	g.leaves = true
	g.recording.Add(delivery.Event{Kind: delivery.Leaving})
	return g.wire.Command(map[string]any{"type": "unsubscribe", "topics": []pubsub.Topic{topic}})
}

func (g *guest) subscribe(topics []pubsub.Topic) error {
	g.asks = make(map[pubsub.Topic]delivery.Ask)
	since := make(map[pubsub.Topic]string)
	for _, topic := range topics {
		ask := g.recording.Ask(g.positions[topic], 0)
		ask.Presence, ask.Grant = true, &delivery.Grant{Topics: guestTopics, Until: g.until}
		g.asks[topic] = ask
		if p, ok := g.positions[topic]; ok {
			since[topic] = p.String()
		}
	}
	return g.wire.Command(map[string]any{"type": "subscribe", "topics": topics, "since": since, "presence": true, "token": g.token})
}

// question asks who is present.
func (g *guest) question(topics ...pubsub.Topic) error {
	for _, topic := range topics {
		g.questions++
		if err := g.wire.Command(map[string]any{"type": "presence", "id": 1, "topic": topic, "token": g.token}); err != nil {
			return err
		}
	}
	return nil
}

// take handles one frame.
func (g *guest) take() error {
	m, err := g.wire.Object()
	if err != nil {
		return err
	}
	switch m.Type {
	case "subscribed":
		return g.subscribed(m)
	case "unsubscribed":
		var topics []pubsub.Topic
		if err := json.Unmarshal(m.Topics, &topics); err != nil || len(topics) != 1 {
			return fmt.Errorf("unsubscribed %s, %v", m.Topics, err)
		}
		g.leaves = false
		delete(g.here, topics[0])
		g.recording.Add(delivery.Event{Kind: delivery.Unsubscribed, Topic: topics[0]})
		if m.Code != "" || g.random.IntN(2) == 0 { // a code means that the server ended it
			return nil
		}
		return g.subscribe(topics)
	case "message":
		position, err := pubsub.ParsePosition(m.Position)
		g.positions[m.Topic] = position
		g.recording.Add(delivery.Event{Kind: delivery.Message, Topic: m.Topic, Position: position, Data: m.Data})
		return err
	case "join", "leave", "presence":
		return g.presence(m)
	case "gap":
		position, err := pubsub.ParsePosition(m.Position)
		g.positions[m.Topic] = position
		g.recording.Add(delivery.Event{Kind: delivery.Gap, Topic: m.Topic, Position: position})
		return err
	case "error":
		if g.troubled {
			return rawclient.ErrCut
		}
	}
	return fmt.Errorf("unexpected: %+v", m)
}

func (g *guest) subscribed(m rawclient.Object) error {
	var topics map[pubsub.Topic]rawclient.Object
	if g.troubled && len(m.Refused) > 0 {
		return rawclient.ErrCut // The broker is away, so the guest comes again.
	}
	if err := json.Unmarshal(m.Topics, &topics); err != nil || len(topics) != len(g.asks) {
		return fmt.Errorf("asked for %d topics, answered %s %s, %v", len(g.asks), m.Topics, m.Refused, err)
	}
	for topic, ask := range g.asks {
		position, err := pubsub.ParsePosition(topics[topic].Position)
		if err != nil {
			return err
		}
		g.positions[topic], g.here[topic] = position, true
		g.recording.Add(delivery.Event{Kind: delivery.Subscribed, Topic: topic, Ask: ask, Position: position, Recovered: topics[topic].Recovered, Replay: topics[topic].Replay})
	}
	g.asks = nil
	return g.question(slices.Collect(maps.Keys(topics))...)
}

// presence handles presence events, and answers to presence requests.
func (g *guest) presence(m rawclient.Object) error {
	e := delivery.Event{Topic: m.Topic, Count: m.Count}
	if m.Member != nil {
		m.Members = append(m.Members, *m.Member)
	}
	for _, x := range m.Members {
		e.Members = append(e.Members, x.Sub)
	}
	switch {
	case m.Type == "join":
		e.Kind = delivery.Joined
	case m.Type == "leave":
		e.Kind = delivery.Left
	case m.ID != 0:
		e.Kind = delivery.Members
		g.questions--
	default:
		return fmt.Errorf("only a count of %d members", m.Count)
	}
	if e.Kind != delivery.Members {
		g.frames++
	}
	g.recording.Add(e)
	return nil
}

// While clients come, go, are cut and reconnect, each client sees joins and leaves
// alternate. No member that returns in time is reported as gone. In the end all clients
// know who is present, both from events and by asking.
func TestPresenceConverges(t *testing.T) {
	seeded()
	onBothLoops(t, func(t *testing.T, start starter) {
		s := start(func(c *config.Serve) { c.PresenceGrace = testGrace })
		testConverges(t, testGrace, nil, s)
	})
}

// The same holds when the guests visit several servers that share a broker, except that a
// member has a little less time to return.
func TestPresenceConvergesOnServersThatShareRedis(t *testing.T) {
	seeded()
	testConverges(t, testGrace/4, nil, shareRedis(t, redistest.Start(t))...)
}

// While connections to Redis are lost, and Redis loses what the servers told it, members may
// seem to leave. In the end all clients know who is present.
func TestPresenceConvergesAfterFaults(t *testing.T) {
	seeded()
	r := redistest.Start(t)
	trouble := func(random *rand.Rand) {
		switch random.IntN(4) {
		case 0:
			r.Client("CLIENT", "KILL", "TYPE", "pubsub")
		case 1:
			r.Client("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
		case 2:
			r.Client("FLUSHALL")
		default:
			r.Client("EVAL", `return redis.call('DEL', KEYS[1] .. '\0' .. (redis.call('HGET', KEYS[2], 'epoch') or ''))`,
				"2", "notiflux:{0}:p:"+string(guestTopics[random.IntN(len(guestTopics))]), "notiflux:{0}:m")
		}
	}
	testConverges(t, 0, trouble, shareRedis(t, r)...)
}

// shareRedis starts servers that share a broker.
func shareRedis(t *testing.T, r *redistest.Server) (servers []*servertest.Server) {
	for range 3 {
		s := servertest.Start(t, func(c *config.Serve) {
			c.PresenceGrace, c.Broker = testGrace, "redis://"+r.Addr
		})
		awaitReady(t, s, http.StatusOK)
		servers = append(servers, s)
	}
	return servers
}

// meanwhile begins to publish, or to call trouble at intervals, until end is called. Other
// tests have both messages and faults.
func meanwhile(t *testing.T, s *servertest.Server, recorder *delivery.Recorder, trouble func(*rand.Rand)) (end func()) {
	if trouble == nil {
		p := newPress(t, s, recorder)
		p.rate = guestRate
		p.begin()
		return func() { p.end() }
	}
	over := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		for random := rand.New(rand.NewPCG(*seed, 0)); ; trouble(random) {
			select {
			case <-over:
				return
			case <-time.After(testGrace):
			}
		}
	})
	return func() {
		close(over)
		running.Wait()
	}
}

// testConverges lets guests visit servers. A member returns in time if it returns within
// returns. Unless trouble is nil, it is called at intervals until the last visits.
func testConverges(t *testing.T, returns time.Duration, trouble func(*rand.Rand), servers ...*servertest.Server) {
	s := servers[0]
	recorder := new(delivery.Recorder)
	all, stay := invite(t, servers, recorder, guests)
	began := time.Now()
	end := meanwhile(t, s, recorder, trouble)
	for _, g := range all {
		g.troubled = trouble != nil
	}
	each(all, func(g *guest) {
		for range (*visits + guests - 1) / guests {
			g.visit(nil)
			<-time.After(time.Duration(g.random.Int64N(int64(testGrace) * 2 / int64(1+g.random.IntN(4)))))
		}
	})
	end()
	<-time.After(settled) // until the servers have noticed the last fault
	for _, s := range servers {
		awaitReady(t, s, http.StatusOK)
	}
	s.Subscribe("attic") // a subscriber that is not a member
	gatherAll(t, s, all, func() {
		<-time.After(settled)
		for _, s := range servers {
			for _, topic := range guestTopics {
				checkPresent(t, s, topic)
			}
		}
		close(stay)
	})
	held := 0 // as in Log
	if trouble != nil {
		held = -1
	}
	log := recorder.Log(held)
	log.GracePeriod, log.Carried = returns, trouble != nil
	log.Behind = servertest.Remote() || len(servers) > 1
	delivery.Report(t, *seed, log)

	most, frames, leaves := 0, 0, 0
	for _, g := range all {
		most = max(most, g.frames)
		frames += g.frames
	}
	for _, c := range log.Clients {
		for _, e := range c.Events {
			if e.Kind == delivery.Left {
				leaves += len(e.Members)
			}
		}
	}
	took := time.Since(began)
	t.Logf("-seed=%d: %d visits in %v; one guest received up to %d frames, all together %d with %d leaves", *seed, *visits, took, most, frames, leaves)
	// For each topic, at most one join and one leave per interval in which changes are
	// gathered.
	if bound := len(guestTopics) * 2 * int(took/gather+1); most > bound {
		t.Errorf("one received %d frames in %v, want at most %d", most, took, bound)
	}
	if *visits >= 1000 && leaves == 0 {
		t.Error("no leave was received: the visits prove nothing")
	}
}

// invite makes guests. On their last visit, they stay until stay is closed.
func invite(t *testing.T, servers []*servertest.Server, r *delivery.Recorder, n int) (all []*guest, stay chan struct{}) {
	stay = make(chan struct{})
	looking := new(sync.WaitGroup)
	looking.Add(n)
	for i := range n {
		sub := fmt.Sprint("u", i%guestSubs)
		all = append(all, &guest{
			t: t, servers: servers, sub: sub, stay: stay, looking: looking,
			random:    rand.New(rand.NewPCG(*seed, uint64(i))),
			recording: r.Member(fmt.Sprintf("guest %d (%s)", i, sub), sub),
			positions: make(map[pubsub.Topic]pubsub.Position),
		})
	}
	return all, stay
}

func each(all []*guest, do func(*guest)) {
	var wg sync.WaitGroup
	for _, g := range all {
		wg.Go(func() { do(g) })
	}
	wg.Wait()
}

// gatherAll lets all guests come for the last time, and calls then when they are present.
func gatherAll(t *testing.T, s *servertest.Server, all []*guest, then func()) {
	t.Helper()
	var arriving, staying sync.WaitGroup
	arriving.Add(len(all))
	for _, g := range all {
		staying.Go(func() { g.visit(sync.OnceFunc(arriving.Done)) })
	}
	arrived := make(chan struct{})
	go func() { arriving.Wait(); close(arrived) }()
	select {
	case <-arrived:
	case <-time.After(30 * time.Second):
		t.Errorf("not all guests arrived:\n%s", s.Log())
	}
	then()
	staying.Wait()
}

// present asks over HTTP.
func present(t *testing.T, s *servertest.Server, topic pubsub.Topic) (m rawclient.Object) {
	t.Helper()
	r, err := http.NewRequest("GET", s.URL+"/presence?topic="+string(topic), nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+s.Token(auth.Subscribe, topic))
	answer, err := s.HTTP.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if err := json.NewDecoder(answer.Body).Decode(&m); err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("GET /presence: %s, %v", answer.Status, err)
	}
	return m
}

// checkPresent compares /presence with the guests, who have all come for the last time.
func checkPresent(t *testing.T, s *servertest.Server, topic pubsub.Topic) {
	t.Helper()
	r := present(t, s, topic)
	subs, wrong := make(map[string]bool), 0
	for _, m := range r.Members {
		if subs[m.Sub] = true; string(m.Info) != `{"last":true}` {
			wrong++
		}
	}
	subscribers := guests
	if topic == "attic" {
		subscribers++
	}
	if len(subs) != guestSubs || r.Count != guestSubs || len(r.Members) != guestSubs || r.Subscribers != subscribers || wrong > 0 {
		t.Errorf("-seed=%d: %q has %d members, counted %d, %d with an old info, and %d subscribers; want %d members, %d subscribers",
			*seed, topic, len(subs), r.Count, wrong, r.Subscribers, guestSubs, subscribers)
	}
}

// For a client that is behind, a complete list or count replaces earlier events, and joins
// and leaves do not.
func TestListsAndCountsSupersede(t *testing.T) {
	s, err := server.Open(withKey(t), server.Environment{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	server.Drained(s)
	members := []pubsub.Member{{Sub: "u"}}
	for name, c := range map[string]struct {
		event presence.Event
		whole bool
	}{
		"list":  {presence.Event{Kind: presence.Snapshot, Count: 1, Members: members}, true},
		"count": {presence.Event{Kind: presence.CountOnly, Count: 2000}, true},
		"moves": {presence.Event{Kind: presence.Changes, Joined: members}, false},
	} {
		c.event.Topic = pubsub.Topic(name)
		events, err := server.PublishPresence(s, c.event)
		if err != nil || len(events) != 1 || events[0].Presence.Supersedes() != c.whole {
			t.Errorf("%s: %d events, %v; want one, a snapshot: %t", name, len(events), err, c.whole)
		}
	}
}
