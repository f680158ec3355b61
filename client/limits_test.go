package client_test

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ikornaselur/notiflux/client"
	"github.com/ikornaselur/notiflux/internal/config"
	"github.com/ikornaselur/notiflux/internal/internaltest/servertest"
)

// pinging keeps a connection alive until the function that it returns is called.
func pinging(p *peer) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		for p.conn.Ping(ctx) == nil {
			select {
			case <-time.After(20 * time.Second):
			case <-ctx.Done():
				return
			}
		}
	}()
	return cancel
}

// A client paces its commands by the rate in the welcome frame, and gathers topics meanwhile.
func TestCommandsArePaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		f.welcome = `{"type":"welcome","ping":25,"limits":{"commandsPerSecond":9}}`
		c := f.dial(client.Options{})
		p := f.accept()
		defer pinging(p)()
		for n := range 1000 {
			c.Subscribe(fmt.Sprint("t", n))
			time.Sleep(10 * time.Millisecond)
		}
		synctest.Wait()
		// 10 s at 0.9 of 9 commands a second, and a second's worth at once.
		if got := len(p.commands); got < 80 || got > 92 {
			t.Errorf("the client sent %d commands in 10 s, want about 89", got)
		}
	})
}

// Topics beyond the limit of a connection go to another one.
func TestTopicLimit(t *testing.T) {
	for name, together := range map[string]bool{"one by one": false, "before connecting": true} {
		t.Run(name, func(t *testing.T) {
			s := servertest.Start(t, func(c *config.Serve) { c.MaxTopicsPerConnection = 10 })
			var names []string
			for n := range 35 {
				names = append(names, fmt.Sprint("t", n))
			}
			c := connect(t, s.URL, client.Options{Token: subscribeToken(s, names...)}, hurry)
			defer c.Close()
			var all []*client.Subscription
			for n, name := range names {
				sub := c.SubscribeWith(client.SubscribeOptions{Presence: n < 5}, name)
				all = append(all, sub)
				if !together {
					if e, err := sub.Next(t.Context()); err != nil {
						t.Fatal(describe(e, err))
					}
				}
			}
			if together {
				for _, sub := range all {
					if e, err := sub.Next(t.Context()); err != nil {
						t.Error(describe(e, err))
					}
				}
			}
		})
	}
}

// A refused connection ends the subscriptions that need it, and no others.
func TestSecondConnectionIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		c := f.dial(client.Options{})
		a := listen(t, c, topics("a"))
		p := f.accept()
		<-p.commands
		p.say(subscribedTo(1, "a"))
		a.expect("subscribed a E:0 0 resumed=false")
		f.refuseNext(404, "") // a proxy that reloads
		both := listen(t, c, topics("c"))
		<-p.commands
		p.say(subscribedTo(2, "c"))
		both.expect("subscribed c E:0 0 resumed=false")
		b := listen(t, c, wish{Topics: []string{"a"}, Last: 1})
		b.expect("end over_capacity: it is full")
		p.say(message("a", 1, "1"))
		a.expect("message a E:1 1")
		again := listen(t, c, wish{Topics: []string{"a"}, Last: 1})
		q := f.accept()
		<-q.commands
		q.say(subscribedTo(1, "a"))
		again.expect("subscribed a E:0 0 resumed=false")
	})
}

// A program that has stored no position yet passes the empty one.
func TestEmptySince(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		listen(t, f.dial(client.Options{}), wish{Topics: []string{"a"}, Last: 2, Since: map[string]client.Position{"a": ""}})
		f.accept().expect(`{"type":"subscribe","id":1,"topics":["a"],"last":2}`)
	})
}

func TestClosedSubscriptionsAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		f.block = answer(503, "draining")
		c := f.new(client.Options{})
		defer c.Subscribe("keep").Close()
		heap := func() int64 {
			runtime.GC()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			return int64(m.HeapAlloc)
		}
		before := heap()
		for i := range 50_000 {
			c.Subscribe("a").Close()
			if i%10000 == 0 {
				time.Sleep(time.Minute) // the lane makes attempts meanwhile
			}
		}
		if grown := heap() - before; grown > 2<<20 {
			t.Errorf("50,000 closed subscriptions hold %d KiB", grown>>10)
		}
		runtime.KeepAlive(c)
	})
}

// One refusal an hour is not a row of refusals.
func TestRefusalsFarApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		c, err := client.NewForTest(base, client.Options{HTTPClient: f.client()}, func(n int) time.Duration { return time.Second << min(n, 10) })
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		listen(t, c, topics("live"))
		p := f.accept()
		<-p.commands
		p.say(subscribedTo(1, "live"))
		defer pinging(p)()
		for n := range 5 {
			a := listen(t, c, topics("a"))
			<-p.commands
			refused := time.Now()
			p.say(fmt.Sprintf(`{"type":"subscribed","id":%d,"topics":{},"refused":{"a":{"code":"unavailable","message":"x"}}}`, 3*n+2))
			<-p.commands
			if wait := time.Since(refused); wait != time.Second {
				t.Errorf("the wait after refusal %d is %v", n, wait)
			}
			p.say(subscribedTo(3*n+3, "a"))
			a.expect("subscribed a E:0 0 resumed=false")
			a.leave()
			a.expect("end context canceled")
			<-p.commands
			time.Sleep(time.Hour)
		}
	})
}

// A server that does not answer a command is left for another connection.
func TestNoAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		a := listen(t, f.dial(client.Options{}), topics("a"))
		p := f.accept()
		<-p.commands
		p.say(`{"type":"error","code":"malformed","message":"what","retry":false}`) // without id
		defer pinging(p)()
		a.expect("disconnected")
		p = f.accept()
		<-p.commands
		p.say(subscribedTo(1, "a"))
		a.expect("subscribed a E:0 0 resumed=false")
	})
}

// An end without a reason is not for good.
func TestEndWithoutCode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		a := listen(t, f.dial(client.Options{}), topics("a"))
		p := f.accept()
		<-p.commands
		p.say(subscribedTo(1, "a"), `{"type":"unsubscribed","topics":["a"]}`)
		a.expect("subscribed a E:0 0 resumed=false")
		p.expect(`{"type":"subscribe","id":2,"topics":["a"],"since":{"a":"E:0"}}`)
	})
}
