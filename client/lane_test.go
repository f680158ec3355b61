package client_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ikornaselur/notiflux/client"
)

// A second subscription to a topic shares the first one if the server would treat both in the
// same way, and begins at its position.
func TestTopicTwiceOnOneConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		c := f.dial(client.Options{Token: "secret"})
		first := listen(t, c, topics("a"))
		early := listen(t, c, topics("a")) // before the answer
		p := f.accept()
		p.expect(`{"type":"subscribe","id":1,"topics":["a"],"token":"secret"}`)
		p.say(subscribedTo(1, "a"), message("a", 1, "1"))
		for _, a := range []*audience{first, early} {
			a.expect("subscribed a E:0 0 resumed=false", "message a E:1 1")
		}
		late := listen(t, c.WithToken("secret"), topics("a"))
		late.expect("subscribed a E:1 0 resumed=false")
		p.say(message("a", 2, "2"))
		for _, a := range []*audience{first, early, late} {
			a.expect("message a E:2 2")
		}
		first.leave()
		first.expect("end context canceled")
		p.cut()
		early.expect("disconnected")
		late.expect("disconnected")
		fresh := listen(t, c, topics("a")) // while it is not connected
		p = f.accept()
		p.expect(`{"type":"subscribe","id":1,"topics":["a"],"since":{"a":"E:2"},"token":"secret"}`)
		p.say(`{"type":"subscribed","id":1,"topics":{"a":{"position":"F:7","recovered":false,"replay":0}}}`)
		early.expect("lost a E:2 F:7 expired")
		late.expect("lost a E:2 F:7 expired")
		fresh.expect("subscribed a F:7 0 resumed=false")
		for _, a := range []*audience{early, late, fresh} {
			a.leave()
			a.expect("end context canceled")
		}
		p.expect(`{"type":"unsubscribe","id":2,"topics":["a"]}`)
		if got := len(f.dials()); got != 2 {
			t.Errorf("%d connections, want 2", got)
		}
	})
}

// Subscriptions that the server must distinguish use separate connections, as long as they are
// needed.
func TestTopicTwiceOnTwoConnections(t *testing.T) {
	for name, w := range map[string]wish{
		"last":     {Topics: []string{"a", "b"}, Last: 2},
		"since":    {Topics: []string{"a", "b"}, Since: map[string]client.Position{"a": "E:0"}},
		"latest":   {Topics: []string{"a", "b"}, Latest: true},
		"presence": {Topics: []string{"a", "b"}, Presence: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t)
				c := f.dial(client.Options{})
				first := listen(t, c, topics("a"))
				p := f.accept()
				<-p.commands
				p.say(subscribedTo(1, "a"))
				first.expect("subscribed a E:0 0 resumed=false")
				second := listen(t, c, w)
				q := f.accept()
				<-q.commands
				q.say(subscribedTo(1, "a"), message("a", 1, "1"))
				second.expect("subscribed a E:0 0 resumed=false", "message a E:1 1")
				p.say(message("a", 2, "2"))
				first.expect("message a E:2 2")

				// The end of one connection does not end the other.
				q.cut()
				second.expect("disconnected")
				q = f.accept()
				<-q.commands
				p.say(message("a", 3, "3"))
				first.expect("message a E:3 3")
				second.leave()
				second.expect("end context canceled")
				for range q.commands { // it is closed
				}
				p.say(message("a", 4, "4"))
				first.expect("message a E:4 4")
				time.Sleep(10 * time.Second)
				if got := len(f.dials()); got != 3 {
					t.Errorf("%d connections, want 3", got)
				}
			})
		})
	}
}

