package client_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ikornaselur/notiflux/client"
)

// A frame that moves a topic while the client closes must not start a lane.
func TestCloseWhileATopicMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		f.welcome = `{"type":"welcome","ping":25,"limits":{"topics":1,"topicsPerCommand":2}}`
		asking := make(chan struct{})
		c, err := client.New(base, client.Options{HTTPClient: f.client(), TokenSource: func(ctx context.Context, r client.TokenRequest) (string, error) {
			if r.Refused != "" {
				close(asking)
				<-ctx.Done()
				time.Sleep(500 * time.Millisecond) // within the second that Close gives it
			}
			return "t", nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		c.Subscribe("a", "b", "c")
		p := f.accept()
		<-p.commands
		<-p.commands
		p.say(`{"type":"subscribed","id":2,"refused":{"c":{"code":"topic_denied","message":"x"}}}`)
		<-asking
		began, done := time.Now(), make(chan struct{})
		go func() { c.Close(); close(done) }()
		synctest.Wait() // Close waits for the source
		p.say(`{"type":"subscribed","id":1,"topics":{"a":{"position":"E:0","recovered":true,"replay":0}},"refused":{"b":{"code":"too_many","message":"x"}}}`)
		select {
		case <-done:
		case <-time.After(time.Minute):
			t.Fatalf("Close has not returned after %v; %d handshakes", time.Since(began), len(f.dials()))
		}
	})
}

// A refusal of a later attempt does not mean that the first one published nothing.
func TestRefusalAfterDoubt(t *testing.T) {
	t.Run("context", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f := newFake(t)
			scripted(f, hangUp, answer(503, "over_capacity"))
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			if _, err := f.new(client.Options{}).Publish(ctx, "a", []byte("x")); err == nil || hasCode(err, "over_capacity") {
				t.Errorf("Publish = %v, an *Error with a code other than outcome_unknown", err)
			}
		})
	})
	for _, code := range []string{"token_expired", "topic_denied", "over_capacity"} {
		t.Run(code, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t)
				status := map[string]int{"token_expired": 401, "topic_denied": 403, "over_capacity": 503}[code]
				steps := []func(http.ResponseWriter, *http.Request){hangUp} // has published
				for range 1000 {
					steps = append(steps, answer(status, code))
				}
				scripted(f, steps...)
				_, err := newCaller(f, client.Options{Token: "x"}).Publish(t.Context(), "a", []byte("x"))
				if !hasCode(err, "outcome_unknown") {
					t.Errorf("Publish = %v (%v), want outcome_unknown: the first attempt may have published", err, hasCode(err, code))
				}
				scripted(f, steps...)
				r := newCaller(f, client.Options{Token: "x"}).PublishAll(t.Context(), []client.Publication{{Topic: "a", JSON: 1}})
				if !hasCode(r[0].Err, "outcome_unknown") {
					t.Errorf("PublishAll = %v (%v), want outcome_unknown: the first attempt may have published", r[0].Err, hasCode(r[0].Err, code))
				}
			})
		})
	}
}

// A custom transport may know nothing of httptrace.
type untraced struct{ http.RoundTripper }

func (u untraced) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer context.AfterFunc(r.Context(), cancel)()
	return u.RoundTripper.RoundTrip(r.WithContext(ctx))
}

func TestDoubtWithoutTrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		s := scripted(f, hangUp, later(503, "200", "over_capacity"), answer(200, published)) // the first attempt has published
		h := f.client()
		h.Transport = untraced{h.Transport}
		c, err := client.New(base, client.Options{HTTPClient: h, Timeout: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_, err = c.Publish(t.Context(), "a", []byte("x"))
		if !hasCode(err, "outcome_unknown") {
			t.Errorf("Publish = %v, the last attempt %v after the one that may have published", err, s.times[len(s.times)-1].Sub(s.times[0]))
		}
	})
}

