package session_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/golang-jwt/jwt/v5"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/broker"
	"github.com/ikornaselur/notiflux/internal/broker/memory"
	"github.com/ikornaselur/notiflux/internal/internaltest/vectors"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/session"
	"github.com/ikornaselur/notiflux/internal/topic"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// user returns a token of a subject to subscribe to topics a and b. info may be empty.
// until is when subscriptions end; zero: never.
func (w *world) user(sub, info string, until time.Time) string {
	w.t.Helper()
	grant := auth.Grant{Subject: sub, Scopes: []auth.Scope{auth.Subscribe}, Topics: []pubsub.Topic{"a", "b"}, Expires: w.expires, Until: until}
	if info != "" {
		grant.Info = json.RawMessage(info)
	}
	token, err := w.signer.Sign(grant)
	if err != nil {
		w.t.Fatal(err)
	}
	return string(token)
}

// join emits the presence event that a member joined topic a, as the server does.
func (w *world) join(sub string) {
	w.topics.AppendPresence("a", joinOf(sub))
}

func joinOf(sub string) *pubsub.PresenceEvent {
	return &pubsub.PresenceEvent{Topic: "a", Kind: pubsub.PresenceJoin, Members: []pubsub.Member{{Sub: sub}}}
}

func TestJSONPresence(t *testing.T) {
	w := newWorld(t, topic.Limits{Count: 10}, nil)
	never := time.Time{}
	ann, bob, deaf := w.connectJSON(t, w.user("ann", `{"name": "Ann"}`, never)), w.connectJSON(t, w.user("bob", "", never)), w.connectJSON(t, w.user("deaf", "", never))
	subscribed := `{"type":"subscribed","topics":{"a":{"position":"E:0","recovered":true,"replay":0}}}`
	deaf.exchange(t, []string{`{"type":"subscribe","topics":["a"]}`, subscribed})
	ann.exchange(t, []string{`{"type":"subscribe","topics":["a"],"presence":true}`, subscribed})
	bob.exchange(t, []string{`{"type":"subscribe","topics":["a"],"presence":true}`, subscribed},
		[]string{`{"type":"presence","id":1,"topic":"a"}`,
			`{"type":"presence","id":1,"topic":"a","count":2,"subscribers":3,"members":[{"sub":"ann","info":{"name":"Ann"}},{"sub":"bob"}]}`},
		[]string{`{"type":"presence","id":2,"topic":"b"}`, `{"type":"presence","id":2,"topic":"b","count":0,"subscribers":0,"members":[]}`},
		[]string{`{"type":"presence","id":3,"topic":"c"}`, `{"type":"error","id":3,"code":"topic_denied","message":"the token does not allow this topic: its claim ` + "`topic` or `topics`" + ` must contain exactly this name","retry":false}`},
	)
	w.join("cid")
	w.publish("a", "1")
	ann.gets(t, `{"type":"join","topic":"a","member":{"sub":"cid"}}`, `{"type":"message","topic":"a","position":"E:1","time":0,"data":"1"}`)
	deaf.gets(t, `{"type":"message","topic":"a","position":"E:1","time":0,"data":"1"}`)
	bob.turn()
	bob.messages()
	bob.exchange(t, []string{`{"type":"unsubscribe"}`, `{"type":"unsubscribed","topics":["a"]}`})
	w.join("dan")
	bob.gets(t)
	if members, _ := w.presence.List("a", 10); len(members) != 2 {
		t.Errorf("members %v: a member that left stays for its grace period", members)
	}
	if n := w.presence.Stats().References; n != 1 {
		t.Errorf("%d references, want that of ann", n)
	}
	// Adding presence later, and again, is one reference. So is a newer token.
	again := `{"type":"subscribed","topics":{"a":{"position":"E:1","recovered":true,"replay":0}}}`
	deaf.exchange(t,
		[]string{`{"type":"subscribe","topics":["a"],"presence":true}`, again},
		[]string{`{"type":"subscribe","topics":["a"],"presence":true,"token":"` + w.user("deaf", `{"v":2}`, never) + `"}`, again},
		[]string{`{"type":"subscribe","topics":["a"]}`, again},
	)
	if members, _ := w.presence.List("a", 10); len(members) != 3 || string(members[2].Info) != `{"v":2}` || w.presence.Stats().References != 2 {
		t.Errorf("members %v, %d references", members, w.presence.Stats().References)
	}
	for _, c := range []*client{ann, bob, deaf} {
		c.leave()
	}
	if got := w.presence.Stats(); got.References != 0 || w.stats.Subscriptions.Load() != 0 {
		t.Errorf("left: %+v, %d subscriptions", got, w.stats.Subscriptions.Load())
	}
}

