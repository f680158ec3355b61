package server_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/client"
	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/config"
	"github.com/ikornaselur/notiflux/internal/internaltest/redistest"
	"github.com/ikornaselur/notiflux/internal/internaltest/servertest"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

var rollingClients = flag.Int("rolling-clients", 200, "how many clients TestRollingRestart has")

const (
	rollingServers = 3
	rollingTopics  = 20
	rollingEvery   = 50 * time.Millisecond // between two messages of a topic
)

// Three servers that share Redis are restarted one after the other, behind a load balancer.
// Each client gets every message once and in order, no resume loses anything, and nobody
// seems to leave.
func TestRollingRestart(t *testing.T) {
	r := redistest.Start(t)
	var keyFile string
	start := func() *servertest.Server {
		s := servertest.Start(t, func(c *config.Serve) {
			if keyFile == "" {
				keyFile = c.JWTPublicKeyFile
			}
			c.JWTPublicKeyFile, c.Broker = keyFile, "redis://"+r.Addr
			c.HistoryMessages = 1000
		})
		awaitReady(t, s, http.StatusOK)
		return s
	}
	servers := make([]*servertest.Server, rollingServers)
	b := newBalancer(t)
	for i := range servers {
		servers[i] = start()
		b.set(i, servers[i].URL)
	}
	first := servers[0] // signs all tokens

	var topics []pubsub.Topic
	for i := range rollingTopics {
		topics = append(topics, rollingTopic(i))
	}
	ctx, stop := context.WithCancel(t.Context())
	var watching, publishing sync.WaitGroup
	var watchers []*rollingWatcher
	for i := range *rollingClients {
		w := &rollingWatcher{t: t, name: fmt.Sprint("u", i), topic: topics[i%rollingTopics]}
		w.open(b.URL(), first.Sign(auth.Grant{Subject: w.name, Scopes: []auth.Scope{auth.Subscribe}, Topics: []pubsub.Topic{w.topic}}))
		watchers = append(watchers, w)
		watching.Go(func() { w.watch(ctx) })
	}
	for _, w := range watchers {
		for w.resumes.Load() == 0 { // it has subscribed
			<-time.After(10 * time.Millisecond)
		}
	}
	publisher, err := client.New(b.URL(), client.Options{Token: first.Sign(auth.Grant{Subject: "publisher", Scopes: []auth.Scope{auth.Broadcast}, Topics: topics})})
	if err != nil {
		t.Fatal(err)
	}
	defer publisher.Close()
	over := make(chan struct{})
	last := make([]int, rollingTopics)
	for i := range rollingTopics {
		publishing.Go(func() {
			for {
				select {
				case <-over:
					return
				case <-time.After(rollingEvery):
				}
				last[i]++
				if _, err := publisher.Publish(t.Context(), string(topics[i]), []byte(strconv.Itoa(last[i]))); err != nil {
					t.Errorf("publish %d: %v", last[i], err)
					return
				}
			}
		})
	}
	for i := range servers {
		b.set(i, "")
		if err := servers[i].Stop(); err != nil {
			t.Error(err)
		}
		servers[i] = start()
		b.set(i, servers[i].URL)
		<-time.After(time.Second)
	}
	close(over)
	publishing.Wait()
	resumes := int64(0)
	for i, w := range watchers {
		for deadline := time.Now().Add(20 * time.Second); int(w.got.Load()) < last[i%rollingTopics]; {
			if time.Now().After(deadline) {
				t.Fatalf("%s got %d messages of %d", w.name, w.got.Load(), last[i%rollingTopics])
			}
			<-time.After(10 * time.Millisecond)
		}
		resumes += w.resumes.Load() - 1
	}
	members := make([]int, rollingTopics)
	for i := range watchers {
		members[i%rollingTopics]++
	}
	for _, s := range servers {
		for i, want := range members {
			checkCount(t, s.URL, first.Token(auth.Subscribe, rollingTopic(i)), rollingTopic(i), want)
		}
	}
	stop()
	watching.Wait()
	t.Logf("%d clients resumed %d times; %d messages in %s", *rollingClients, resumes, last[0], "topic0")
	if int(resumes) < *rollingClients*2/3 {
		t.Errorf("%d resumes of %d clients prove nothing", resumes, *rollingClients)
	}
}