// A list that is refused does not use up the renewal of the subscription.
func TestRenewalAfterARefusedList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		n := 0
		source := func(context.Context, client.TokenRequest) (string, error) {
			n++
			return string(rune('0' + n)), nil
		}
		a := listen(t, f.dial(client.Options{TokenSource: source}), wish{Topics: []string{"a"}, Presence: true})
		p := f.accept()
		<-p.commands
		p.say(subscribedTo(1, "a"))
		p.expect(`{"type":"presence","id":2,"topic":"a","token":"1"}`)
		p.say(`{"type":"error","id":2,"code":"token_expired","message":"x"}`)
		p.expect(`{"type":"presence","id":3,"topic":"a","token":"2"}`)
		p.say(`{"type":"error","id":3,"code":"topic_denied","message":"x"}`)
		a.expect("subscribed a E:0 0 resumed=false", "present a topic_denied: x")
		p.say(`{"type":"unsubscribed","topics":["a"],"code":"token_expired","message":"x"}`)
		select {
		case e := <-a.events:
			t.Errorf("got event %q; the source was not asked for another token", e)
		case <-p.commands: // with token 3
		}
	})
}

// The deadline of an answer is for servers that say nothing.
func TestAnswerBehindABacklog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		c := f.dial(client.Options{})
		a := listen(t, c, wish{Topics: []string{"a"}, Last: 100})
		p := f.accept()
		<-p.commands
		p.say(`{"type":"subscribed","id":1,"topics":{"a":{"position":"E:0","recovered":true,"replay":100}}}`)
		a.expect("subscribed a E:0 100 resumed=false")
		b := listen(t, c, topics("b"))
		<-p.commands
		// A slow network has these messages in its buffers, before the answer.
		for n := range 40 {
			p.say(message("a", n+1, "1"))
			time.Sleep(time.Second)
			if e := <-a.events; e == "disconnected" {
				t.Fatalf("got %q after %d s although messages arrive each second", e, n)
			}
		}
		p.say(subscribedTo(2, "b"))
		b.expect("subscribed b E:0 0 resumed=false")
	})
}

// slowSource returns a client on a server that takes one command per second. Other commands have
// used up the pace of its lane. Its token source fails once, when fail is called.
func slowSource(t *testing.T, delay time.Duration) (c *client.Client, p *peer, sub *client.Subscription, fail func()) {
	f := newFake(t)
	f.welcome = `{"type":"welcome","ping":25,"limits":{"commandsPerSecond":1}}`
	failing := make(chan struct{})
	asked := make(chan struct{}, 10)
	n := 0
	c, err := client.NewForTest(base, client.Options{HTTPClient: f.client(), TokenSource: func(context.Context, client.TokenRequest) (string, error) {
		asked <- struct{}{}
		if n++; n == 1 {
			<-failing
			return "", errors.New("no token for now")
		}
		return "t", nil
	}}, func(int) time.Duration { return delay })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	sub = c.Subscribe("a")
	p = f.accept()
	<-asked
	other := c.WithToken("x")
	for _, topic := range []string{"x", "y", "z"} {
		other.Subscribe(topic)
		synctest.Wait()
	}
	return c, p, sub, func() { close(failing) }
}

// A subscription that is closed while its source fails is not subscribed to later.
func TestClosedWhileTheSourceFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, p, sub, fail := slowSource(t, time.Minute)
		defer pinging(p)()
		sub.Close()
		fail()
		for {
			select {
			case command := <-p.commands:
				if strings.Contains(command, `"a"`) {
					t.Fatalf("got command %s for a closed subscription", command)
				}
				for id, topic := range []string{"x", "y", "z"} {
					if strings.Contains(command, topic) {
						p.say(subscribedTo(id+1, topic))
					}
				}
			case <-time.After(2 * time.Minute):
				return
			}
		}
	})
}

// A topic is requested once, even if its source fails while commands have to wait.
func TestSourceFailsWhileCommandsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, p, _, fail := slowSource(t, time.Millisecond)
		defer pinging(p)()
		fail()
		for {
			select {
			case command := <-p.commands:
				if strings.Contains(command, `"a","a"`) {
					t.Fatalf("got command %s", command)
				}
			case <-time.After(20 * time.Second):
				return
			}
		}
	})
}

