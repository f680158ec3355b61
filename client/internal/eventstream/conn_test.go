package eventstream_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ikornaselur/notiflux/client/internal/wire"
)

// bubble runs a test in a bubble, where time is fake. The bubble fails a test that leaves
// a goroutine behind.
func bubble(t *testing.T, test func(*testing.T, *fake)) {
	synctest.Test(t, func(t *testing.T) { test(t, newFake(t)) })
}

func TestTopicsComeAndGo(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		u := f.connect()
		u.subscribe(wire.Command{Topics: []string{"a", "b"}, Last: 3})
		p := f.accept("a b last:3")
		p.hello("a=E:1", "b=E:2")
		p.say(message("a", "E:3"), `{"type":"skipped","topic":"b","from":"E:2","to":"E:5"}`, `{"type":"gap","topic":"a","position":"E:7"}`, `{"type":"later"}`)
		u.expect("subscribed 1 a=E:1 b=E:2", "message a=E:3", "skipped b=E:5", "gap a=E:7")

		// A frame that nobody has read yet comes again.
		p.say(message("a", "E:8"))
		synctest.Wait()
		u.subscribe(wire.Command{Topics: []string{"c"}, Since: map[string]string{"c": "E:4"}})
		p.ended()
		p = f.accept("a=E:7 b=E:5 c=E:4")
		p.hello("a=E:7", "b=E:5", "c=E:4")
		p.say(message("a", "E:8"))
		u.expect("subscribed 2 c=E:4", "message a=E:8")

		u.unsubscribe("b", "never subscribed")
		p.ended()
		p = f.accept("a=E:8 c=E:4")
		p.hello("a=E:9-", "c=E:4")
		u.expect(wire.Expired + " a=E:9")

		// A topic that comes again starts over.
		u.subscribe(wire.Command{Topics: []string{"a", "a"}})
		p.ended()
		p = f.accept("c=E:4 a")
		p.hello("c=E:4", "a=E:9")
		u.expect("subscribed 3 a=E:9")

		u.unsubscribe("a", "c")
		p.ended()
		if len(f.streams) > 0 {
			t.Error("there is a stream without a topic")
		}
	})
}

// A topic that is removed while its stream is only being opened is not answered, and the
// others are requested again.
func TestTopicsComeAndGoBeforeTheAnswer(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		u := f.connect()
		u.subscribe(wire.Command{Topics: []string{"a"}, Last: 2})
		u.subscribe(wire.Command{Topics: []string{"b"}, Last: 2})
		u.unsubscribe("a")
		u.subscribe(wire.Command{Topics: []string{"c"}, Since: map[string]string{"c": "E:1"}})
		synctest.Wait()
		for len(f.streams) > 1 {
			(<-f.streams).ended()
		}
		p := f.accept("b c=E:1 last:2")
		p.hello("b=E:0", "c=E:1")
		u.expect("subscribed 2 b=E:0", "subscribed 3 c=E:1")
	})
}

func TestDifferentTermsTakeDifferentStreams(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		u := f.connect()
		for _, c := range []struct {
			command wire.Command
			want    string
		}{
			{wire.Command{Topics: []string{"a"}, Since: map[string]string{"a": "E:1"}, Token: "one"}, "a=E:1"},
			{wire.Command{Topics: []string{"b"}, Since: map[string]string{"b": "F:1"}, Token: "one"}, "b=F:1"},
			{wire.Command{Topics: []string{"c"}, Since: map[string]string{"c": "E:1"}, Token: "two"}, "c=E:1"},
			{wire.Command{Topics: []string{"d"}, Since: map[string]string{"d": "E:1"}, Token: "one", Mode: "latest"}, "d=E:1 mode:latest"},
		} {
			u.subscribe(c.command)
			p := f.accept(c.want)
			if p.token != c.command.Token {
				t.Errorf("the stream of %s has token %q, want %q", c.want, p.token, c.command.Token)
			}
		}
		// The newest stream that has room takes a new topic.
		u.subscribe(wire.Command{Topics: []string{"e"}, Last: 1, Token: "one"})
		f.accept("b=F:1 e last:1")
		u.subscribe(wire.Command{Topics: []string{"f"}, Last: 2, Token: "one"})
		f.accept("a=E:1 f last:2")
		u.subscribe(wire.Command{Topics: []string{"g"}, Since: map[string]string{"g": "E:2"}, Token: "two"})
		f.accept("c=E:1 g=E:2")
	})
}

