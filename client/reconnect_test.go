package client_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/ikornaselur/notiflux/client"
)

func TestResumesAfterWhatWasTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		c := f.dial(client.Options{})
		a := listen(t, c, wish{Topics: topics("a", "b").Topics, Last: 3})
		p := f.accept()
		p.expect(`{"type":"subscribe","id":1,"topics":["a","b"],"last":3}`)
		p.say(subscribedTo(1, "a", "b"), message("a", 1, "1"), message("a", 2, "2"))
		a.expect("subscribed a E:0 0 resumed=false", "subscribed b E:0 0 resumed=false", "message a E:1 1", "message a E:2 2")
		p.cut()
		a.expect("disconnected")
		p = f.accept()
		p.expect(`{"type":"subscribe","id":1,"topics":["a","b"],"since":{"a":"E:2","b":"E:0"}}`)
		p.say(`{"type":"subscribed","id":1,"topics":{"a":{"position":"E:2","recovered":true,"replay":1},"b":{"position":"F:7","recovered":false,"replay":0}}}`,
			message("a", 3, "3"),
			`{"type":"message","topic":"b","position":"F:8","time":0,"data":4}`)
		a.expect("subscribed a E:2 1 resumed=true", "lost b E:0 F:7 expired", "message a E:3 3", "message b F:8 4")

		// Before the first answer nothing changes.
		p.cut()
		a.expect("disconnected")
		p = f.accept()
		b := listen(t, c, wish{Topics: topics("c").Topics, Last: 5})
		p.expect(`{"type":"subscribe","id":1,"topics":["a","b"],"since":{"a":"E:3","b":"F:8"}}`, `{"type":"subscribe","id":2,"topics":["c"],"last":5}`)
		p.cut()
		b.expect("disconnected")
		f.accept().expect(`{"type":"subscribe","id":1,"topics":["a","b"],"since":{"a":"E:3","b":"F:8"}}`, `{"type":"subscribe","id":2,"topics":["c"],"last":5}`)
	})
}

// While a loop is busy the client continues. Events from before the cut, the cut, and events from
// after it are still yielded in this order.
func TestCutBehindASlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		a := listen(t, f.dial(client.Options{}), topics("a"))
		p := f.accept()
		p.expect(`{"type":"subscribe","id":1,"topics":["a"]}`)
		p.say(subscribedTo(1, "a"))
		a.expect("subscribed a E:0 0 resumed=false")
		for n := range 20 {
			p.say(message("a", n+1, "1"))
			p.cut()
			p = f.accept()
			p.expect(fmt.Sprintf(`{"type":"subscribe","id":1,"topics":["a"],"since":{"a":"E:%d"}}`, n+1))
			p.say(fmt.Sprintf(`{"type":"subscribed","id":1,"topics":{"a":{"position":"E:%d","recovered":true,"replay":0}}}`, n+1))
			synctest.Wait()
			a.expect(fmt.Sprintf("message a E:%d 1", n+1), "disconnected", fmt.Sprintf("subscribed a E:%d 0 resumed=true", n+1))
		}
	})
}

func TestCloseCodes(t *testing.T) {
	const never = -1
	tests := []struct {
		code     websocket.StatusCode
		bye      string
		min, max time.Duration // until the next handshake; never
	}{
		{1000, "", 0, 500 * time.Millisecond},
		{1001, "", 0, 500 * time.Millisecond},
		{1002, "", never, 0},
		{1003, "", never, 0},
		{1007, "", never, 0},
		{1008, "", 0, 500 * time.Millisecond},
		{1009, "", never, 0},
		{1011, "", 0, 500 * time.Millisecond},
		{1012, "", 0, 500 * time.Millisecond},
		{1012, `{"type":"bye","code":"draining","after":1730}`, 1730 * time.Millisecond, 1730 * time.Millisecond},
		{1012, `{"type":"bye","code":"draining","after":86400000}`, 5 * time.Minute, 5 * time.Minute},
		{1013, "", 0, 500 * time.Millisecond},
		{1013, `{"type":"bye","code":"over_capacity","after":3000}`, 3 * time.Second, 3 * time.Second},
		{4003, "", never, 0},
		{4009, `{"type":"bye","code":"idle","after":0}`, never, 0},
		{4108, `{"type":"bye","code":"too_many","after":2000}`, 2 * time.Second, 2 * time.Second},
		{4201, "", 1, 500 * time.Millisecond},
		{4202, `{"type":"bye","code":"too_slow","after":0}`, 1, 500 * time.Millisecond},
		{4999, "", 0, 500 * time.Millisecond},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprint(tt.code, tt.bye), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t)
				c := f.dial(client.Options{})
				a := listen(t, c, topics("a"))
				p := f.accept()
				<-p.commands
				p.say(subscribedTo(1, "a"), message("a", 1, "1"))
				a.expect("subscribed a E:0 0 resumed=false", "message a E:1 1")
				time.Sleep(20 * time.Second)
				ended := time.Now()
				p.end(tt.code, tt.bye)
				if tt.min == never {
					a.expect(fmt.Sprintf("end the server closed the connection: %d so it is", tt.code))
					a.over()
					listen(t, c, topics("b")) // the program may try again
					f.accept().expect(`{"type":"subscribe","id":1,"topics":["b"]}`)
					return
				}
				a.expect("disconnected")
				f.accept().expect(`{"type":"subscribe","id":1,"topics":["a"],"since":{"a":"E:1"}}`)
				if got := f.dials()[1].Sub(ended); got < tt.min || got > tt.max {
					t.Errorf("the next connection came after %v, want %v to %v", got, tt.min, tt.max)
				}
			})
		})
	}
}

func TestUnusedConnectionIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		c := f.dial(client.Options{})
		f.accept().end(4009, `{"type":"bye","code":"idle","after":0}`)
		time.Sleep(time.Hour)
		if got := len(f.dials()); got != 1 {
			t.Errorf("%d connections without a subscription, want 1", got)
		}
		a := listen(t, c, topics("a"))
		p := f.accept()
		p.expect(`{"type":"subscribe","id":1,"topics":["a"]}`)
		p.say(subscribedTo(1, "a"))
		a.expect("subscribed a E:0 0 resumed=false")
	})
}

func TestFirstCommandCrossesTheEndOfAnUnusedConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		a := listen(t, f.dial(client.Options{}), topics("a"))
		p := f.accept()
		<-p.commands
		p.end(4009, `{"type":"bye","code":"idle","after":0}`)
		a.expect("disconnected")
		f.accept().expect(`{"type":"subscribe","id":1,"topics":["a"]}`)
	})
}

// The same happens if the client has no token for a command.
func TestUnusedConnectionWithoutAToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		var fail atomic.Bool
		fail.Store(true)
		c := f.dial(client.Options{TokenSource: func(context.Context, client.TokenRequest) (string, error) {
			if fail.Load() {
				return "", errors.New("not now")
			}
			return "secret", nil
		}})
		a := listen(t, c, topics("a"))
		p := f.accept()
		for range 5 {
			time.Sleep(time.Minute)
			p.end(4009, `{"type":"bye","code":"idle","after":0}`)
			a.expect("disconnected")
			p = f.accept()
		}
		fail.Store(false)
		p.expect(`{"type":"subscribe","id":1,"topics":["a"],"token":"secret"}`)
	})
}

func TestAttemptsBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		c := f.dial(client.Options{})
		a := listen(t, c, topics("a"))
		p := f.accept()
		<-p.commands
		const refusals = 20
		for range refusals {
			f.refuseNext(503, "")
		}
		p.cut()
		a.expect("disconnected")
		p = f.accept()
		dials := f.dials()
		var total time.Duration
		for n := range refusals + 1 {
			wait, most := dials[n+1].Sub(dials[n]), min(500*time.Millisecond<<n, 30*time.Second)
			total += wait
			if wait > most {
				t.Errorf("attempt %d came after %v, the limit is %v", n, wait, most)
			}
		}
		if total < 30*time.Second {
			t.Errorf("%d attempts took %v together: they did not back off", refusals, total)
		}

		// After a connection that lasted, the back-off starts again.
		time.Sleep(time.Minute)
		ended := time.Now()
		p.cut()
		a.expect("disconnected")
		f.accept()
		if got := time.Since(ended); got > 500*time.Millisecond {
			t.Errorf("the next connection came after %v, want at most 500ms", got)
		}
	})
}

func TestRefusedHandshakes(t *testing.T) {
	for _, status := range []int{http.StatusOK, http.StatusFound, http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t)
				a := listen(t, f.dial(client.Options{}), topics("a"))
				f.refuseNext(status, "")
				p := f.accept()
				<-p.commands
				p.cut()
				a.expect("disconnected", "end over_capacity: it is full")
				a.over()
			})
		})
	}
	for _, status := range []int{http.StatusTooManyRequests, http.StatusServiceUnavailable} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t)
				a := listen(t, f.dial(client.Options{}), topics("a"))
				f.refuseNext(status, "100")
				f.refuseNext(status, time.Now().Add(200*time.Second).UTC().Format(http.TimeFormat))
				p := f.accept()
				<-p.commands
				p.cut()
				a.expect("disconnected")
				f.accept()
				dials := f.dials()
				if got := dials[2].Sub(dials[1]); got < 100*time.Second || got > 101*time.Second {
					t.Errorf("the attempt after Retry-After: 100 came after %v", got)
				}
				if got := dials[3].Sub(dials[2]); got < 98*time.Second || got > 102*time.Second {
					t.Errorf("the attempt after Retry-After with a time came after %v, want about 100s", got)
				}
			})
		})
	}
}

func TestSilenceEndsAConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		a := listen(t, f.dial(client.Options{}), topics("a"))
		p := f.accept()
		<-p.commands
		p.say(subscribedTo(1, "a"))
		a.expect("subscribed a E:0 0 resumed=false")
		for range 10 { // pings are life
			time.Sleep(25 * time.Second)
			if err := p.conn.Ping(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		heard := time.Now()
		a.expect("disconnected")
		if got := time.Since(heard); got != time.Minute {
			t.Errorf("the connection was given up after %v of silence, want 1m", got)
		}
		f.accept()
	})
}

func TestWhatIsNoServer(t *testing.T) {
	tests := map[string]func(*peer){
		"no object": func(p *peer) { p.say("hello") },
		"binary": func(p *peer) {
			p.frames <- func() { _ = p.conn.Write(context.Background(), websocket.MessageBinary, []byte("{}")) }
		},
		"too large": func(p *peer) { p.say(message("a", 1, `"`+strings.Repeat("x", 5<<20)+`"`)) },
	}
	for name, do := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t)
				a := listen(t, f.dial(client.Options{}), topics("a"))
				p := f.accept()
				<-p.commands
				do(p)
				if got := <-a.events; !strings.HasPrefix(got, "end ") {
					t.Errorf("got event %q, want the end", got)
				}
				a.over()
			})
		})
	}
}

func TestTokensAreRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		log, written := logged()
		var calls atomic.Int32
		var fail atomic.Bool
		c := f.dial(client.Options{Logger: log, TokenSource: func(context.Context, client.TokenRequest) (string, error) {
			token := (fmt.Sprint("secret", calls.Add(1)))
			if fail.Load() {
				return "", errors.New("not now")
			}
			return token, nil
		}})
		a := listen(t, c, topics("a", "b"))
		p := f.accept()
		p.expect(`{"type":"subscribe","id":1,"topics":["a","b"],"token":"secret1"}`)
		synctest.Wait() // both topics are looked at when the answer is read, not one before
		p.say(`{"type":"subscribed","id":1,"topics":{},"refused":{"a":{"code":"token_expired","message":"no"},"b":{"code":"token_expired","message":"no"}}}`)
		p.expect(`{"type":"subscribe","id":2,"topics":["a","b"],"token":"secret2"}`)
		p.say(`{"type":"subscribed","id":2,"topics":{"a":{"position":"E:0","recovered":true,"replay":0}},"refused":{"b":{"code":"token_invalid","message":"no"}}}`)
		a.expect("subscribed a E:0 0 resumed=false", "refused b token_invalid")
		if n := calls.Load(); n != 2 {
			t.Errorf("a token was asked for %d times, want 2", n)
		}

		// The next connection uses the cached token; a source that failed is asked again.
		p.cut()
		a.expect("disconnected")
		p = f.accept()
		p.expect(`{"type":"subscribe","id":1,"topics":["a"],"since":{"a":"E:0"},"token":"secret2"}`)
		fail.Store(true)
		p.say(`{"type":"subscribed","id":1,"topics":{},"refused":{"a":{"code":"token_expired","message":"no"}}}`)
		time.Sleep(10 * time.Second)
		fail.Store(false)
		next := <-p.commands
		n := calls.Load()
		if want := fmt.Sprintf(`{"type":"subscribe","id":2,"topics":["a"],"since":{"a":"E:0"},"token":"secret%d"}`, n); next != want {
			t.Errorf("got command %s\nwant        %s", next, want)
		}
		if n < 4 || n > 20 {
			t.Errorf("a token was asked for %d times in 10 s", n)
		}
		if strings.Contains(written.String(), "secret") {
			t.Errorf("a token was logged:\n%s", written)
		}
	})
}

