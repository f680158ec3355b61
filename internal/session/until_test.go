package session_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/topic"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// ending returns a token for one topic whose subscriptions end at a time.
func (w *world) ending(topic pubsub.Topic, until time.Time) string {
	w.t.Helper()
	token, err := w.signer.Sign(auth.Grant{Subject: "s", Scopes: []auth.Scope{auth.Subscribe}, Topics: []pubsub.Topic{topic}, Expires: w.expires, Until: until})
	if err != nil {
		w.t.Fatal(err)
	}
	return string(token)
}

// If many subscriptions end at the same moment, the loop ends a part in each turn, even
// when others are added meanwhile.
func TestManyEndsTakeManyTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, topic.Limits{}, nil)
		until := time.Now().Add(time.Minute)
		c := w.connect()
		defer c.leave()
		for i := range 300 {
			topic := pubsub.Topic(fmt.Sprint(i))
			c.say("/subscribe " + string(topic) + " " + w.ending(topic, until))
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		for turn := 0; ; turn++ {
			before := w.stats.Subscriptions.Load()
			if before == 1 {
				break
			}
			for _, f := range w.loop.take() {
				f()
			}
			if ended := before - w.stats.Subscriptions.Load(); ended < 1 || ended > 100 {
				t.Fatalf("%d subscriptions end in turn %d, want 1 to 100", ended, turn)
			}
			if turn == 1 {
				c.s.Receive([]byte("/subscribe later "+w.ending("later", until.Add(time.Hour))), false)
				w.workers.work(t.Context())
			}
			synctest.Wait() // A timer may have been set.
		}
	})
}

// A stream gets one event for all its topics that end. So the client learns why the stream
// ends, even if there is little room for unread bytes.
func TestTheEndsOfAStreamAreOneEvent(t *testing.T) {
	var topics []pubsub.Topic
	var names []string
	for i := range 64 {
		name := fmt.Sprintf("topic%02d", i)
		topics, names = append(topics, pubsub.Topic(name)), append(names, `"`+name+`"`)
	}
	unsubscribed := `{"type":"unsubscribed","topics":[` + strings.Join(names, ",") + `],"code":"token_expired"`
	for _, e := range []form{sse, ndjson} {
		synctest.Test(t, func(t *testing.T) {
			w, b := charging(t, 10_000)
			var clients []*client
			for range 20 {
				c := &client{w: w}
				c.openStream(e, w.onTopicsUntil(time.Now().Add(time.Minute), topics...))
				c.turn()
				c.sent = nil
				clients = append(clients, c)
			}
			time.Sleep(time.Minute)
			synctest.Wait()
			w.loop.run()
			for _, c := range clients {
				c.turn()
				if got := string(c.sent); strings.Count(got, `"unsubscribed"`) != 1 || !strings.Contains(got, unsubscribed) || !strings.Contains(got, `{"type":"bye","code":"token_expired"`) || c.code != wire.CloseNormal {
					t.Fatalf("closed with %d after %s, want %s", c.code, got, unsubscribed)
				}
				c.leave()
			}
			if b.used != 0 {
				t.Errorf("%d bytes are charged at the end", b.used)
			}
		})
	}
}
