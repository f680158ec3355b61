package session_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/session"
	"github.com/ikornaselur/notiflux/internal/topic"
)

// patternToken returns a token to subscribe to topics and patterns.
func (w *world) patternToken(topics []pubsub.Topic, patterns ...pubsub.Pattern) string {
	w.t.Helper()
	token, err := w.signer.Sign(auth.Grant{Subject: "s", Scopes: []auth.Scope{auth.Subscribe}, Topics: topics, Patterns: patterns, Expires: w.expires})
	if err != nil {
		w.t.Fatal(err)
	}
	return string(token)
}

// broadcast publishes through the broker of the world.
func (w *world) broadcast(name pubsub.Topic, data string) pubsub.Position {
	w.t.Helper()
	ps := []pubsub.Publication{{Topic: name, Body: pubsub.Body{Data: []byte(data)}}}
	if w.broker.Publish(ps, nil); ps[0].Err != nil {
		w.t.Fatal(ps[0].Err)
	}
	return ps[0].Position
}

func TestPatternSubscription(t *testing.T) {
	w := newWorld(t, topic.Limits{Count: 100}, nil)
	c := w.connectJSON(t, w.patternToken([]pubsub.Topic{"room:1", "room:*"}, "room:*"))
	w.broadcast("room:1", "before")
	say := func(command string, want ...string) {
		t.Helper()
		c.say(command)
		c.gets(t, want...)
	}
	say(`{"type":"subscribe","id":1,"patterns":["room:*","ro*","x*","room"]}`,
		`{"type":"subscribed","id":1,"topics":{},"patterns":{"room:*":{"position":"E:1","recovered":true,"replay":0}},"refused":{"ro*":{"code":"topic_denied","message":"the token does not allow this pattern: one of its patterns must be the same or contain it, as campaign:* contains campaign:7:*"},"x*":{"code":"topic_denied","message":"the token does not allow this pattern: one of its patterns must be the same or contain it, as campaign:* contains campaign:7:*"},"room":{"code":"topic_invalid","message":"the pattern does not end with *: a pattern is the beginning of a topic followed by *"}}}`)
	w.broadcast("room:1", "one")
	w.broadcast("other", "no")
	w.broadcast("room:2", "two")
	c.gets(t, `{"type":"message","topic":"room:1","position":"E:2","time":0,"data":"one"}`, `{"type":"message","topic":"room:2","position":"E:4","time":0,"data":"two"}`)
	c.s.Tick(0)
	c.gets(t, `{"type":"position","pattern":"room:*","position":"E:4"}`)
	w.broadcast("room:3", "three")
	c.gets(t, `{"type":"message","topic":"room:3","position":"E:5","time":0,"data":"three"}`)
	c.s.Tick(999 * time.Millisecond)
	if c.gets(t); c.armed != time.Second {
		t.Errorf("the next tick is asked for at %v, want 1 s", c.armed)
	}
	c.s.Tick(time.Second)
	c.gets(t, `{"type":"position","pattern":"room:*","position":"E:5"}`)

	// A topic of the same name, and topics that the pattern matches, come once.
	say(`{"type":"subscribe","topics":["room:*","room:1"],"last":1}`,
		`{"type":"subscribed","topics":{"room:*":{"position":"E:0","recovered":true,"replay":0},"room:1":{"position":"E:1","recovered":true,"replay":1}}}`,
		`{"type":"message","topic":"room:1","position":"E:2","time":0,"data":"one"}`)
	w.broadcast("room:*", "star")
	w.broadcast("room:1", "four")
	c.gets(t, `{"type":"message","topic":"room:*","position":"E:6","time":0,"data":"star"}`, `{"type":"message","topic":"room:1","position":"E:7","time":0,"data":"four"}`)
	say(`{"type":"unsubscribe","topics":["room:1"]}`, `{"type":"unsubscribed","topics":["room:1"]}`)
	w.broadcast("room:1", "five")
	c.gets(t, `{"type":"message","topic":"room:1","position":"E:8","time":0,"data":"five"}`)
	say(`{"type":"unsubscribe","id":9}`, `{"type":"unsubscribed","id":9,"topics":["room:*"],"patterns":["room:*"]}`)
	w.broadcast("room:1", "six")
	c.gets(t)

	resumed := w.connectJSON(t, w.patternToken(nil, "room:*"))
	resumed.say(`{"type":"subscribe","patterns":["room:*"],"since":{"room:*":"E:7"}}`)
	resumed.gets(t, `{"type":"subscribed","topics":{},"patterns":{"room:*":{"position":"E:7","recovered":true,"replay":2}}}`,
		`{"type":"message","topic":"room:1","position":"E:8","time":0,"data":"five"}`, `{"type":"message","topic":"room:1","position":"E:9","time":0,"data":"six"}`)
	resumed.say(`{"type":"subscribe","id":2,"patterns":["room:1*"],"since":{"room:1*":"E:7"}}`)
	resumed.gets(t, `{"type":"subscribed","id":2,"topics":{},"patterns":{"room:1*":{"position":"E:9","recovered":false,"replay":0}}}`)
	resumed.say(`{"type":"unsubscribe","id":3,"patterns":["room:1*","nothing"]}`)
	resumed.gets(t, `{"type":"unsubscribed","id":3,"topics":[],"patterns":["room:1*","nothing"]}`)
}

