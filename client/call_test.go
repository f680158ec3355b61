package client_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/ikornaselur/notiflux/client"
)

// A token source that ends the session of a user may close the client.
func TestTokenSourceMayClose(t *testing.T) {
	for name, use := range map[string]func(*client.Client){
		"for a subscription": func(c *client.Client) { c.Subscribe("a") },
		"for a call":         func(c *client.Client) { _, _ = c.Publish(context.Background(), "a", nil) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t)
				closed := make(chan struct{})
				var c *client.Client
				c = f.new(client.Options{TokenSource: func(context.Context, client.TokenRequest) (string, error) {
					c.Close()
					close(closed)
					return "", errors.New("the user has logged out")
				}})
				use(c)
				time.Sleep(2 * time.Second)
				select {
				case <-closed:
				default:
					t.Fatal("Close in a token source has not returned")
				}
			})
		})
	}
}

// A source that needs its own client for a token would wait for itself.
func TestTokenSourceCallsItsClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		s := scripted(f, answer(200, published))
		var c *client.Client
		c = f.new(client.Options{TokenSource: func(ctx context.Context, _ client.TokenRequest) (string, error) {
			p, err := c.Position(ctx, "config")
			return string(p), err
		}})
		began := time.Now()
		_, err := c.Publish(t.Context(), "a", nil)
		if err == nil || !strings.Contains(err.Error(), "the token source called its own client") || time.Since(began) > 0 || len(s.calls) > 0 {
			t.Errorf("Publish = %v after %v and %d requests, want an error at once", err, time.Since(began), len(s.calls))
		}
	})
}

// A file with a token often ends with a newline.
func TestTokenThatIsNoToken(t *testing.T) {
	for _, token := range []string{"abc\n", "a bc", "Bearer abc", "ab\x00c", "äbc"} {
		if _, err := client.New(base, client.Options{Token: token}); err == nil || !strings.Contains(err.Error(), "the token has the byte 0x") {
			t.Errorf("New with the token %q = %v", token, err)
		}
		synctest.Test(t, func(t *testing.T) {
			f := newFake(t)
			s := scripted(f, answer(200, published))
			for name, c := range map[string]*client.Client{
				"view":   f.new(client.Options{}).WithToken(token),
				"source": f.new(client.Options{TokenSource: func(context.Context, client.TokenRequest) (string, error) { return token, nil }}),
			} {
				began := time.Now()
				_, err := c.Publish(t.Context(), "a", []byte("x"))
				if err == nil || strings.Contains(err.Error(), token) || time.Since(began) > 0 || len(s.calls) > 0 {
					t.Errorf("%s with the token %q: Publish = %v after %v and %d requests", name, token, err, time.Since(began), len(s.calls))
				}
			}
			view := f.new(client.Options{}).WithToken(token)
			if _, err := view.Subscribe("a").Next(t.Context()); err == nil || !strings.Contains(err.Error(), "the token has the byte 0x") {
				t.Errorf("Subscribe with the token %q = %v", token, err)
			}
		})
	}
}

// Whatever delays an attempt, none comes when the server may have forgotten the key.
func TestNoAttemptOutlivesTheKey(t *testing.T) {
	for name, slow := range map[string]time.Duration{"quick source": 0, "slow source": 25 * time.Second} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t)
				// The first attempt publishes, but its answer is lost. Then the server is
				// busy, and takes its time to find out that the token has expired.
				expired := func(w http.ResponseWriter, r *http.Request) {
					time.Sleep(14 * time.Second)
					answer(401, "token_expired")(w, r)
				}
				s := scripted(f, hangUp, later(503, "80", "over_capacity"), expired, hang, answer(200, published))
				var asked atomic.Int32
				_, err := newCaller(f, client.Options{TokenSource: func(context.Context, client.TokenRequest) (string, error) {
					if asked.Add(1) > 1 {
						time.Sleep(slow)
					}
					return "t", nil
				}}).Publish(t.Context(), "a", []byte("x"))
				if !hasCode(err, "outcome_unknown") {
					t.Errorf("Publish = %v, want outcome_unknown", err)
				}
				s.mu.Lock()
				defer s.mu.Unlock()
				if last := s.times[len(s.times)-1].Sub(s.times[0]); len(s.times) < 3 || last > 100*time.Second {
					t.Errorf("%d attempts, the last one %v after the one that may have published", len(s.times), last)
				}
			})
		})
	}
}