// An info that is not valid refuses presence, and nothing else.
func TestJSONPresenceWithABadInfo(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	keys, err := auth.ParseKeys(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	if err != nil {
		t.Fatal(err)
	}
	verifier := auth.New(auth.Config{Keys: keys})
	w := newWorld(t, topic.Limits{}, func(c *session.Config) { c.Verifier = verifier })
	w.verifier = verifier
	for name, info := range map[string]any{"long": map[string]string{"x": strings.Repeat("x", 1<<10)}, "no object": "Ann"} {
		token, err := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{
			"sub": "ann", "scope": "subscribe", "topic": "a", "exp": w.expires.Unix(), "info": info,
		}).SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		c := w.connectJSON(t, token)
		c.say(`{"type":"subscribe","topics":["a"],"presence":true}`)
		if got := strings.Join(c.received(), "|"); !strings.HasPrefix(got, `{"type":"subscribed","topics":{},"refused":{"a":{"code":"token_invalid"`) {
			t.Errorf("info that is %s: %s", name, got)
		}
		c.exchange(t, []string{`{"type":"subscribe","topics":["a"]}`, `{"type":"subscribed","topics":{"a":{"position":"E:0","recovered":true,"replay":0}}}`})
	}
}

// A list is never older than the presence events that the client got before it.
func TestJSONPresenceListIsTheNewest(t *testing.T) {
	w := newWorld(t, topic.Limits{}, nil)
	c := w.connectJSON(t, w.user("ann", "", time.Time{}))
	c.exchange(t, []string{`{"type":"subscribe","topics":["a"],"presence":true}`, `{"type":"subscribed","topics":{"a":{"position":"E:0","recovered":true,"replay":0}}}`})
	c.s.Receive([]byte(`{"type":"presence","topic":"a"}`), false)
	w.workers.work(t.Context())
	w.presence.Join("a", pubsub.Member{Sub: "bob"})
	w.join("bob")
	c.gets(t, `{"type":"join","topic":"a","member":{"sub":"bob"}}`)
	w.loop.run()
	c.gets(t, `{"type":"presence","topic":"a","count":2,"subscribers":1,"members":[{"sub":"ann"},{"sub":"bob"}]}`)
}

// A client that does not read presence events is closed like one that does not read
// messages, and then nothing of it is left.
func TestSlowMemberIsClosedOnlyBeyondTheLimit(t *testing.T) {
	const allowed, held = 10, 4
	event := joinOf("m1000").Size()
	w := newWorld(t, topic.Limits{Count: held}, func(c *session.Config) { c.MaxLagBytes = uint64(allowed * (event + topic.Overhead)) })
	slow, fast := w.connectJSON(t, w.user("slow", "", time.Time{})), w.connectJSON(t, w.user("fast", "", time.Time{}))
	for _, c := range []*client{slow, fast} {
		c.exchange(t, []string{`{"type":"subscribe","topics":["a"],"presence":true}`, `{"type":"subscribed","topics":{"a":{"position":"E:0","recovered":true,"replay":0}}}`})
	}
	for i := range allowed + held + 1 {
		if slow.code != 0 {
			t.Fatalf("cut after %d events, with %d allowed beyond %d", i, allowed, held)
		}
		w.join(fmt.Sprint("m", 1000+i))
		slow.refuse()
		slow.s.Tick(0)
		fast.gets(t, fmt.Sprintf(`{"type":"join","topic":"a","member":{"sub":"m%d"}}`, 1000+i))
	}
	if slow.code != wire.CloseTooSlow || fast.code != 0 {
		t.Errorf("close codes %d and %d, want %d and none", slow.code, fast.code, wire.CloseTooSlow)
	}
	if n, references := w.stats.Subscriptions.Load(), w.presence.Stats().References; n != 2 || references != 1 {
		t.Errorf("%d subscriptions and %d references, want those of the other one", n, references)
	}
}