func TestManyTopicsTakeSeveralStreams(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		u := f.connect()
		var short, long []string
		for n := range 130 {
			short = append(short, fmt.Sprint("t", n))
			long = append(long, fmt.Sprint(strings.Repeat("ü", 100), n)) // 600 bytes of a query
		}
		seen := map[string]bool{}
		accept := func(want ...int) {
			t.Helper()
			synctest.Wait()
			var got []int
			for range len(f.streams) {
				topics := strings.Fields((<-f.streams).query)
				got = append(got, len(topics))
				for _, topic := range topics {
					seen[topic] = true
				}
			}
			if slices.Sort(got); !slices.Equal(got, want) {
				t.Errorf("streams of %d topics, want %d", got, want)
			}
		}
		u.subscribe(wire.Command{Topics: short})
		accept(2, 64, 64)
		u.subscribe(wire.Command{Topics: long})
		accept(10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 12) // the newest stream had room
		if len(seen) != 260 {
			t.Errorf("%d topics were requested, want 260", len(seen))
		}
	})
}

// A topic without a position shares its stream with positions of an epoch that is over.
// It gets its earlier messages, and has lost nothing.
func TestFreshTopicBesideAnOldEpoch(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		u := f.connect()
		u.subscribe(wire.Command{Topics: []string{"old"}, Since: map[string]string{"old": "D:5"}})
		u.subscribe(wire.Command{Topics: []string{"fresh"}, Last: 3})
		synctest.Wait()
		p := <-f.streams
		if p.query == "old=D:5" {
			p = f.accept("old=D:5 fresh last:3")
		}
		p.hello("old=E:7-", "fresh=E:9-")
		u.expect("subscribed 1 old=E:7-")
		p.ended()
		p = f.accept("old=E:7 fresh last:3")
		p.hello("old=E:7", "fresh=E:6")
		u.expect("subscribed 2 fresh=E:6")

		v := f.connect()
		v.subscribe(wire.Command{Topics: []string{"old"}, Since: map[string]string{"old": "D:5"}})
		f.accept("old=D:5")
		v.subscribe(wire.Command{Topics: []string{"fresh"}})
		p = f.accept("old=D:5 fresh")
		p.hello("old=E:7-", "fresh=E:9-")
		v.expect("subscribed 1 old=E:7-", "subscribed 2 fresh=E:9")
	})
}

