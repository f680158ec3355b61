package server_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/broker"
	"github.com/ikornaselur/notiflux/internal/broker/brokertest/fakestore"
	"github.com/ikornaselur/notiflux/internal/config"
	"github.com/ikornaselur/notiflux/internal/internaltest/memnet"
	"github.com/ikornaselur/notiflux/internal/internaltest/servertest"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/server"
)

// text returns the body and the status of an answer to GET.
func text(t *testing.T, s *servertest.Server, url string) (status int, body string) {
	t.Helper()
	res, err := s.HTTP.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(data)
}

// While the broker is away, operations that need it are refused. Clients stay connected,
// and get the messages that are published once it is back.
func TestBrokerAway(t *testing.T) {
	var node *fakestore.Node
	s := servertest.StartIn(t, server.Environment{Broker: func(sink broker.Sink) broker.Broker {
		node = fakestore.New(fakestore.Config{Delay: 5 * time.Millisecond, Check: 50 * time.Millisecond}).Node(sink)
		return node
	}}, nil)
	awaitReady(t, s, 200)
	bearer := "Bearer " + s.Token(auth.Subscribe, "t", "u")
	c := connectJSON(t, s, s.Sign(auth.Grant{Subject: "test", Scopes: []auth.Scope{auth.Subscribe, auth.Broadcast}, Topics: []pubsub.Topic{"t", "u"}}))
	c.Say(`{"type":"subscribe","topics":["t"]}`)
	if got := c.Next(); !strings.HasPrefix(got, `{"type":"subscribed","topics":{"t":`) {
		t.Fatal(got)
	}

	node.Away()
	for _, path := range []string{"/events?topic=u", "/stream?topic=t&topic=u", "/poll?topic=u", "/history?topic=u"} {
		for _, method := range []string{"GET", "HEAD"} {
			a := read(s.HTTP, s.URL, method, path, "Authorization", bearer)
			if a.status != 503 || a.header.Get("Retry-After") == "" || method == "GET" && a.Code != pubsub.Unavailable {
				t.Errorf("%s %s: %d %s, %v", method, path, a.status, a.Code, a.header)
			}
		}
	}
	if status, answer := broadcast(t, s, `{"topic":"t","message":1}`, "Authorization", "Bearer "+s.Token(auth.Broadcast, "t")); status != 503 || !strings.Contains(answer, `"unavailable"`) {
		t.Errorf("broadcast: %d %s", status, answer)
	}
	c.Say(`{"type":"broadcast","topic":"t","message":1}`)
	if got := c.Next(); !strings.HasPrefix(got, `{"type":"error","code":"unavailable",`) || !strings.HasSuffix(got, `"retry":true}`) {
		t.Error(got)
	}
	c.Say(`{"type":"subscribe","topics":["u","t"]}`)
	if got := c.Next(); !strings.Contains(got, `"refused":{"u":{"code":"unavailable",`) || !strings.Contains(got, `"topics":{"t":{`) {
		t.Error(got)
	}
	if status, body := text(t, s, s.URL+"/readyz"); status != 503 || !strings.Contains(body, "the broker is currently unavailable") {
		t.Errorf("/readyz: %d %s", status, body)
	}
	if status, _ := text(t, s, s.URL+"/livez"); status != 200 {
		t.Errorf("/livez: %d", status)
	}
	if _, body := text(t, s, s.AdminURL+"/metrics"); !strings.Contains(body, "notiflux_broker_up 0\n") || !strings.Contains(body, "notiflux_attaching 0\n") {
		t.Errorf("/metrics: %s", body)
	}

	node.Back()
	awaitReady(t, s, 200)
	s.Broadcast("t", "again")
	if got := c.Next(); !strings.HasPrefix(got, `{"type":"message","topic":"t",`) || !strings.HasSuffix(got, `"data":"again"}`) {
		t.Error(got)
	}
}

// hanging is a broker that attaches topics only when the test says so.
type hanging struct {
	*fakestore.Node
	mu   sync.Mutex
	held []*broker.Attachment
}

func (b *hanging) Attach(a *broker.Attachment) (finished bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.held = append(b.held, a)
	return false
}

// attach attaches the topics that are held.
func (b *hanging) attach() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, a := range b.held {
		b.Node.Attach(a)
	}
	b.held = nil
}

// waiting returns the number of held attachments, and how many of them were canceled.
func (b *hanging) waiting() (n, cancelled int) {
	synctest.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, a := range b.held {
		if a.Cancelled() {
			cancelled++
		}
	}
	return len(b.held), cancelled
}

// hang calls f in a bubble with a server whose broker hangs.
func hang(t *testing.T, f func(t *testing.T, s *servertest.Server, b *hanging)) {
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New()
		l, err := n.Listen("10.0.0.1:80")
		if err != nil {
			t.Fatal(err)
		}
		b := new(hanging)
		s := servertest.StartIn(t, server.Environment{Public: l, Loops: 2, Broker: func(sink broker.Sink) broker.Broker {
			b.Node = fakestore.New(fakestore.Config{Delay: time.Millisecond}).Node(sink)
			return b
		}}, func(c *config.Serve) { c.Loops = "portable" }) // epoll would wait in the kernel
		s.HTTP.Transport.(*http.Transport).DialContext = n.Link(memnet.LinkConfig{}).DialContext
		f(t, s, b)
	})
}