// Only what may have been published is in doubt.
func TestPublishAllDoubtsOneMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		const full = `{"topic":"b","error":{"code":"over_capacity","message":"no room"}}`
		both := answer(207, `[{"topic":"a","error":{"code":"outcome_unknown","message":"x"}},`+full+`]`)
		one := func(w http.ResponseWriter, r *http.Request) {
			answer(207, `[{"topic":"a","error":{"code":"outcome_unknown","message":"x"}}]`)(w, r)
		}
		steps := []func(http.ResponseWriter, *http.Request){both}
		for range 100 {
			steps = append(steps, one)
		}
		f.plain = nil
		s := scripted(f, steps...)
		plain := f.plain
		f.plain = func(w http.ResponseWriter, r *http.Request) {
			body := new(bytes.Buffer)
			_, _ = body.ReadFrom(r.Body)
			r.Body = http.NoBody
			if !strings.Contains(body.String(), `"topic":"a"`) {
				answer(200, `[{"topic":"b","position":"E:9"}]`)(w, r)
				return
			}
			plain(w, r)
		}
		r := newCaller(f, client.Options{}).PublishAll(t.Context(), []client.Publication{{Topic: "a", JSON: 1}, {Topic: "b", JSON: 2}})
		if !hasCode(r[0].Err, "outcome_unknown") || r[1].Err != nil || r[1].Position != "E:9" {
			t.Errorf("PublishAll = %v after %d attempts, want an unknown outcome of the first message only", r, len(s.times))
		}
	})
}

func TestEmptyData(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		s := scripted(f, answer(200, published), answer(200, "["+published+","+published+"]"), answer(200, published))
		c := f.new(client.Options{NoRetry: true})
		var empty []byte // as bytes.Buffer.Bytes returns it
		_, _ = c.Publish(t.Context(), "a", empty)
		both := client.Publication{Topic: "a", Data: []byte("x"), JSON: 1}
		r := c.PublishAll(t.Context(), []client.Publication{{Topic: "a", Data: empty}, both, {Topic: "a", JSON: json.RawMessage("null")}})
		_, _ = c.PublishJSON(t.Context(), "a", nil)
		want := []string{
			`POST /broadcast {"topic":"a","message":""}`,
			`POST /broadcast [{"topic":"a","message":""},{"topic":"a","message":null}]`,
			`POST /broadcast {"topic":"a","message":null}`,
		}
		if !slices.Equal(s.calls, want) || r[1].Err == nil {
			t.Errorf("calls are %q, want %q; Data and JSON: %v", s.calls, want, r[1].Err)
		}
	})
}

// Large answers may take long, as long as they come.
func TestSlowAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		s := scripted(f, func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, `{"position":"E:16","recovered":true,"messages":[`+message("a", 1, "1"))
			for n := range 20 {
				fmt.Fprint(w, ","+message("a", n+2, "1"))
				_ = http.NewResponseController(w).Flush()
				time.Sleep(10 * time.Second)
			}
			fmt.Fprint(w, `]}`)
		}, hang)
		c := newCaller(f, client.Options{NoRetry: true})
		h, err := c.History(t.Context(), "a", client.HistoryOptions{})
		if err != nil || len(h.Messages) != 21 {
			t.Errorf("History = %d messages, %v after %d requests", len(h.Messages), err, len(s.calls))
		}
		began := time.Now()
		if _, err = c.History(t.Context(), "a", client.HistoryOptions{}); err == nil || time.Since(began) > time.Minute {
			t.Errorf("History = %v after %v of silence", err, time.Since(began))
		}
	})
}

func TestErrorsOfAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		c := f.new(client.Options{Token: "SECRET"})
		scripted(f, answer(409, fmt.Sprintf(`{"code":"key_reused","detail":%q}`, strings.Repeat("x", 1500))))
		if _, err := c.Publish(t.Context(), "a", nil); !hasCode(err, "key_reused") {
			t.Errorf("a long problem: %v", err)
		}
		scripted(f, answer(401, `{"code":"token_invalid","detail":"bad token: SECRET"}`))
		if _, err := c.Publish(t.Context(), "a", nil); !hasCode(err, "token_invalid") || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("a problem that quotes the token: %v", err)
		}
	})
}

func TestConnectTellsTheTruth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBlocked(t, status(403))
		c := b.dial(client.Options{})
		a := listen(t, c, topics("a"))
		p := b.accept("a")
		p.hello("a=E:0")
		a.expect("subscribed a E:0 0 resumed=false")
		b.plain = answer(503, "draining")
		p.cut()
		a.expect("disconnected")
		if err := c.Connect(t.Context()); !hasCode(err, "draining") {
			t.Errorf("Connect = %v on event streams, want draining", err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		f.refuseNext(404, "")
		c := f.new(client.Options{})
		<-listen(t, c, topics("a")).events
		f.refuseNext(404, "")
		err := c.Connect(t.Context())
		if _, ok := errors.AsType[*url.Error](err); !ok {
			t.Errorf("Connect = %v, want a *url.Error", err)
		}
	})
}

// A server cannot make the client request streams without a pause.
func TestStreamsOfChangingEpochs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBlocked(t, status(403))
		var n atomic.Int32
		plain := b.plain
		b.plain = func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/events" || !r.URL.Query().Has("topic") {
				plain(w, r)
				return
			}
			n.Add(1)
			w.Header().Set("Content-Type", "text/event-stream")
			fmt.Fprint(w, "data: {\"type\":\"hello\",\"topics\":{\"a\":{\"position\":\"E:5\",\"recovered\":true},\"b\":{\"position\":\"F:1\",\"recovered\":false}}}\n\n")
		}
		c := b.new(client.Options{})
		c.SubscribeWith(client.SubscribeOptions{Last: 1, Since: map[string]client.Position{"a": "E:5"}}, "a", "b")
		time.Sleep(time.Minute)
		if n.Load() < 2 || n.Load() > 100 {
			t.Errorf("%d requests in a minute", n.Load())
		}
		c.Close()
	})
}

// Close leaves its connection to a call in progress, which closes it.
func TestCloseBesideACall(t *testing.T) {
	release, arrived := make(chan struct{}), make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(arrived)
		<-release
		fmt.Fprint(w, published)
	}))
	defer s.Close()
	c, err := client.New(s.URL, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		_, err := c.Publish(context.Background(), "a", nil)
		done <- err
	}()
	<-arrived
	c.Close()
	close(release)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	for range 1_000_000 {
		var out bytes.Buffer
		_ = pprof.Lookup("goroutine").WriteTo(&out, 1)
		if !strings.Contains(out.String(), "http.(*persistConn).readLoop") {
			return
		}
		runtime.Gosched()
	}
	t.Error("a connection of a closed client is open")
}

// A server cannot make the client hold a frame that is larger than a message may be.
func TestHugeFrame(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		acceptAnd(w, r, func(c *websocket.Conn) {
			_ = c.Write(r.Context(), websocket.MessageText, []byte(`{"type":"welcome","limits":{"message":1000000000000}}`))
			_, _, _ = c.Read(r.Context())
			out, err := c.Writer(r.Context(), websocket.MessageText)
			if err != nil {
				return
			}
			chunk := bytes.Repeat([]byte("x"), 1<<20)
			_, _ = out.Write([]byte(`{"type":"x","y":"`))
			for range 60 {
				_, _ = out.Write(chunk)
			}
			_, _ = out.Write([]byte(`"}`))
			_ = out.Close()
			_, _, _ = c.Read(r.Context())
		})
	}))
	defer s.Close()
	c, err := client.New(s.URL, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if e, err := c.Subscribe("a").Next(t.Context()); err == nil || !strings.Contains(err.Error(), "larger than a message may be") {
		t.Errorf("the subscription yields %v, %v; want that the frame is too large", e, err)
	}
}
