package session_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/session"
	"github.com/ikornaselur/notiflux/internal/topic"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// A topic that is unsubscribed while no pattern is subscribed to is forgotten.
func TestSubscriptionEndsWithoutPatterns(t *testing.T) {
	for name, ends := range map[string][]string{
		"one after another": {`{"type":"unsubscribe","patterns":["a*"]}`, `{"type":"unsubscribe","topics":["ab"]}`},
		"everything":        {`{"type":"unsubscribe"}`},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, topic.Limits{Count: 100}, nil)
			c := w.connectJSON(t, w.patternToken([]pubsub.Topic{"ab"}, "a*"))
			w.broadcast("ab", "keeps the topic in memory")
			c.say(`{"type":"subscribe","patterns":["a*"]}`)
			c.say(`{"type":"subscribe","topics":["ab"]}`)
			for _, end := range ends {
				c.say(end)
			}
			for range 4 {
				c.turn()
			}
			c.messages()
			w.broadcast("ab", "unheard") // The client has no subscription.
			for range 4 {
				c.turn()
			}
			c.say(`{"type":"subscribe","patterns":["a*"]}`)
			for range 4 {
				c.turn()
			}
			w.broadcast("ab", "heard")
			for range 4 {
				c.turn()
			}
			got := strings.Join(c.messages(), "\n")
			if strings.Contains(got, "unheard") || strings.Count(got, `"heard"`) != 1 {
				t.Errorf("got\n%s", got)
			}
			w.broadcast("ab", "again")
			for range 4 {
				c.turn()
			}
			if got := strings.Join(c.messages(), "\n"); strings.Count(got, `"again"`) != 1 {
				t.Errorf("got\n%s", got)
			}
		})
	}
}

// Ended subscriptions keep no messages in memory.
func TestEndedSubscriptionKeepsNoMessages(t *testing.T) {
	w := newWorld(t, topic.Limits{Count: 1}, nil)
	c := w.connectJSON(t, w.patternToken([]pubsub.Topic{"ab"}, "a*"))
	w.broadcast("ab", "keeps the topic in memory")
	c.say(`{"type":"subscribe","patterns":["a*"]}`)
	c.say(`{"type":"subscribe","topics":["ab"]}`)
	c.say(`{"type":"unsubscribe","patterns":["a*"]}`)
	c.say(`{"type":"unsubscribe","topics":["ab"]}`)
	c.turn()
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	for range 3000 {
		w.broadcast("ab", strings.Repeat("x", 10000))
	}
	after := heap()
	t.Logf("heap %d to %d", before, after)
	if after > before+10<<20 {
		t.Errorf("30 MB published to a topic without subscribers, history 1 message: the heap grew by %d bytes", after-before)
	}
	runtime.KeepAlive(c)
}

// As above, but the topic has left memory in the meantime: the pattern must not wait for ever.
func TestPatternDoesNotWaitForEndedSubscription(t *testing.T) {
	w := newWorld(t, topic.Limits{Count: 100}, nil)
	c := w.connectJSON(t, w.patternToken([]pubsub.Topic{"ab"}, "a*"))
	c.say(`{"type":"subscribe","patterns":["a*"]}`)
	c.say(`{"type":"subscribe","topics":["ab"]}`)
	c.say(`{"type":"unsubscribe"}`)
	c.say(`{"type":"subscribe","patterns":["a*"]}`)
	c.turn()
	c.messages()
	w.broadcast("ab", "heard")
	turns := 0
	for c.dirty = true; c.dirty && turns < 1000; turns++ {
		c.dirty = false
		c.turn()
	}
	if got := strings.Join(c.messages(), "\n"); strings.Count(got, `"heard"`) != 1 || turns > 10 {
		t.Errorf("after %d turns, the client got %q", turns, got)
	}
}

// A subscription in mode latest that ends before it could report what it skipped: the pattern
// delivers it.
func TestPatternDeliversUnreportedSkip(t *testing.T) {
	w := newWorld(t, topic.Limits{Count: 1000}, nil)
	c := w.connectJSON(t, w.patternToken([]pubsub.Topic{"ab"}, "a*"))
	c.say(`{"type":"subscribe","patterns":["a*"]}`)
	c.say(`{"type":"subscribe","topics":["ab"],"mode":"latest"}`)
	c.turn()
	c.messages()
	for range 5 {
		w.broadcast("ab", strings.Repeat("x", 30_000))
	}
	for w.group.Collect() {
	}
	c.write(1000)
	c.s.Tick(0)
	c.say(`{"type":"unsubscribe","topics":["ab"]}`)
	for range 10 {
		c.turn()
	}
	got := c.messages()
	n, skipped := 0, false
	for _, m := range got {
		if strings.Contains(m, `"type":"message"`) {
			n++
		}
		skipped = skipped || strings.Contains(m, `"skipped"`)
	}
	if n != 5 && !skipped {
		t.Errorf("got %d of 5 messages, and no skipped", n)
	}
}

