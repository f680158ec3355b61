package server_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/broker"
	"github.com/ikornaselur/notiflux/internal/broker/brokertest/fakestore"
	"github.com/ikornaselur/notiflux/internal/config"
	"github.com/ikornaselur/notiflux/internal/internaltest/delivery"
	"github.com/ikornaselur/notiflux/internal/internaltest/memnet"
	"github.com/ikornaselur/notiflux/internal/internaltest/rawclient"
	"github.com/ikornaselur/notiflux/internal/internaltest/servertest"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/server"
)

const (
	troubleSeeds   = 10
	troubleServers = 2
	troubleTopics  = 8
	troubleSteps   = 500
	troubleHeld    = 20 // messages of a topic that the store holds; the logs hold fewer
)

// Whatever happens to the store of two servers, and to their clients' connections, each
// client of each dialect gets every message once and in order, or learns that some are
// lost.
func TestTroubleIsReported(t *testing.T) {
	seeds := make([]uint64, troubleSeeds)
	for i := range seeds {
		seeds[i] = uint64(i)
	}
	for _, seed := range servertest.Seeds(seed, seeds...) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x := newTroubled(t, seed)
				for range troubleSteps {
					x.step()
					x.pause(200 * time.Millisecond)
					synctest.Wait()
				}
				x.rest()
				log := x.recorder.Log(-1) // messages that are held may be lost
				log.Behind = true
				delivery.Report(t, seed, log)
				if x.recovered == 0 || x.lost == 0 {
					t.Errorf("recovered %d times, not recovered %d times", x.recovered, x.lost)
				}
			})
		})
	}
}

// A troubled is one run of TestTroubleIsReported.
type troubled struct {
	t        *testing.T
	random   *rand.Rand
	recorder *delivery.Recorder
	store    *fakestore.Store
	nodes    []*fakestore.Node
	servers  []*servertest.Server
	links    []*memnet.Link // of the clients

	published  int
	publishing sync.WaitGroup

	recordings []*delivery.Recording
	stop       context.CancelFunc
	following  sync.WaitGroup
	readers    []*rawclient.Reader

	recovered, lost int
}

func newTroubled(t *testing.T, seed uint64) *troubled {
	x := &troubled{t: t, random: rand.New(rand.NewPCG(seed, 0)), recorder: new(delivery.Recorder)}
	x.store = fakestore.New(fakestore.Config{Seed: seed, MaxMessages: troubleHeld})
	network := memnet.New()
	for i := range troubleServers {
		l, err := network.Listen(fmt.Sprintf("10.0.0.%d:80", 1+i))
		if err != nil {
			t.Fatal(err)
		}
		env := server.Environment{Random: rand.NewPCG(seed, uint64(i)), Loops: 3, Public: l, Broker: func(sink broker.Sink) broker.Broker {
			x.nodes = append(x.nodes, x.store.Node(sink))
			return x.nodes[i]
		}}
		s := servertest.StartIn(t, env, func(c *config.Serve) { c.Loops, c.HistoryMessages = "portable", 5 })
		s.HTTP.Transport.(*http.Transport).DialContext = network.Link(memnet.LinkConfig{Latency: time.Millisecond}).DialContext
		x.servers = append(x.servers, s)
	}
	ctx, stop := context.WithCancel(context.Background())
	x.stop = stop
	dialects := append(dialects[:len(dialects):len(dialects)], struct {
		name  string
		speak rawclient.Dialect
	}{"text", rawclient.Text})
	for i := range 3 * len(dialects) {
		link := network.Link(memnet.LinkConfig{Latency: time.Duration(1+i) * time.Millisecond})
		r := &rawclient.Reader{
			Topics: []pubsub.Topic{x.topic(i), x.topic(i + 1 + i%3)}, Recording: x.recorder.Client(fmt.Sprint(dialects[i%len(dialects)].name, " ", i)),
			Random: rand.New(rand.NewPCG(seed, uint64(10+i))),
		}
		slices.Sort(r.Topics)
		x.links, x.readers, x.recordings = append(x.links, link), append(x.readers, r), append(x.recordings, r.Recording)
		d := dialects[i%len(dialects)]
		x.following.Go(func() { x.follow(ctx, r, link, d.speak, d.name == "events" || d.name == "stream") })
	}
	return x
}