func TestPatternsOfAConnectionAreLimited(t *testing.T) {
	w := newWorld(t, topic.Limits{}, nil)
	c := w.connectJSON(t, w.patternToken(nil, "p*"))
	var list []string
	for i := range 17 {
		list = append(list, fmt.Sprintf(`"p%02d*"`, i))
	}
	c.say(`{"type":"subscribe","patterns":[` + strings.Join(list, ",") + `]}`)
	got := strings.Join(c.received(), "")
	if strings.Count(got, `"recovered":true`) != 16 || !strings.Contains(got, `"p16*":{"code":"too_many"`) {
		t.Errorf("got %s", got)
	}
	c.say(`{"type":"subscribe","patterns":["p00*","pp*"]}`)
	if got := strings.Join(c.received(), ""); strings.Count(got, `"recovered":true`) != 1 || !strings.Contains(got, `"pp*":{"code":"too_many"`) {
		t.Errorf("got %s", got)
	}
}

// The patterns of a user that match the same topics are limited, on all connections together.
func TestNestedPatternsOfAUserAreLimited(t *testing.T) {
	w := newWorld(t, topic.Limits{}, nil)
	token := w.patternToken(nil, "p*")
	var list []string
	for i := range 16 {
		list = append(list, fmt.Sprintf("%q", strings.Repeat("p", i+1)+"*"))
	}
	c := w.connectJSON(t, token)
	c.say(`{"type":"subscribe","patterns":[` + strings.Join(list, ",") + `]}`)
	if got := strings.Join(c.received(), ""); strings.Count(got, `"recovered":true`) != 16 {
		t.Errorf("got %s", got)
	}
	other := w.connectJSON(t, token)
	other.say(`{"type":"subscribe","patterns":["ppppppppppppppppp*","pp*","px*"]}`)
	if got := strings.Join(other.received(), ""); strings.Count(got, `"recovered":true`) != 2 || !strings.Contains(got, `"ppppppppppppppppp*":{"code":"too_many"`) {
		t.Errorf("got %s", got)
	}
}

// patternClient is a client with subscriptions to topics and patterns that handles each message
// once, as section 8 of the protocol says, over several connections.
type patternClient struct {
	*client
	w     *patternWorld
	clock time.Duration

	// Of the connection.
	subs map[pubsub.Topic]bool   // by the topic of a pattern
	seen map[pubsub.Topic]uint64 // the last offset received
	from map[pubsub.Topic]uint64 // where subscriptions began

	// Of all connections.
	begun     map[pubsub.Topic]uint64 // the position after which it must get everything
	positions map[pubsub.Topic]string // where it resumes
	away      map[pubsub.Topic]string // the same for subscriptions that it does not have now
	handled   map[pubsub.Topic][]uint64
	told      map[pubsub.Topic]map[uint64]bool // messages that it knows it may have missed
}