// A subscription gets nothing that its own token does not allow.
func TestSecondTokenIsDenied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		c := f.dial(client.Options{Token: "good"})
		good := listen(t, c, topics("a"))
		p := f.accept()
		p.expect(`{"type":"subscribe","id":1,"topics":["a"],"token":"good"}`)
		p.say(subscribedTo(1, "a"))
		good.expect("subscribed a E:0 0 resumed=false")
		bad := listen(t, c.WithToken("bad"), topics("a", "b"))
		q := f.accept()
		q.expect(`{"type":"subscribe","id":1,"topics":["a","b"],"token":"bad"}`)
		q.say(`{"type":"subscribed","id":1,"topics":{"b":{"position":"E:0","recovered":true,"replay":0}},"refused":{"a":{"code":"topic_denied","message":"no"}}}`)
		bad.expect("refused a topic_denied", "subscribed b E:0 0 resumed=false")
		p.say(message("a", 1, "1"))
		good.expect("message a E:1 1")
		q.say(message("b", 1, "1"))
		bad.expect("message b E:1 1")
		// Another topic with the other token needs no additional connection.
		other := listen(t, c.WithToken("bad"), topics("c"))
		p.expect(`{"type":"subscribe","id":2,"topics":["c"],"token":"bad"}`)
		p.say(subscribedTo(2, "c"))
		other.expect("subscribed c E:0 0 resumed=false")
	})
}

func TestAddAndRemove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		c := f.dial(client.Options{})
		a := listen(t, c, wish{Topics: []string{"a"}, Since: map[string]client.Position{"b": "E:5"}})
		p := f.accept()
		p.expect(`{"type":"subscribe","id":1,"topics":["a"]}`)
		p.say(subscribedTo(1, "a"))
		a.expect("subscribed a E:0 0 resumed=false")
		if err := a.subscription.Add("a", "b", "b"); err != nil {
			t.Error(err)
		}
		p.expect(`{"type":"subscribe","id":2,"topics":["b"],"since":{"b":"E:5"}}`)
		p.say(`{"type":"subscribed","id":2,"topics":{"b":{"position":"E:5","recovered":true,"replay":1}}}`, message("b", 6, "6"))
		a.expect("subscribed b E:5 1 resumed=false", "message b E:6 6")
		if err := a.subscription.Add("c", ""); err == nil || err.Error() != "subscribe: the topic is empty" {
			t.Errorf("Add = %v", err)
		}

		a.subscription.Remove("b", "z")
		p.expect(`{"type":"unsubscribe","id":3,"topics":["b"]}`)
		p.say(message("b", 7, "7"), message("a", 1, "1"))
		a.expect("message a E:1 1")
		// The position applies to the first time only.
		if err := a.subscription.Add("b"); err != nil {
			t.Error(err)
		}
		p.expect(`{"type":"subscribe","id":4,"topics":["b"]}`)
		p.say(subscribedTo(4, "b"))
		a.expect("subscribed b E:0 0 resumed=false")

		// Without topics it waits for the next one.
		a.subscription.Remove("a", "b")
		p.expect(`{"type":"unsubscribe","id":5,"topics":["a","b"]}`)
		if err := a.subscription.Add("c"); err != nil {
			t.Error(err)
		}
		p.expect(`{"type":"subscribe","id":6,"topics":["c"]}`)

		// A topic that does not fit on its connection uses another one.
		other := listen(t, c, wish{Topics: []string{"d"}, Presence: true})
		p.expect(`{"type":"subscribe","id":7,"topics":["d"],"presence":true}`)
		if err := a.subscription.Add("d"); err != nil {
			t.Error(err)
		}
		f.accept().expect(`{"type":"subscribe","id":1,"topics":["d"]}`)

		a.subscription.Close()
		a.expect("end the client or the subscription is closed")
		a.over()
		if err := a.subscription.Add("e"); err != client.ErrClosed {
			t.Errorf("Add to a closed subscription = %v", err)
		}
		other.leave()
	})
}