// A list of members does not close a client that is otherwise hardly behind, however large
// the list is, because it replaces the events before it.
func TestMemberListClosesNoClient(t *testing.T) {
	var members []pubsub.Member
	for i := range 1000 {
		members = append(members, pubsub.Member{Sub: fmt.Sprint(strings.Repeat("m", 240), i), Info: []byte(`{"x":"` + strings.Repeat("x", 1000) + `"}`)})
	}
	list := &pubsub.PresenceEvent{Topic: "a", Kind: pubsub.PresenceList, Count: len(members), Members: members}
	moves := func(n int) func(w *world) {
		return func(w *world) {
			for i := range n {
				w.join(fmt.Sprint("j", i))
			}
		}
	}
	listed := func(w *world) { w.topics.AppendPresence("a", list) }
	for name, c := range map[string]struct {
		told []func(w *world)
		cut  bool
		gets int // presence events
	}{
		"two behind":             {[]func(w *world){moves(1), listed, moves(1)}, false, 2},
		"far behind, then lists": {[]func(w *world){moves(10_000), listed, moves(20), listed, moves(30)}, false, 31},
		"far behind a list":      {[]func(w *world){listed, moves(10_000)}, true, 0},
		"far behind":             {[]func(w *world){moves(10_000)}, true, 0},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, topic.Limits{Count: 100, Bytes: 1 << 20}, nil)
			slow := w.connectJSON(t, w.user("slow", "", time.Time{}))
			slow.exchange(t, []string{`{"type":"subscribe","topics":["a"],"presence":true}`, `{"type":"subscribed","topics":{"a":{"position":"E:0","recovered":true,"replay":0}}}`})
			w.join("first")
			w.group.Collect()
			slow.write(10) // The rest of the frame is written in any case.
			for _, tell := range c.told {
				tell(w)
			}
			w.group.Collect()
			for range 3 {
				slow.s.Tick(0)
			}
			if cut := slow.code == wire.CloseTooSlow; cut != c.cut {
				t.Fatalf("close code %d, want it cut: %t", slow.code, c.cut)
			}
			if c.cut {
				return
			}
			for slow.turn(); ; slow.turn() {
				if w.group.Collect(); len(slow.s.Next()) == 0 {
					break
				}
			}
			got := slow.messages()
			if len(got) != 1+c.gets || !strings.Contains(got[0], "first") {
				t.Fatalf("got %d events, want %d", len(got), 1+c.gets)
			}
			whole, _ := open(t, w.json.Encoding.New().Encode(vectors.Entry(&pubsub.Message{Presence: list})))
			lists := 0
			for _, m := range got {
				if strings.HasPrefix(m, `{"type":"presence"`) && len(m) == len(whole) {
					lists++
				}
			}
			if lists != 1 {
				t.Errorf("got %d lists, want the newest one", lists)
			}
		})
	}
}

// A topic with presence counts as two.
func TestJSONPresenceCounts(t *testing.T) {
	w := newWorld(t, topic.Limits{}, func(c *session.Config) { c.MaxTopics = 3 })
	c := w.connectJSON(t, w.user("ann", "", time.Time{}))
	c.exchange(t, []string{`{"type":"subscribe","topics":["a","b"],"presence":true}`,
		`{"type":"subscribed","topics":{"a":{"position":"E:0","recovered":true,"replay":0}},` +
			`"refused":{"b":{"code":"too_many","message":"topic limit of this connection reached (3): unsubscribe from a topic, or open another connection"}}}`})
	if w.presence.Stats().References != 1 {
		t.Errorf("%d references, want 1", w.presence.Stats().References)
	}
}

// Subscriptions end by the wall clock, even if the clock is set or the machine sleeps.
func TestUntilWhenTheClockIsSet(t *testing.T) {
	for name, c := range map[string]struct {
		set   time.Duration
		ended bool
	}{
		"not set":                  {0, false},
		"back":                     {-time.Hour, false},
		"forward, not to its end":  {50 * time.Minute, false},
		"forward, beyond its end":  {2 * time.Hour, true},
		"forward, exactly its end": {time.Hour, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var set time.Duration
				w := newWorld(t, topic.Limits{}, func(c *session.Config) { c.Now = func() time.Time { return time.Now().Add(set) } })
				until := time.Now().Add(time.Hour)
				text := w.connect()
				text.say("/subscribe a " + w.user("s", "", until))
				stream := &client{w: w}
				stream.openStream(ndjson, w.onTopicsUntil(until, "a"))
				stream.turn()
				time.Sleep(time.Second)
				set = c.set
				for range 10 {
					time.Sleep(time.Second)
					synctest.Wait()
					w.loop.run()
				}
				stream.turn()
				n, want := w.stats.Subscriptions.Load(), int64(2)
				if c.ended {
					want = 0
				}
				if n != want || (stream.code != 0) != c.ended {
					t.Errorf("%d subscriptions, the stream is closed with %d; want %d", n, stream.code, want)
				}
				text.leave()
				stream.leave()
			})
		})
	}
}