type patternWorld struct {
	*world
	token     string
	published map[pubsub.Topic][]uint64
	last      uint64
	live      map[pubsub.Topic]uint64 // where the log of a pattern began
}

func (w *patternWorld) connect(old *patternClient) *patternClient {
	c := &patternClient{client: &client{w: w.world}, w: w, subs: make(map[pubsub.Topic]bool), seen: make(map[pubsub.Topic]uint64), from: make(map[pubsub.Topic]uint64)}
	if old != nil {
		c.begun, c.positions, c.away, c.handled, c.told = old.begun, old.positions, old.away, old.handled, old.told
	} else {
		c.begun, c.positions, c.away = make(map[pubsub.Topic]uint64), make(map[pubsub.Topic]string), make(map[pubsub.Topic]string)
		c.handled, c.told = make(map[pubsub.Topic][]uint64), make(map[pubsub.Topic]map[uint64]bool)
	}
	c.s = w.group.Open(c.client, w.json, session.Request{Credential: session.Credential{Claims: w.verified(w.token)}})
	return c
}

func (w *world) verified(token string) *auth.Claims {
	w.t.Helper()
	claims, err := w.verifier.Verify(auth.Token(token))
	if err != nil {
		w.t.Fatal(err)
	}
	return claims
}

func matches(sub, name pubsub.Topic) bool {
	if p, ok := sub.Pattern(); ok {
		return p.Matches(name)
	}
	return sub == name
}

// take takes what the client received.
func (c *patternClient) take(t *rapid.T) {
	for _, text := range c.messages() {
		var o struct {
			Type, Topic, Pattern, Position string
			From, To                       string
			Topics                         json.RawMessage
			Patterns                       json.RawMessage
		}
		if err := json.Unmarshal([]byte(text), &o); err != nil {
			t.Fatal(err)
		}
		offset, name := offsetOf(o.Position), pubsub.Topic(o.Topic)
		switch o.Type {
		case "subscribed":
			c.begin(t, text, o.Topics, false)
			c.begin(t, text, o.Patterns, true)
		case "message":
			wanted := false
			for sub := range c.subs {
				wanted = wanted || matches(sub, name) && offset > c.from[sub]
			}
			if !wanted || offset <= c.seen[name] {
				t.Fatalf("got %s after %d, with the subscriptions %v from %v", text, c.seen[name], c.subs, c.begun)
			}
			c.seen[name] = offset
			if got := c.handled[name]; len(got) == 0 || offset > got[len(got)-1] {
				c.handled[name] = append(got, offset)
				c.positions[name] = o.Position
			}
		case "position":
			sub := pubsub.Pattern(o.Pattern).Topic()
			if !c.subs[sub] {
				t.Fatalf("got %s without the subscription", text)
			}
			c.check(t, sub, offset)
			c.positions[sub] = o.Position
		case "skipped":
			c.excuse(name, offsetOf(o.From), offsetOf(o.To))
			c.positions[name] = o.To
			c.handled[name] = append(c.handled[name], offsetOf(o.To)) // Older ones are of no use any more.
		case "unsubscribed", "welcome":
		default:
			t.Fatalf("got %s", text)
		}
	}
}

func offsetOf(position string) uint64 {
	offset, _ := strconv.ParseUint(strings.TrimPrefix(position, "E:"), 10, 64)
	return offset
}

// excuse notes that the client knows that it may have missed some messages.
func (c *patternClient) excuse(sub pubsub.Topic, from, to uint64) {
	for name, offsets := range c.w.published {
		for _, offset := range offsets {
			if matches(sub, name) && offset > from && offset <= to {
				if c.told[name] == nil {
					c.told[name] = make(map[uint64]bool)
				}
				c.told[name][offset] = true
			}
		}
	}
}

