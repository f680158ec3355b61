package session_test

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/control"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/session"
	"github.com/ikornaselur/notiflux/internal/topic"
)

// revocations is a list of revoked users: whole, or for one topic. It implements
// [session.Revoked].
type revocations map[string]pubsub.Topic

func (r revocations) check(c *auth.Claims, name pubsub.Topic) error {
	if only, ok := r[c.Subject]; ok && (only == "" || only == name) {
		return pubsub.Errorf(pubsub.TokenRevoked, "the token was revoked")
	}
	return nil
}

// userToken returns a token of a user for topics, whose subscriptions end at a time.
func (w *world) userToken(user string, until time.Time, topics ...pubsub.Topic) string {
	w.t.Helper()
	token, err := w.signer.Sign(auth.Grant{Subject: user, Scopes: []auth.Scope{auth.Subscribe, auth.Broadcast}, Topics: topics, Expires: w.expires, Until: until})
	if err != nil {
		w.t.Fatal(err)
	}
	return string(token)
}

// operate runs an operation of the operator and the loop until both are done.
func (w *world) operate(t *testing.T, r revocations, do func(*control.Control) (control.Outcome, error)) (o control.Outcome) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		var err error
		if o, err = do(control.New([]*session.Group{w.group}, r.check)); err != nil {
			t.Error(err)
		}
	}()
	synctest.Wait()
	w.loop.run()
	<-done
	return o
}

func (w *world) sweep(t *testing.T, r revocations) control.Outcome {
	t.Helper()
	return w.operate(t, r, func(c *control.Control) (control.Outcome, error) { return c.Sweep(t.Context(), r.check) })
}

// inRevocable runs a test in a bubble with a world whose broker attaches topics when the test
// says so.
func inRevocable(t *testing.T, test func(t *testing.T, w *world, b *slowBroker, r revocations)) {
	synctest.Test(t, func(t *testing.T) {
		w, b, r := newRevocable(t)
		test(t, w, b, r)
	})
}

func newRevocable(t *testing.T) (*world, *slowBroker, revocations) {
	r := revocations{}
	w, b := newSlowWorld(t, func(c *session.Config) { c.Revoked = r.check })
	return w, b, r
}

func (w *world) wantNoSubscriptions(t *testing.T, b *slowBroker) {
	t.Helper()
	if n, waiting := w.stats.Subscriptions.Load(), b.attacher.Waiting(); n != 0 || waiting != 0 {
		t.Errorf("%d subscriptions are left, and %d attachments wait", n, waiting)
	}
}

// A subscription does not begin if its token is revoked while the token is verified, or while
// the broker attaches the topic. The session ends once it is known that it has no other token.
func TestRevokedMeanwhile(t *testing.T) {
	for _, step := range []string{"before", "verifying", "attaching"} {
		t.Run(step, func(t *testing.T) {
			inRevocable(t, func(t *testing.T, w *world, b *slowBroker, r revocations) {
				c := w.connect()
				revoke := func(at string) {
					if at == step {
						r["ann"] = ""
						w.sweep(t, r)
					}
				}
				revoke("before")
				c.s.Receive([]byte("/subscribe a "+w.userToken("ann", time.Time{}, "a")), false)
				revoke("verifying")
				c.settle()
				revoke("attaching")
				b.attach()
				c.settle()
				w.publish("a", "secret")
				c.expect(t, "Subscribe to a denied: the token was revoked")
				c.leave()
				w.wantNoSubscriptions(t, b)
			})
		})
	}
}

// A stream whose token is revoked before its session begins gets no message.
func TestStreamBeginsAfterARevocation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := revocations{"s": "a"}
		w := newWorld(t, topic.Limits{Count: 10}, func(c *session.Config) { c.Revoked = r.check })
		c := &client{w: w}
		c.openStream(ndjson, onTopics("a", "b"))
		w.publish("a", "1")
		w.publish("b", "2")
		got := c.stream()
		if !strings.Contains(got, `{"type":"unsubscribed","topics":["a"],"code":"token_revoked"`) || strings.Contains(got, `"data":"1"`) || !strings.Contains(got, `"data":"2"`) {
			t.Errorf("got %s", got)
		}
		c.leave()
	})
}

// The token of a connection is refused in each command that relies on it.
func TestConnectedWithARevokedToken(t *testing.T) {
	inRevocable(t, func(t *testing.T, w *world, b *slowBroker, r revocations) {
		r["ann"] = "a"
		ann, bob := w.userToken("ann", time.Time{}, "a", "b"), w.userToken("bob", time.Time{}, "a", "b")
		c := w.connectJSON(t, ann)
		const refused = `"code":"token_revoked","message":"the token was revoked"`
		say := func(command, want string) {
			t.Helper()
			c.say(command)
			b.attach()
			c.settle()
			if got := strings.Join(c.received(), "\n"); !strings.Contains(got, want) {
				t.Errorf("%s: %s, want %s", command, got, want)
			}
		}
		say(`{"type":"broadcast","topic":"a","message":1}`, refused)
		say(`{"type":"history","topic":"a"}`, refused)
		say(`{"type":"presence","topic":"a"}`, refused)
		say(`{"type":"subscribe","topics":["a","b"]}`, `"topics":{"b":{"position":"E:0","recovered":true,"replay":0}},"refused":{"a":{`+refused)
		r["ann"] = ""
		say(`{"type":"broadcast","topic":"b","message":1}`, refused)
		say(`{"type":"auth","token":"`+ann+`"}`, refused)
		say(`{"type":"subscribe","topics":["a"],"token":"`+bob+`"}`, `"topics":{"a"`)
		say(`{"type":"auth","token":"`+bob+`"}`, `"authenticated"`)
		if got := w.sweep(t, r); got != (control.Outcome{Subscriptions: 1}) {
			t.Errorf("the sweep ended %+v, want the subscription to b", got)
		}
		c.gets(t, `{"type":"unsubscribed","topics":["b"],"code":"token_revoked"}`)
		c.leave()
		w.wantNoSubscriptions(t, b)
	})
}