func (*troubled) topic(i int) pubsub.Topic {
	return pubsub.Topic(fmt.Sprint("topic", i%troubleTopics))
}

// follow connects to the servers in turn until ctx ends. ends says that some tokens expire
// soon.
func (x *troubled) follow(ctx context.Context, r *rawclient.Reader, link *memnet.Link, speak rawclient.Dialect, ends bool) {
	for ctx.Err() == nil {
		s := x.servers[r.Random.IntN(len(x.servers))]
		r.Token = s.Token(auth.Subscribe, r.Topics...)
		if ends && r.Random.IntN(2) == 0 {
			r.Token = s.TokenUntil(time.Now().Add(time.Duration(r.Random.Int64N(int64(10*time.Second)))), auth.Subscribe, r.Topics...)
		}
		err := followOnce(ctx, r, link, strings.TrimPrefix(s.URL, "http://"), speak)
		if _, broken := errors.AsType[*net.OpError](err); !broken && !errors.Is(err, rawclient.ErrEnded) && !refusedFor(err, ends) && ctx.Err() == nil {
			x.t.Errorf("a connection ended while %s: %v", r.Phase, err)
		}
		select {
		case <-time.After(time.Duration(r.Random.Int64N(int64(2 * time.Second)))):
		case <-ctx.Done():
		}
	}
}

func followOnce(ctx context.Context, r *rawclient.Reader, link *memnet.Link, address string, speak rawclient.Dialect) error {
	c, err := link.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	return r.Follow(rawclient.New(c), speak)
}

// refusedFor reports whether err says that the store is away or, if that is possible, that
// the token has expired.
func refusedFor(err error, expired bool) bool {
	return unavailable(err) || expired && err != nil && strings.Contains(err.Error(), " 401 ")
}

// unavailable reports whether err says that the store is away.
func unavailable(err error) bool {
	return err != nil && (strings.Contains(err.Error(), "unavailable") || strings.Contains(err.Error(), " 503 "))
}

// pause waits for a random time.
func (x *troubled) pause(most time.Duration) {
	<-time.After(time.Duration(x.random.Int64N(int64(most))))
}

func (x *troubled) step() {
	node, topic := x.random.IntN(len(x.nodes)), x.topic(x.random.IntN(troubleTopics))
	switch n := x.random.IntN(100); {
	case n < 60:
		for range 1 + x.random.IntN(10) {
			x.publish(node, topic)
		}
	case n < 80:
		how := []memnet.End{memnet.ByReset, memnet.ByClose}[x.random.IntN(2)]
		x.links[x.random.IntN(len(x.links))].Cut(how)
	case n < 83:
		x.store.Lose(topic, 1+x.random.IntN(3))
	case n < 85:
		x.store.NewEpoch()
	case n < 88:
		x.nodes[node].Away()
	case n < 95:
		x.nodes[node].Back()
	default:
		x.pause(5 * time.Second)
	}
}

// publish publishes a message without waiting for the answer.
func (x *troubled) publish(node int, topic pubsub.Topic) {
	x.published++
	data := fmt.Sprint("message ", x.published)
	x.publishing.Go(func() {
		s := x.servers[node]
		answered := x.recorder.Publishing(topic, data)
		position, err := post(s, topic, data, s.Token(auth.Broadcast, topic))
		switch {
		case err == nil:
			answered(delivery.Acknowledged, position)
		case strings.Contains(err.Error(), "outcome_unknown"):
		case unavailable(err):
			answered(delivery.Refused, position)
		default:
			x.t.Errorf("publish: %v", err)
		}
	})
}

// rest lets all clients get the messages that remain for them.
func (x *troubled) rest() {
	for _, n := range x.nodes {
		n.Back()
	}
	x.publishing.Wait()
	<-time.After(time.Minute)
	for i := range troubleTopics {
		x.store.Lose(x.topic(i), 0)
		x.publish(0, x.topic(i)) // so that the last epoch is known
		x.publishing.Wait()
	}
	<-time.After(time.Minute)
	synctest.Wait()
	for _, r := range x.recordings {
		r.Add(delivery.Event{Kind: delivery.Rest})
	}
	x.stop()
	x.following.Wait()
	for _, r := range x.readers {
		x.recovered, x.lost = x.recovered+r.Recovered, x.lost+r.Lost
	}
}