func (c *patternClient) begin(t *rapid.T, text string, list json.RawMessage, patterns bool) {
	var beginnings map[string]struct {
		Position  string
		Recovered bool
	}
	if list != nil {
		if err := json.Unmarshal(list, &beginnings); err != nil {
			t.Fatal(err)
		}
	}
	for name, b := range beginnings {
		sub := pubsub.Topic(name)
		if patterns {
			sub = pubsub.Pattern(name).Topic()
		}
		offset := offsetOf(b.Position)
		since, resumed := c.away[sub]
		switch {
		case c.subs[sub]:
			c.check(t, sub, offset)
		case !resumed:
			c.begun[sub] = max(offset, c.w.last) // from the command on
			if _, ok := c.w.live[sub]; patterns && !ok {
				c.w.live[sub] = c.w.last
			}
		case !b.Recovered:
			if !c.mayMiss(sub, offsetOf(since)) {
				t.Fatalf("not recovered from %s: %s", since, text)
			}
			c.excuse(sub, 0, offset)
		case b.Position != since:
			t.Fatalf("recovered from elsewhere than %s: %s", since, text)
		}
		if delete(c.away, sub); !c.subs[sub] {
			c.from[sub] = offset
		}
		c.subs[sub], c.positions[sub] = true, b.Position
	}
}

// mayMiss reports whether the client may be told that it does not get everything of a subscription
// after since.
func (c *patternClient) mayMiss(sub pubsub.Topic, since uint64) bool {
	if begin, isPattern := c.w.live[sub]; isPattern && since < begin {
		return true // What came before is not in the log.
	}
	for other := range c.subs {
		for name, offsets := range c.w.published {
			for _, offset := range offsets {
				if matches(sub, name) && matches(other, name) && offset > since && offset <= c.from[other] {
					return true // The client may have newer messages of the topic.
				}
			}
		}
	}
	return false
}

// check checks that the client has every message of a subscription up to an offset.
func (c *patternClient) check(t *rapid.T, sub pubsub.Topic, to uint64) {
	for name, offsets := range c.w.published {
		for _, offset := range offsets {
			if matches(sub, name) && offset > c.begun[sub] && offset <= to && !slices.Contains(c.handled[name], offset) && !c.told[name][offset] {
				t.Fatalf("%q has not got %d of %s; it has %v, and its position is %d; it has subscribed to %v after %v", sub, offset, name, c.handled[name], to, c.subs, c.begun)
			}
		}
	}
}

// rest lets the client read everything.
func (c *patternClient) rest(t *rapid.T) {
	for range 1000 {
		c.turn()
		if c.clock += 2 * time.Second; c.dirty {
			c.dirty = false
		}
		c.s.Tick(c.clock)
		before := len(c.sent)
		if c.turn(); len(c.sent) == before {
			break
		}
	}
	c.take(t)
	for sub := range c.subs {
		c.check(t, sub, 1<<60)
	}
	for turns := 0; c.dirty; turns++ {
		if c.dirty = false; turns > 100 {
			t.Fatal("the client never has everything")
		}
		c.turn()
	}
}

// resume subscribes again to one of those subscriptions that the client had before a cut.
func (c *patternClient) resume(t *rapid.T) {
	sub := rapid.SampledFrom(slices.Sorted(maps.Keys(c.away))).Draw(t, "subscription")
	kind := "topics"
	if sub.IsPattern() {
		kind = "patterns"
	}
	c.take(t) // What came before the command counts for the old subscriptions.
	c.say(fmt.Sprintf(`{"type":"subscribe",%q:[%q],"since":{%q:%q}}`, kind, sub.Shown(), sub.Shown(), c.away[sub]))
	c.writeAnswers(t)
	if !c.subs[sub] {
		t.Fatalf("not subscribed to %q", sub)
	}
}