// While a command with another token is in progress, a sweep ends the subscriptions, but the
// session only if the other token does not hold it.
func TestSweepWhileACommandIsInProgress(t *testing.T) {
	for _, bobToo := range []bool{false, true} {
		inRevocable(t, func(t *testing.T, w *world, b *slowBroker, r revocations) {
			c := w.connect()
			c.say("/subscribe a " + w.userToken("ann", time.Time{}, "a"))
			b.attach()
			c.settle()
			c.say("/subscribe b " + w.userToken("bob", time.Time{}, "b")) // The broker attaches b.
			r["ann"] = ""
			if bobToo {
				r["bob"] = ""
			}
			if got := w.sweep(t, r); got != (control.Outcome{Subscriptions: 1}) {
				t.Errorf("the sweep ended %+v, want one subscription", got)
			}
			w.publish("a", "secret")
			b.attach()
			c.settle()
			w.publish("b", "1")
			if bobToo {
				if got := string(c.s.Answers()); !strings.Contains(got, "Subscribe to b denied: the token was revoked") {
					t.Errorf("answers %q", got)
				}
			} else {
				c.expect(t, "1")
			}
			if closed := c.code == 4003; closed != bobToo {
				t.Errorf("closed: %t, want %t", closed, bobToo)
			}
			c.leave()
			w.wantNoSubscriptions(t, b)
		})
	}
}

// A subscription that the operator makes waits for a command in progress, does not end at the
// time `until` of the token that it belongs to, and is not made if that is revoked meanwhile.
func TestGrants(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, b, r := newRevocable(t)
		isAnn := func(c *auth.Claims) bool { return c.Subject == "ann" }
		grant := func(topics ...pubsub.Topic) control.Outcome {
			return w.operate(t, r, func(c *control.Control) (control.Outcome, error) { return c.Subscribe(t.Context(), isAnn, topics) })
		}
		c := w.connectJSON(t, w.userToken("ann", time.Now().Add(time.Minute), "a"))
		c.say(`{"type":"subscribe","id":1,"topics":["a"]}`)
		if got := grant("a", "secret"); got != (control.Outcome{Connections: 1, Subscriptions: 2}) {
			t.Errorf("granted %+v", got)
		}
		b.attach()
		c.settle()
		c.gets(t, `{"type":"subscribed","id":1,"topics":{"a":{"position":"E:0","recovered":true,"replay":0}}}`)
		b.attach()
		c.settle()
		c.gets(t, `{"type":"subscribed","topics":{"secret":{"position":"E:0","recovered":true,"replay":0}}}`)

		time.Sleep(2 * time.Minute)
		c.settle()
		c.gets(t, `{"type":"unsubscribed","topics":["a"],"code":"token_expired"}`)
		grant("more")
		r["ann"] = "more"
		w.sweep(t, r)
		b.attach()
		c.settle()
		w.publish("secret", "1")
		w.publish("more", "2")
		c.gets(t, `{"type":"message","topic":"secret","position":"E:1","time":0,"data":"1"}`)
		c.leave()
		w.wantNoSubscriptions(t, b)
	})
}

// Each visits every session that is there from its call to its end, whatever comes and goes
// between its turns, and makes many turns for many sessions.
func TestEachMissesNone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t, topic.Limits{}, nil)
		var clients []*client
		for range rapid.IntRange(0, 20).Draw(t, "clients") {
			clients = append(clients, w.connect())
		}
		expected := slices.Clone(clients)
		visited := map[*session.Session]bool{}
		done := false
		w.group.Each(func(s *session.Session) int {
			visited[s] = true
			return rapid.SampledFrom([]int{0, 2000, 5000}).Draw(t, "work")
		}, func() { done = true })
		turns := 0
		for !done {
			posts := w.loop.take()
			if len(posts) != 1 {
				t.Fatalf("%d functions were posted", len(posts))
			}
			posts[0]()
			turns++
			for range rapid.IntRange(0, 3).Draw(t, "changes") {
				if n := len(clients); n > 0 && rapid.Bool().Draw(t, "leaves") {
					i := rapid.IntRange(0, n-1).Draw(t, "client")
					clients[i].leave()
					expected = slices.DeleteFunc(expected, func(c *client) bool { return c == clients[i] })
					clients = slices.Delete(clients, i, i+1)
				} else {
					clients = append(clients, w.connect())
				}
			}
		}
		for _, c := range expected {
			if !visited[c.s] {
				t.Fatalf("a session was not visited in %d turns", turns)
			}
		}
	})
}