func TestRefusals(t *testing.T) {
	denied := func(names ...string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			for _, topic := range r.URL.Query()["topic"] {
				for _, name := range names {
					if topic == name {
						refuse(w, 403, "topic_denied")
						return true
					}
				}
			}
			return false
		}
	}
	t.Run("topic by topic", func(t *testing.T) {
		bubble(t, func(t *testing.T, f *fake) {
			f.refuseWith(denied("x", "y"))
			u := f.connect()
			u.subscribe(wire.Command{Topics: []string{"a", "x", "b", "y"}})
			u.expect("subscribed 1 x:topic_denied", "subscribed 1 y:topic_denied")
			p := f.accept("a b")
			p.hello("a=E:0", "b=E:0")
			u.expect("subscribed 1 a=E:0 b=E:0")

			// A topic that is live ends.
			f.refuseWith(denied("a"))
			u.subscribe(wire.Command{Topics: []string{"c"}})
			u.expect("unsubscribed a topic_denied")
			p = f.accept("b=E:0 c")
			p.hello("b=E:0", "c=E:1")
			u.expect("subscribed 2 c=E:1")
		})
	})
	t.Run("one topic", func(t *testing.T) {
		bubble(t, func(t *testing.T, f *fake) {
			f.refuseWith(denied("x"))
			u := f.connect()
			u.subscribe(wire.Command{Topics: []string{"x"}})
			u.expect("subscribed 1 x:topic_denied")
			u.subscribe(wire.Command{Topics: []string{"a"}})
			f.accept("a")
		})
	})
	t.Run("the stream but no topic", func(t *testing.T) {
		bubble(t, func(t *testing.T, f *fake) {
			f.refuseWith(func(w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path == "/events" {
					refuse(w, 403, "origin_denied")
				}
				return r.URL.Path == "/events"
			})
			u := f.connect()
			u.subscribe(wire.Command{Topics: []string{"a", "b"}})
			u.expect("subscribed 1 a:origin_denied b:origin_denied")
		})
	})
	for _, path := range []string{"/events", "/history"} {
		t.Run("the token on "+path, func(t *testing.T) {
			bubble(t, func(t *testing.T, f *fake) {
				f.refuseWith(func(w http.ResponseWriter, r *http.Request) bool {
					if r.URL.Path == path {
						refuse(w, 401, "token_expired")
					} else {
						refuse(w, 403, "topic_denied")
					}
					return true
				})
				u := f.connect()
				u.subscribe(wire.Command{Topics: []string{"a", "b"}})
				u.subscribe(wire.Command{Topics: []string{"c"}})
				got := map[string]bool{}
				for len(got) < 3 {
					frame, err := u.conn.Read()
					if err != nil {
						t.Fatal(err)
					}
					for topic, r := range frame.Refused {
						got[topic] = r.Code == "token_expired"
					}
				}
				if !got["a"] || !got["b"] || !got["c"] {
					t.Errorf("refused with token_expired: %v", got)
				}
			})
		})
	}
	t.Run("presence", func(t *testing.T) {
		bubble(t, func(t *testing.T, f *fake) {
			u := f.connect()
			u.subscribe(wire.Command{Topics: []string{"a", "b"}, Presence: true})
			u.expect("subscribed 1 a:upgrade_required b:upgrade_required")
			u.subscribe(wire.Command{Topics: []string{"c"}, Presence: true}) // nobody reads this
		})
	})
}

// The server ends all topics of a stream at the time in its token, and says goodbye. That
// is not the end of the other streams.
func TestTokenExpiresWhileConnected(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		u := f.connect()
		u.subscribe(wire.Command{Topics: []string{"a", "b"}, Token: "short"})
		p := f.accept("a b")
		p.hello("a=E:1", "b=E:1")
		u.expect("subscribed 1 a=E:1 b=E:1")
		u.subscribe(wire.Command{Topics: []string{"c"}, Token: "long"})
		q := f.accept("c")
		q.hello("c=E:1")
		u.expect("subscribed 2 c=E:1")
		p.say(`{"type":"unsubscribed","topics":["a","b"],"code":"token_expired"}`, `{"type":"bye","code":"token_expired","after":0}`)
		u.expect("unsubscribed a b token_expired")
		q.say(message("c", "E:2"))
		u.expect("message c=E:2")
		u.subscribe(wire.Command{Topics: []string{"a", "b"}, Since: map[string]string{"a": "E:1", "b": "E:1"}, Token: "new"})
		f.accept("a=E:1 b=E:1")
	})
}

func TestEndsOfAStream(t *testing.T) {
	for name, c := range map[string]struct {
		say  string
		want string
	}{
		"bye":          {`{"type":"bye","code":"draining","after":2000}`, "*wire.Close the server ended the event stream: draining"},
		"cut":          {"", "*fmt.wrapError the event stream broke: EOF"},
		"no JSON":      {`hello`, "*errors.errorString " + wire.ErrProtocol.Error()},
		"a wrong type": {`{"type":"message","topic":1}`, "*errors.errorString " + wire.ErrProtocol.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, f *fake) {
				u := f.connect()
				u.subscribe(wire.Command{Topics: []string{"a"}})
				u.subscribe(wire.Command{Topics: []string{"b"}, Token: "other"})
				p, q := <-f.streams, <-f.streams
				p.hello("a=E:0", "b=E:0")
				if _, err := u.conn.Read(); err != nil {
					t.Fatal(err)
				}
				if c.say != "" {
					p.say(c.say)
				}
				p.cut()
				u.expect(c.want, c.want)
				q.ended() // all streams end
				if err := u.conn.Write(t.Context(), &wire.Command{Type: "subscribe", ID: 9, Topics: []string{"z"}}); err == nil {
					t.Error("Write succeeds on a connection that has ended")
				}
			})
		})
	}
}