// Whatever clients subscribe to, in whatever order, and however slowly they read: each gets every
// message once, and the messages of a topic in order, and can resume from its positions.
func TestPatternSubscriptionsAgainstModel(t *testing.T) {
	names := []pubsub.Topic{"a", "ab", "abc", "abd", "b"}
	patterns := []pubsub.Pattern{"a*", "ab*", "abc*", "b*"}
	rapid.Check(t, func(t *rapid.T) {
		w := &patternWorld{world: newWorld(t, topic.Limits{Count: 1000}, nil), published: make(map[pubsub.Topic][]uint64), live: make(map[pubsub.Topic]uint64)}
		w.token = w.patternToken(names, patterns...)
		c := w.connect(nil)
		draw := func(t *rapid.T) (sub pubsub.Topic, text string) {
			if rapid.Bool().Draw(t, "is a pattern") {
				p := rapid.SampledFrom(patterns).Draw(t, "pattern")
				return p.Topic(), fmt.Sprintf(`"patterns":[%q]`, p)
			}
			name := rapid.SampledFrom(names).Draw(t, "topic")
			return name, fmt.Sprintf(`"topics":[%q]`, name)
		}
		write := func(t *rapid.T) {
			c.w.group.Collect()
			c.write(rapid.SampledFrom([]int{0, 10, 300, 5000, 100_000}).Draw(t, "bytes"))
			c.take(t)
		}
		forget := func(subs ...pubsub.Topic) {
			for _, sub := range subs {
				delete(c.subs, sub)
				delete(c.begun, sub)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"publish": func(t *rapid.T) {
				for range rapid.IntRange(1, 4).Draw(t, "messages") {
					name := rapid.SampledFrom(names).Draw(t, "topic")
					w.last = w.broadcast(name, strings.Repeat("x", rapid.SampledFrom([]int{1, 200, 40_000}).Draw(t, "size"))).Offset
					w.published[name] = append(w.published[name], w.last)
				}
			},
			"subscribe": func(t *rapid.T) {
				c.take(t) // What came before the command counts for the old subscriptions.
				_, text := draw(t)
				if !strings.Contains(text, "patterns") && rapid.IntRange(0, 3).Draw(t, "latest") == 0 {
					text += `,"mode":"latest"`
				}
				c.say(`{"type":"subscribe",` + text + `}`)
				c.writeAnswers(t)
			},
			"unsubscribe from everything": func(t *rapid.T) {
				c.take(t)
				c.say(`{"type":"unsubscribe"}`)
				c.writeAnswers(t)
				forget(slices.Collect(maps.Keys(c.subs))...)
			},
			"unsubscribe": func(t *rapid.T) {
				c.take(t)
				sub, text := draw(t)
				c.say(`{"type":"unsubscribe",` + text + `}`)
				c.writeAnswers(t)
				if c.subs[sub] {
					forget(sub)
				}
			},
			"write": write,
			"tick": func(t *rapid.T) {
				c.clock += rapid.SampledFrom([]time.Duration{0, 300 * time.Millisecond, time.Second}).Draw(t, "time")
				c.s.Tick(c.clock)
			},
			"rest": func(t *rapid.T) { c.rest(t) },
			"cut": func(t *rapid.T) {
				c.take(t)
				for sub := range c.subs {
					c.away[sub] = c.positions[sub]
				}
				c.leave()
				c = w.connect(c)
				for len(c.away) > 0 {
					c.resume(t)
					write(t)
				}
			},
		})
		c.rest(t)
		c.leave()
		if n := w.stats.Subscriptions.Load(); n != 0 {
			t.Fatalf("%d subscriptions remain", n)
		}
	})
}

// writeAnswers writes until the client has the answers to its commands.
func (c *patternClient) writeAnswers(t *rapid.T) {
	for range 100 {
		if p := c.s.Rest(); len(p) > 0 {
			c.write(len(p))
			continue
		}
		break
	}
	if p := c.s.Answers(); len(p) > 0 {
		c.write(len(p))
	}
	c.take(t)
}