// Subscriptions end when their token says so, in every dialect.
func TestUntil(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, topic.Limits{}, nil)
		pass := func(d time.Duration) {
			time.Sleep(d)
			synctest.Wait()
			w.loop.run()
		}
		minute, hour := time.Now().Add(time.Minute), time.Now().Add(time.Hour)
		text, c := w.connect(), w.connectJSON(t, w.user("s", "", minute))
		text.say("/subscribe a " + w.user("s", "", minute))
		c.exchange(t,
			[]string{`{"type":"subscribe","topics":["a"],"presence":true}`, `{"type":"subscribed","topics":{"a":{"position":"E:0","recovered":true,"replay":0}}}`},
			[]string{`{"type":"subscribe","topics":["b"]}`, `{"type":"subscribed","topics":{"b":{"position":"E:0","recovered":true,"replay":0}}}`},
			[]string{`{"type":"subscribe","topics":["b"],"token":"` + w.user("s", "", hour) + `"}`, `{"type":"subscribed","topics":{"b":{"position":"E:0","recovered":true,"replay":0}}}`},
		)
		stream := &client{w: w}
		stream.openStream(ndjson, w.onTopicsUntil(minute, "a"))
		stream.stream()
		pass(time.Minute - time.Second)
		w.publish("a", "still")
		text.expect(t, "still")
		c.gets(t, `{"type":"message","topic":"a","position":"E:1","time":0,"data":"still"}`)
		if got, want := stream.stream(), `{"type":"message","topic":"a","position":"E:1","time":0,"data":"still","cursor":"0"}`+"\n"; got != want {
			t.Errorf("a stream: %s, want %s", got, want)
		}
		pass(2 * time.Second)
		w.publish("a", "never")
		w.publish("b", "extended")
		text.expect(t)
		c.gets(t, `{"type":"unsubscribed","topics":["a"],"code":"token_expired"}`, `{"type":"message","topic":"b","position":"E:3","time":0,"data":"extended"}`)
		want := `{"type":"unsubscribed","topics":["a"],"code":"token_expired","cursor":"0"}
{"type":"bye","code":"token_expired","after":0}
`
		if got := stream.stream(); got != want || stream.code != wire.CloseNormal {
			t.Errorf("a stream: %d\n%s\nwant\n%s", stream.code, got, want)
		}
		if w.presence.Stats().References != 0 {
			t.Error("presence outlives its subscription")
		}
		ended := `"code":"token_expired","message":"the token allows subscriptions only until ` + minute.UTC().Format(time.RFC3339) + `"`
		c.exchange(t,
			[]string{`{"type":"subscribe","topics":["a"]}`, `{"type":"subscribed","topics":{},"refused":{"a":{` + ended + `}}}`},
			[]string{`{"type":"history","topic":"a"}`, `{"type":"error",` + ended + `,"retry":false}`},
			[]string{`{"type":"presence","topic":"a"}`, `{"type":"error",` + ended + `,"retry":false}`},
		)
		c.leave()
		pass(2 * time.Hour) // the end of a subscription that is already over
	})
}

// Nothing keeps an ended subscription in memory, even if its token would have ended it much
// later. Otherwise it would keep every later message.
func TestEndedSubscriptionIsFreed(t *testing.T) {
	w := newWorld(t, topic.Limits{}, nil)
	stays, c := w.connectJSON(t, w.both("a")), w.connectJSON(t, "")
	for i := range 10 {
		c.exchange(t, []string{`{"type":"subscribe","topics":["a"],"token":"` + w.user("s", "", time.Now().Add(time.Duration(10-i)*time.Hour)) + `"}`,
			`{"type":"subscribed","topics":{"a":{"position":"E:0","recovered":true,"replay":0}}}`})
	}
	gone := weak.Make(c.s)
	c.leave()
	c = nil
	stays.exchange(t, []string{`{"type":"ping"}`, `{"type":"pong"}`}) // The group has nothing more to do for the other session.
	w.loop.posts, w.workers.waiting = nil, nil
	runtime.GC()
	if gone.Value() != nil {
		t.Error("a session that has ended is still held")
	}
	runtime.KeepAlive(w)
}

// A refused subscription with presence is refused as a whole.
func TestJSONPresenceWithoutRoom(t *testing.T) {
	b, topics := memory.New(memory.Config{Epoch: "E"}, topic.Config{MaxTopics: 1})
	w := newWorld(t, topic.Limits{}, func(c *session.Config) {
		c.Topics, c.Attacher = topics, broker.NewAttacher(b, broker.AttacherConfig{})
	})
	w.topics = topics
	c := w.connectJSON(t, w.both("a"))
	refused := `{"type":"subscribed","topics":{},"refused":{"a":{"code":"over_capacity","message":"topic limit of the server reached (1): try again later"}}}`
	c.exchange(t,
		[]string{`{"type":"subscribe","topics":["a"],"presence":true}`, refused},
		[]string{`PUBLISH a x`},
		[]string{`{"type":"subscribe","topics":["a"]}`, `{"type":"subscribed","topics":{"a":{"position":"E:1","recovered":true,"replay":0}}}`},
		[]string{`{"type":"subscribe","topics":["a"],"presence":true,"mode":"latest"}`, refused},
		[]string{`PUBLISH a y`, `{"type":"message","topic":"a","position":"E:2","time":0,"data":"y"}`},
	)
	c.leave()
	if w.stats.Subscriptions.Load() != 0 || w.presence.Stats().References != 0 {
		t.Errorf("left: %d subscriptions, %+v", w.stats.Subscriptions.Load(), w.presence.Stats())
	}
}