func TestAnswersThatAreNoStream(t *testing.T) {
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		check  func(error) bool
	}{
		"full": {
			func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Retry-After", "7")
				refuse(w, 503, "over_capacity")
			},
			func(err error) bool {
				e, ok := errors.AsType[*wire.Status](err)
				return ok && e.Status == 503 && e.Code == "over_capacity" && e.After == 7*time.Second
			},
		},
		"proxy": {
			func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(403) },
			func(err error) bool {
				e, ok := errors.AsType[*wire.Status](err)
				return ok && e.Status == 403 && e.Code == ""
			},
		},
		"web page": {
			func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") },
			func(err error) bool { _, ok := errors.AsType[*wire.Status](err); return ok },
		},
		"no hello": {
			func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
				fmt.Fprint(w, "data: {\"type\":\"message\"}\n\n")
			},
			func(err error) bool { return err == wire.ErrProtocol },
		},
		"hello without the topic": {
			func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "text/event-stream")
				fmt.Fprint(w, "data: {\"type\":\"hello\",\"topics\":{}}\n\n")
			},
			func(err error) bool { return err == wire.ErrProtocol },
		},
		"hang-up": {
			func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
			func(err error) bool { _, ok := errors.AsType[*wire.Status](err); return !ok && err != nil },
		},
		"silence": {
			func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
			func(err error) bool { return strings.Contains(err.Error(), "nothing was received") },
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, f *fake) {
				f.refuseWith(func(w http.ResponseWriter, r *http.Request) bool { c.answer(w, r); return true })
				u := f.connect()
				began := time.Now()
				u.subscribe(wire.Command{Topics: []string{"a"}})
				if frame, err := u.conn.Read(); err == nil || !c.check(err) {
					t.Errorf("Read = %v, %T %v", frame, err, err)
				}
				if took := time.Since(began); took > 10*time.Second {
					t.Errorf("the connection ended after %v, want 10s at most", took)
				}
			})
		})
	}
}

func TestSilence(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		u := f.connect()
		u.subscribe(wire.Command{Topics: []string{"a"}})
		p := f.accept("a")
		p.hello("a=E:0")
		u.expect("subscribed 1 a=E:0")
		for range 10 { // comments are signs of life
			<-time.After(39 * time.Second)
			p.events <- ":\n\n"
		}
		// So is a frame that waits for Read.
		p.say(message("a", "E:1"))
		<-time.After(time.Hour)
		u.expect("message a=E:1")
		began := time.Now()
		u.expect("*errors.errorString nothing was received from the server for too long")
		if got := time.Since(began); got != 40*time.Second {
			t.Errorf("the connection ended after %v of silence, want 40s", got)
		}
	})
}

// Close ends what waits: Read, a stream whose frame nobody reads, one that has no answer
// yet, and the refusal of presence.
func TestClose(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		u := f.connect()
		u.subscribe(wire.Command{Topics: []string{"a"}})
		f.accept("a").hello("a=E:0")
		u.subscribe(wire.Command{Topics: []string{"b"}, Token: "other"})
		f.accept("b")
		u.subscribe(wire.Command{Topics: []string{"c"}, Presence: true})
		synctest.Wait()
		if err := u.conn.Close(context.Background()); err != nil {
			t.Errorf("Close = %v", err)
		}
		if _, err := u.conn.Read(); err == nil {
			t.Error("Read succeeds after Close")
		}

		v := f.connect()
		ended := make(chan error)
		go func() {
			_, err := v.conn.Read()
			ended <- err
		}()
		synctest.Wait()
		_ = v.conn.Close(context.Background())
		if err := <-ended; err == nil {
			t.Error("Read succeeds after Close")
		}
	})
}