// After an old outage, a new subscription is not slowed down by the refusals before.
func TestConnectAfterGivingUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		f.block = answer(404, "")
		c := f.new(client.Options{})
		for range 12 {
			s := c.Subscribe("a")
			_, _ = s.Next(t.Context())
			time.Sleep(time.Hour)
		}
		s := c.Subscribe("a")
		_, _ = s.Next(t.Context())
		f.unblock()
		time.Sleep(time.Second)
		began := time.Now()
		if err := c.Connect(t.Context()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("Connect took %v although the server is there: it waits for the back-off of attempt 13, 12 h after the first", took)
		}
	})
}

// crowded returns a loop over two topics on a server that takes one of them on a connection. It
// calls before when the client waits for the answer that refuses the other.
func crowded(t *testing.T, before func(*fake)) (f *fake, a *audience, p *peer) {
	f = newFake(t)
	f.welcome = `{"type":"welcome","ping":25,"limits":{"topics":1}}`
	a = listen(t, f.dial(client.Options{}), topics("a", "b"))
	p = f.accept()
	<-p.commands
	before(f)
	p.say(`{"type":"subscribed","id":1,"topics":{"a":{"position":"E:0","recovered":true,"replay":0}},"refused":{"b":{"code":"too_many","message":"x"}}}`)
	a.expect("subscribed a E:0 0 resumed=false")
	return f, a, p
}

// Topics that move from a lane keep their events in order. A topic that is removed while it
// moves leaves nothing.
func TestMove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, a, p := crowded(t, func(*fake) {})
		q := f.accept()
		q.expect(`{"type":"subscribe","id":1,"topics":["b"]}`)
		a.subscription.Remove("b")
		q.say(subscribedTo(1, "b"), message("b", 1, "1"))
		for command := range q.commands {
			t.Log(command)
		}
		p.say(message("a", 1, "1"))
		a.expect("message a E:1 1")
		// b again: a new lane
		if err := a.subscription.Add("b"); err != nil {
			t.Fatal(err)
		}
		q = f.accept()
		q.expect(`{"type":"subscribe","id":1,"topics":["b"]}`)
		q.say(subscribedTo(1, "b"))
		a.expect("subscribed b E:0 0 resumed=false")
	})
}

// A topic that moves to a lane without a connection.
func TestMoveToALaneThatIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, a, _ := crowded(t, func(f *fake) { f.refuseNext(503, "") })
		a.expect("disconnected")
		q := f.accept()
		q.expect(`{"type":"subscribe","id":1,"topics":["b"]}`)
		q.say(subscribedTo(1, "b"))
		a.expect("subscribed b E:0 0 resumed=false")
		q.say(`{"type":"unsubscribed","topics":["b"],"code":"too_many","message":"x"}`)
		a.expect("refused b too_many")
	})
}

// An answer beyond the requested position is a loss.
func TestAnswerBeyondThePosition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		a := listen(t, f.dial(client.Options{}), wish{Topics: []string{"a"}, Since: map[string]client.Position{"a": "E:5"}})
		p := f.accept()
		<-p.commands
		p.say(`{"type":"subscribed","id":1,"topics":{"a":{"position":"E:9","recovered":true,"replay":0}}}`)
		a.expect("lost a E:5 E:9 expired")
	})
}

// Topics that were refused for want of room are subscribed to when others have left meanwhile.
func TestTooManyAfterLeaving(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		f.welcome = `{"type":"welcome","ping":25,"limits":{"topics":2}}`
		s := listen(t, f.dial(client.Options{}), topics("a", "b", "c"))
		p := f.accept()
		p.expect(`{"type":"subscribe","id":1,"topics":["a","b","c"]}`)
		s.subscription.Remove("a")
		p.expect(`{"type":"unsubscribe","id":2,"topics":["a"]}`)
		p.say(`{"type":"subscribed","id":1,"topics":{"a":{"position":"E:0","recovered":true,"replay":0},"b":{"position":"E:0","recovered":true,"replay":0}},"refused":{"c":{"code":"too_many","message":"x"}}}`, `{"type":"unsubscribed","id":2,"topics":["a"]}`)
		s.expect("subscribed b E:0 0 resumed=false")
		select {
		case e := <-s.events:
			t.Fatalf("got event %q; the topic c fits since a has left", e)
		case <-p.commands: // subscribes again
		case <-time.After(time.Minute):
			t.Fatal("c is not subscribed to")
		}
	})
}