// A client that subscribes to a pattern with since gets everything after it, even if a subscription that
// has ended delivered some of it, but not if another subscription that matches it goes on.
func TestPatternGoesBack(t *testing.T) {
	for _, other := range []bool{false, true} {
		w := newWorld(t, topic.Limits{Count: 1000}, nil)
		w.topics.Open(pubsub.Pattern("ab*").Topic(), pubsub.Position{}, topic.ResumePoint{}) // somebody else has it
		c := w.connectJSON(t, w.patternToken([]pubsub.Topic{"abc"}, "a*"))
		if other {
			c.say(`{"type":"subscribe","patterns":["a*"]}`)
		}
		c.say(`{"type":"subscribe","topics":["abc"]}`)
		c.turn()
		w.broadcast("ax", strings.Repeat("x", 30_000))
		w.broadcast("abc", "1") // E:2
		for w.group.Collect() {
		}
		c.write(20_000) // the rest of ax is under way; abc is written next
		for i := 0; i < 100_000 && !strings.Contains(string(c.sent), `"E:2"`); i++ {
			c.write(1)
		}
		c.say(`{"type":"unsubscribe","topics":["abc"]}`)
		for range 10 {
			c.turn()
		}
		c.messages()
		c.say(`{"type":"subscribe","patterns":["ab*"],"since":{"ab*":"E:0"}}`)
		for range 10 {
			c.turn()
		}
		got := strings.Join(c.messages(), "\n")
		if strings.Contains(got, `"E:2"`) == other || !strings.Contains(got, `"recovered":true`) {
			t.Errorf("with another pattern: %t: got\n%s", other, got)
		}
	}
}

// The reported position of a pattern never goes back.
func TestPositionOfPatternNeverGoesBack(t *testing.T) {
	w := newWorld(t, topic.Limits{Count: 1000}, nil)
	w.topics.Open(pubsub.Pattern("a*").Topic(), pubsub.Position{}, topic.ResumePoint{}) // somebody else has it
	w.broadcast("a", "one")
	w.broadcast("b", "two")
	w.broadcast("b", "three")
	w.broadcast("a", "four")
	c := w.connectJSON(t, w.patternToken(nil, "a*"))
	c.say(`{"type":"subscribe","patterns":["a*"],"since":{"a*":"E:3"}}`)
	c.write(len(c.s.Answers()))
	c.s.Tick(0)
	c.write(len(c.s.Answers()))
	if got := strings.Join(c.messages(), "\n"); strings.Contains(got, `"type":"position"`) {
		t.Errorf("got %s", got)
	}
}

// What several subscriptions lag counts once.
func TestOverlappingSubscriptionsLagOnce(t *testing.T) {
	for _, test := range []struct {
		kilobytes int // for each of two topics
		code      wire.CloseCode
	}{{1100, 0}, {2100, wire.CloseTooSlow}} {
		w := newWorld(t, topic.Limits{Bytes: 1 << 20}, func(c *session.Config) { c.MaxLagBytes = 1 << 20 })
		c := w.connectJSON(t, w.patternToken([]pubsub.Topic{"aaaaaaaaaaaaaaaa1", "aaaaaaaaaaaaaaaa2"}, "a*"))
		var list []string
		for i := range 15 {
			list = append(list, fmt.Sprintf("%q", strings.Repeat("a", i+1)+"*"))
		}
		c.say(`{"type":"subscribe","patterns":[` + strings.Join(list, ",") + `]}`)
		c.say(`{"type":"subscribe","topics":["aaaaaaaaaaaaaaaa1","aaaaaaaaaaaaaaaa2"]}`)
		c.received()
		for range test.kilobytes / 10 {
			w.broadcast("aaaaaaaaaaaaaaaa1", strings.Repeat("x", 5000))
			w.broadcast("aaaaaaaaaaaaaaaa2", strings.Repeat("x", 5000))
		}
		for w.group.Collect() {
		}
		c.refuse()
		c.s.Tick(0)
		if c.code != test.code {
			t.Errorf("with %d KB unread, the client is closed with %d, want %d", test.kilobytes, c.code, test.code)
		}
	}
}