// If the broker goes away while it has a message, the publisher learns that the message may
// have been published.
func TestBrokerGoesAwayWhilePublishing(t *testing.T) {
	hang(t, func(t *testing.T, s *servertest.Server, b *hanging) {
		for body, want := range map[string]int{`{"topic":"t","message":1}`: 503, `[{"topic":"t","message":2}]`: 207} {
			answered := make(chan struct{})
			go func() {
				defer close(answered)
				status, answer := broadcast(t, s, body, "Authorization", "Bearer "+s.Token(auth.Broadcast, "t"))
				if status != want || !strings.Contains(answer, `"outcome_unknown"`) {
					t.Errorf("%s: %d %s", body, status, answer)
				}
			}()
			synctest.Wait() // the message is on its way to the store
			b.Away()
			<-answered
			b.Back()
			synctest.Wait()
		}
	})
}

// A request that reads waits for the broker before it is answered.
func TestReadsWaitForTheBroker(t *testing.T) {
	for _, path := range []string{"/events?topic=t&topic=u", "/stream?topic=u&topic=t", "/poll?topic=t&topic=u"} {
		get := func(ctx context.Context, s *servertest.Server, token string) (*http.Response, error) {
			r, err := http.NewRequestWithContext(ctx, "GET", s.URL+path, nil)
			if err != nil {
				return nil, err
			}
			r.Header.Set("Authorization", "Bearer "+token)
			return s.HTTP.Do(r)
		}
		t.Run(path[:strings.Index(path, "?")], func(t *testing.T) {
			t.Run("attached", func(t *testing.T) {
				hang(t, func(t *testing.T, s *servertest.Server, b *hanging) {
					time.AfterFunc(3*time.Second, b.attach)
					begun := time.Now()
					res, err := get(t.Context(), s, s.Token(auth.Subscribe, "t", "u"))
					if took := time.Since(begun).Round(time.Second); err != nil || res.StatusCode != 200 || took != 3*time.Second {
						t.Fatalf("%v, %v after %v", res, err, took)
					}
					res.Body.Close()
				})
			})
			t.Run("late", func(t *testing.T) {
				hang(t, func(t *testing.T, s *servertest.Server, b *hanging) {
					begun := time.Now()
					res, err := get(t.Context(), s, s.Token(auth.Subscribe, "t", "u"))
					if err != nil || res.StatusCode != 503 || res.Header.Get("Retry-After") == "" || time.Since(begun) != broker.Timeout {
						t.Fatalf("%v, %v after %v", res, err, time.Since(begun))
					}
					res.Body.Close()
					if n, cancelled := b.waiting(); n != 2 || cancelled != 2 {
						t.Errorf("%d of %d are canceled", cancelled, n)
					}
					b.attach()
				})
			})
			t.Run("disconnect", func(t *testing.T) {
				hang(t, func(t *testing.T, s *servertest.Server, b *hanging) {
					ctx, cancel := context.WithTimeout(t.Context(), time.Second)
					defer cancel()
					if res, err := get(ctx, s, s.Token(auth.Subscribe, "t", "u")); err == nil {
						t.Fatalf("answered %v", res)
					}
					if n, cancelled := b.waiting(); n != 2 || cancelled != 2 {
						t.Errorf("%d of %d are canceled", cancelled, n)
					}
					b.attach()
				})
			})
			t.Run("until", func(t *testing.T) {
				hang(t, func(t *testing.T, s *servertest.Server, b *hanging) {
					time.AfterFunc(3*time.Second, b.attach)
					res, err := get(t.Context(), s, s.Sign(auth.Grant{
						Subject: "test", Scopes: []auth.Scope{auth.Subscribe}, Topics: []pubsub.Topic{"t", "u"}, Until: time.Now().Add(2 * time.Second),
					}))
					if err != nil || res.StatusCode != 401 {
						t.Fatalf("%v, %v", res, err)
					}
					res.Body.Close()
				})
			})
			t.Run("shutdown", func(t *testing.T) {
				hang(t, func(t *testing.T, s *servertest.Server, b *hanging) {
					time.AfterFunc(time.Second, func() { go s.Stop() })
					begun := time.Now()
					res, err := get(t.Context(), s, s.Token(auth.Subscribe, "t", "u"))
					if err != nil || res.StatusCode != 503 || time.Since(begun) > 2*time.Second {
						t.Fatalf("%v, %v after %v", res, err, time.Since(begun))
					}
					res.Body.Close()
					b.attach()
				})
			})
		})
	}
}

// A stream without room for its topics is refused before it begins, and leaves nothing
// behind.
func TestStreamWithoutRoom(t *testing.T) {
	servertest.NeedsMemory(t, "another broker holds topics a moment longer")
	s := servertest.Start(t, func(c *config.Serve) { c.MaxTopics = 1 })
	bearer := "Bearer " + s.Token(auth.Subscribe, "t", "u")
	for _, method := range []string{"GET", "HEAD"} {
		a := read(s.HTTP, s.URL, method, "/events?topic=t&topic=u", "Authorization", bearer)
		if a.status != 503 || method == "GET" && a.Code != pubsub.OverCapacity || a.header.Get("Retry-After") == "" {
			t.Errorf("%s: %d %s, %v", method, a.status, a.Code, a.header)
		}
	}
	if _, body := text(t, s, s.AdminURL+"/metrics"); !strings.Contains(body, "notiflux_topics 0\n") || !strings.Contains(body, "notiflux_connections 0\n") {
		t.Errorf("not everything was released: %s", body)
	}
}