// The source learns what a token is for, and is asked again once when the server denies a topic.
// Its answer is used for this topic from then on.
func TestSourceIsToldWhatFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		asked := make(chan client.TokenRequest, 10)
		var calls atomic.Int32
		c := f.dial(client.Options{TokenSource: func(_ context.Context, r client.TokenRequest) (string, error) {
			asked <- r
			return fmt.Sprint("token", calls.Add(1)), nil
		}})
		expect := func(want client.TokenRequest) {
			t.Helper()
			if got := <-asked; fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("the source was asked for %+v, want %+v", got, want)
			}
		}
		a := listen(t, c, topics("a", "b", "c"))
		p := f.accept()
		p.expect(`{"type":"subscribe","id":1,"topics":["a","b","c"],"token":"token1"}`)
		expect(client.TokenRequest{Scope: "subscribe", Topics: []string{"a", "b", "c"}})
		p.say(`{"type":"subscribed","id":1,"topics":{"a":{"position":"E:0","recovered":true,"replay":0}},"refused":{"b":{"code":"topic_denied","message":"no"},"c":{"code":"topic_denied","message":"no"}}}`)
		p.expect(`{"type":"subscribe","id":2,"topics":["b","c"],"token":"token2"}`)
		expect(client.TokenRequest{Scope: "subscribe", Topics: []string{"b", "c"}, Refused: "topic_denied"})
		p.say(`{"type":"subscribed","id":2,"topics":{"b":{"position":"E:0","recovered":true,"replay":0}},"refused":{"c":{"code":"topic_denied","message":"no"}}}`)
		a.expect("subscribed a E:0 0 resumed=false", "subscribed b E:0 0 resumed=false", "refused c topic_denied")

		// After a cut each topic has its token.
		p.cut()
		a.expect("disconnected")
		p = f.accept()
		p.expect(`{"type":"subscribe","id":1,"topics":["a"],"since":{"a":"E:0"},"token":"token1"}`, `{"type":"subscribe","id":2,"topics":["b"],"since":{"b":"E:0"},"token":"token2"}`)
		p.say(subscribedTo(1, "a"), subscribedTo(2, "b"), `{"type":"unsubscribed","topics":["b"],"code":"token_revoked"}`)
		p.expect(`{"type":"subscribe","id":3,"topics":["b"],"since":{"b":"E:0"},"token":"token3"}`)
		expect(client.TokenRequest{Scope: "subscribe", Topics: []string{"b"}, Refused: "token_revoked"})

		// Calls use a token for their scope.
		s := scripted(f, answer(403, "topic_denied"), answer(200, published), answer(200, published), answer(403, "topic_denied"))
		for range 2 {
			if _, err := c.Publish(t.Context(), "x", nil); err != nil {
				t.Error(err)
			}
		}
		expect(client.TokenRequest{Scope: "broadcast", Topics: []string{"x"}})
		expect(client.TokenRequest{Scope: "broadcast", Topics: []string{"x"}, Refused: "topic_denied"})
		if _, err := c.Publish(t.Context(), "x", nil); !hasCode(err, "topic_denied") {
			t.Errorf("Publish = %v, want topic_denied", err)
		}
		expect(client.TokenRequest{Scope: "broadcast", Topics: []string{"x"}, Refused: "topic_denied"})
		if got := fmt.Sprint(s.tokens); got != "[token4 token5 token5 token5 token6]" {
			t.Errorf("the tokens were %s", got)
		}
		if len(asked) > 0 {
			t.Errorf("the source was asked once more: %+v", <-asked)
		}
	})
}

// The loop learns when the first connection fails, and the client tries again.
func TestFirstConnectionIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		f.refuseNext(503, "")
		f.refuseNext(503, "")
		c := f.new(client.Options{})
		time.Sleep(time.Hour)
		if got := len(f.dials()); got != 0 {
			t.Errorf("%d connections before one was needed", got)
		}
		a := listen(t, c, topics("a"))
		a.expect("disconnected")
		p := f.accept()
		p.expect(`{"type":"subscribe","id":1,"topics":["a"]}`)
		p.say(subscribedTo(1, "a"))
		a.expect("subscribed a E:0 0 resumed=false")
		if err := c.Connect(t.Context()); err != nil {
			t.Errorf("Connect of a client that is connected = %v", err)
		}
	})
}

func TestCloseEndsConnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		f.block = hang
		c := f.new(client.Options{})
		connected := make(chan error)
		go func() { connected <- c.Connect(t.Context()) }()
		synctest.Wait()
		c.Close()
		if err := <-connected; err != client.ErrClosed {
			t.Errorf("Connect = %v", err)
		}
	})
}