func rollingTopic(i int) pubsub.Topic { return pubsub.Topic(fmt.Sprint("topic", i)) }

// checkCount compares the numbers of members and of subscriptions that a server knows.
func checkCount(t *testing.T, url, token string, topic pubsub.Topic, want int) {
	t.Helper()
	var got struct{ Count, Subscribers int }
	for range 200 { // Numbers of subscriptions arrive within a second.
		r, err := http.Get(url + "/presence?topic=" + string(topic) + "&token=" + token)
		if err != nil {
			t.Fatal(err)
		}
		err = json.NewDecoder(r.Body).Decode(&got)
		r.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if got.Count == want && got.Subscribers == want {
			return
		}
		<-time.After(20 * time.Millisecond)
	}
	t.Errorf("%s has %d members and %d subscriptions at %s, want %d", topic, got.Count, got.Subscribers, url, want)
}

// A rollingWatcher is a client that must not notice the restarts.
type rollingWatcher struct {
	t      *testing.T
	name   string
	topic  pubsub.Topic
	client *client.Client

	got     atomic.Int64 // the last message
	resumes atomic.Int64 // subscriptions, the first included
}

func (w *rollingWatcher) open(url, token string) {
	var err error
	if w.client, err = client.New(url, client.Options{Token: token}); err != nil {
		w.t.Fatal(err)
	}
}

// watch checks the events until ctx ends.
func (w *rollingWatcher) watch(ctx context.Context) {
	defer w.client.Close()
	subscription := w.client.SubscribeWith(client.SubscribeOptions{Presence: true}, string(w.topic))
	for event, err := range subscription.Events(ctx) {
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			w.t.Errorf("%s: %v", w.name, err)
			continue
		}
		switch e := event.(type) {
		case client.Subscribed:
			if e.Resumed != (w.resumes.Load() > 0) {
				w.t.Errorf("%s: subscription %d has Resumed %t", w.name, w.resumes.Load(), e.Resumed)
			}
			w.resumes.Add(1)
		case client.Message:
			n, _ := strconv.ParseInt(e.Text(), 10, 64)
			if n != w.got.Add(1) {
				w.t.Errorf("%s: message %d after %d", w.name, n, w.got.Load()-1)
				w.got.Store(n)
			}
		case client.Left:
			w.t.Errorf("%s: %v left %s", w.name, e.Members, e.Topic)
		case client.Present:
			if e.Err != nil {
				w.t.Errorf("%s: the members: %v", w.name, e.Err)
			}
		}
	}
}

// A balancer passes each connection on to the next server that accepts it.
type balancer struct {
	listener net.Listener
	passing  sync.WaitGroup

	mu      sync.Mutex
	targets [rollingServers]string // host and port; empty: none
	next    int
}

func newBalancer(t *testing.T) *balancer {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &balancer{listener: l}
	b.passing.Go(b.accept)
	t.Cleanup(func() {
		l.Close()
		b.passing.Wait()
	})
	return b
}

// URL returns the address for clients.
func (b *balancer) URL() string { return "http://" + b.listener.Addr().String() }

func (b *balancer) set(i int, url string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.targets[i] = strings.TrimPrefix(url, "http://")
}

// pick returns a target and moves on to the next one.
func (b *balancer) pick() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.next++
	return b.targets[b.next%len(b.targets)]
}

func (b *balancer) accept() {
	for {
		c, err := b.listener.Accept()
		if err != nil {
			return
		}
		b.passing.Go(func() { b.pass(c) })
	}
}

func (b *balancer) pass(c net.Conn) {
	defer c.Close()
	for range 2 * rollingServers {
		target := b.pick()
		if target == "" {
			continue
		}
		to, err := net.Dial("tcp", target)
		if err != nil {
			continue
		}
		defer to.Close()
		var copying sync.WaitGroup
		copying.Go(func() {
			_, _ = io.Copy(to, c)
			to.Close()
		})
		_, _ = io.Copy(c, to)
		c.Close()
		copying.Wait()
		return
	}
}