// A failing source disturbs nothing that needs no token.
func TestSubscriptionsOutliveATokenSource(t *testing.T) {
	source := func(fail *atomic.Bool) client.Options {
		return client.Options{TokenSource: func(context.Context, client.TokenRequest) (string, error) {
			if fail.Load() {
				return "", errors.New("not now")
			}
			return "secret", nil
		}}
	}
	t.Run("websocket", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var fail atomic.Bool
			f := newFake(t)
			c := f.dial(source(&fail))
			a := listen(t, c, topics("a", "b"))
			p := f.accept()
			p.expect(`{"type":"subscribe","id":1,"topics":["a","b"],"token":"secret"}`)
			p.say(subscribedTo(1, "a", "b"))
			a.expect("subscribed a E:0 0 resumed=false", "subscribed b E:0 0 resumed=false")
			fail.Store(true)
			p.say(`{"type":"unsubscribed","topics":["b"],"code":"token_expired"}`)
			time.Sleep(4 * time.Second)
			p.say(message("a", 1, "1"))
			a.expect("message a E:1 1")
			fail.Store(false)
			p.expect(`{"type":"subscribe","id":2,"topics":["b"],"since":{"b":"E:0"},"token":"secret"}`)
			p.say(subscribedTo(2, "b"))
			a.expect("subscribed b E:0 0 resumed=true")
			// Unsubscribing needs no token.
			fail.Store(true)
			p.say(`{"type":"unsubscribed","topics":["b"],"code":"token_expired"}`)
			synctest.Wait()
			a.leave()
			a.expect("end context canceled")
			p.expect(`{"type":"unsubscribe","id":3,"topics":["a"]}`)
		})
	})
	t.Run("events", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var fail atomic.Bool
			b := newBlocked(t, status(502))
			c := b.dial(source(&fail))
			a := listen(t, c, topics("a", "b"))
			p := b.accept("a,b")
			p.hello("a=E:0", "b=E:0")
			a.expect("subscribed a E:0 0 resumed=false", "subscribed b E:0 0 resumed=false")
			fail.Store(true)
			p.say(`{"type":"unsubscribed","topics":["b"],"code":"token_expired"}`)
			time.Sleep(4 * time.Second)
			p.say(message("a", 1, "1"))
			a.expect("message a E:1 1")
			fail.Store(false)
			p = b.accept("a,b a=E:1 b=E:0")
			p.hello("a=E:1", "b=E:0")
			a.expect("subscribed b E:0 0 resumed=true")
			a.leave()
			p.ended()
		})
	})
}

func TestEndIsToldWhileATokenIsAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		var calls atomic.Int32
		c := f.dial(client.Options{TokenSource: func(ctx context.Context, _ client.TokenRequest) (string, error) {
			if calls.Add(1) == 2 {
				<-ctx.Done()
			}
			return "secret", ctx.Err()
		}})
		a := listen(t, c, topics("a", "b"))
		p := f.accept()
		<-p.commands
		p.say(subscribedTo(1, "a", "b"), `{"type":"unsubscribed","topics":["b"],"code":"token_expired"}`)
		a.expect("subscribed a E:0 0 resumed=false", "subscribed b E:0 0 resumed=false")
		synctest.Wait()
		cut := time.Now()
		p.cut()
		a.expect("disconnected")
		f.accept()
		if took := time.Since(cut); took > time.Second {
			t.Errorf("it was back after %v", took)
		}
	})
}

func TestTokenIsNeverPrinted(t *testing.T) {
	o := client.Options{Token: "secret"}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		if got := fmt.Sprintf(verb, o); strings.Contains(got, "secret") || strings.Contains(got, "736563726574") {
			t.Errorf("%s prints %s", verb, got)
		}
	}
	log, written := logged()
	log.Info("x", "options", o, "in", struct{ client.Options }{o})
	slog.New(slog.NewJSONHandler(written, nil)).Info("x", "options", o, "in", struct{ client.Options }{o})
	if strings.Contains(written.String(), "secret") {
		t.Errorf("slog prints %s", written)
	}
}

// After 4003 the source is asked for another token. If no topic was accepted since, the client
// does not connect again.
func TestRevokedConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		asked := make(chan client.TokenRequest, 10)
		var calls atomic.Int32
		c := f.dial(client.Options{TokenSource: func(_ context.Context, r client.TokenRequest) (string, error) {
			asked <- r
			return fmt.Sprint("token", calls.Add(1)), nil
		}})
		a := listen(t, c, topics("a"))
		p := f.accept()
		p.expect(`{"type":"subscribe","id":1,"topics":["a"],"token":"token1"}`)
		<-asked
		p.say(subscribedTo(1, "a"))
		a.expect("subscribed a E:0 0 resumed=false")
		const bye = `{"type":"bye","code":"token_revoked","after":0}`
		p.end(4003, bye)
		a.expect("disconnected")
		p = f.accept()
		p.expect(`{"type":"subscribe","id":1,"topics":["a"],"since":{"a":"E:0"},"token":"token2"}`)
		if got, want := <-asked, (client.TokenRequest{Scope: "subscribe", Topics: []string{"a"}, Refused: "token_revoked"}); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("the source was asked for %+v, want %+v", got, want)
		}
		p.end(4003, bye)
		a.expect("end the server closed the connection: 4003 so it is")
		a.over()
	})
}