// Close ends the client soon, whatever it is doing, and everything that waits.
func TestCloseEndsWhatIsUnderWay(t *testing.T) {
	hanging := func(ctx context.Context, _ client.TokenRequest) (string, error) {
		<-ctx.Done()
		return "", ctx.Err()
	}
	for name, tt := range map[string]struct {
		o       client.Options
		prepare func(*fake)
	}{
		"dial":            {client.Options{}, func(f *fake) { f.block = hang }},
		"reconnect wait":  {client.Options{}, func(f *fake) { f.refuseNext(503, "200") }},
		"token source":    {client.Options{TokenSource: hanging}, func(f *fake) {}},
		"before anything": {client.Options{}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // which ends when no goroutine is left
				f := newFake(t)
				c := f.new(tt.o)
				var subscription *client.Subscription
				if tt.prepare != nil {
					tt.prepare(f)
					subscription = c.Subscribe("a")
				}
				synctest.Wait()
				began := time.Now()
				c.WithToken("other").Close()
				if took := time.Since(began); took > time.Second {
					t.Errorf("Close took %v", took)
				}
				if subscription == nil {
					return
				}
				if _, err := subscription.Next(t.Context()); err != client.ErrClosed {
					t.Errorf("Next = %v", err)
				}
				if _, err := c.Position(t.Context(), "a"); !errors.Is(err, client.ErrClosed) {
					t.Errorf("Position = %v", err)
				}
				for _, r := range c.PublishAll(t.Context(), []client.Publication{value(1)}) {
					if !errors.Is(r.Err, client.ErrClosed) {
						t.Errorf("PublishAll = %v", r.Err)
					}
				}
			})
		})
	}
}

func TestCallsHaveADeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		scripted(f, answer(503, "unavailable"))
		for timeout, want := range map[time.Duration]time.Duration{0: 30 * time.Second, time.Minute: time.Minute} {
			c := f.new(client.Options{Timeout: timeout})
			for name, call := range map[string]func() error{
				"Publish":     func() error { _, err := c.Publish(t.Context(), "a", nil); return err },
				"PublishJSON": func() error { _, err := c.PublishJSON(t.Context(), "a", 1); return err },
				"PublishAll":  func() error { return c.PublishAll(t.Context(), []client.Publication{value(1)})[0].Err },
				"History":     func() error { _, err := c.History(t.Context(), "a", client.HistoryOptions{}); return err },
				"Position":    func() error { _, err := c.Position(t.Context(), "a"); return err },
				"Presence":    func() error { _, err := c.Presence(t.Context(), "a"); return err },
			} {
				began := time.Now()
				if err := call(); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != want || !hasCode(err, "unavailable") {
					t.Errorf("%s = %v after %v, want that %v are over and why", name, err, time.Since(began), want)
				}
			}
		}
	})
}

// A slow token source does not delay topics that have their token.
func TestSlowTokenSourceDelaysNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		c := f.dial(client.Options{TokenSource: func(ctx context.Context, r client.TokenRequest) (string, error) {
			select {
			case <-time.After(20 * time.Second):
			case <-ctx.Done():
			}
			return "slow", ctx.Err()
		}})
		view := c.WithToken("quick")
		began := time.Now()
		slow := listen(t, c, topics("a"))
		synctest.Wait() // the source is asked
		quick := listen(t, view, topics("b"))
		p := f.accept()
		p.expect(`{"type":"subscribe","id":1,"topics":["b"],"token":"quick"}`)
		if took := time.Since(began); took > 0 {
			t.Errorf("the subscription was delayed by %v", took)
		}
		p.say(subscribedTo(1, "b"))
		quick.expect("subscribed b E:0 0 resumed=false")
		quick.leave()
		quick.expect("end context canceled")
		p.expect(`{"type":"unsubscribe","id":2,"topics":["b"]}`)
		if took := time.Since(began); took > 0 {
			t.Errorf("the end of the subscription was delayed by %v", took)
		}
		p.expect(`{"type":"subscribe","id":3,"topics":["a"],"token":"slow"}`)
		p.say(subscribedTo(3, "a"))
		slow.expect("subscribed a E:0 0 resumed=false")
	})
}
