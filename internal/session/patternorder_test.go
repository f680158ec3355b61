package session_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/topic"
)

// messagePositions returns the positions of the messages among frames.
func messagePositions(frames []string) string {
	var all []string
	for _, text := range frames {
		if _, after, ok := strings.Cut(text, `"type":"message"`); ok {
			_, after, _ = strings.Cut(after, `"position":"`)
			position, _, _ := strings.Cut(after, `"`)
			all = append(all, position)
		}
	}
	return strings.Join(all, " ")
}

// A topic that is subscribed to while a pattern has yet to deliver some of its messages: after a
// cut, the client gets all of them, whichever subscription it resumes first.
func TestOrderOfSubscriptions(t *testing.T) {
	for _, test := range []struct {
		first, then string
		atOnce      bool
	}{
		{"pattern", "topic", false},
		{"topic", "pattern", false},
		{"pattern", "topic", true},
		{"topic", "pattern", true},
	} {
		w := newWorld(t, topic.Limits{Count: 100}, nil)
		token := w.patternToken([]pubsub.Topic{"ab"}, "a*")
		c := w.connectJSON(t, token)
		c.say(`{"type":"subscribe","id":1,"patterns":["a*"]}`)
		c.gets(t, `{"type":"subscribed","id":1,"topics":{},"patterns":{"a*":{"position":"E:0","recovered":true,"replay":0}}}`)
		w.broadcast("ab", "one") // The pattern has not delivered it when the topic is subscribed to.
		c.say(`{"type":"subscribe","id":2,"topics":["ab"]}`)
		c.write(len(c.s.Answers()))
		if got := strings.Join(c.messages(), "\n"); got != `{"type":"subscribed","id":2,"topics":{"ab":{"position":"E:0","recovered":true,"replay":0}}}` {
			t.Errorf("got %s", got)
		}
		c.leave()
		w.broadcast("ab", "two")

		c = w.connectJSON(t, token)
		commands := map[string]string{
			"pattern": `{"type":"subscribe","patterns":["a*"],"since":{"a*":"E:0"}}`,
			"topic":   `{"type":"subscribe","topics":["ab"],"since":{"ab":"E:0"}}`,
		}
		var got []string
		if c.say(commands[test.first]); !test.atOnce {
			got = c.received()
		}
		c.say(commands[test.then])
		got = append(got, c.received()...)
		positions, recovered := messagePositions(got), strings.Count(strings.Join(got, ""), `"recovered":true`)
		if positions != "E:1 E:2" || recovered != 2 {
			t.Errorf("%+v: got the messages %s, in\n%s", test, positions, strings.Join(got, "\n"))
		}
		w.broadcast("ab", "three")
		if positions := messagePositions(c.received()); positions != "E:3" {
			t.Errorf("%+v: then got the messages %s", test, positions)
		}
	}
}

// A client has newer messages of a topic, and asks for older ones by a pattern: it is told that
// it does not get them.
func TestPatternFromBeforeATopic(t *testing.T) {
	for _, test := range []struct {
		before    pubsub.Topic // where a message is published before the topic is subscribed to
		delivered bool
		recovered bool
	}{
		{"ab", true, false},
		{"ab", false, false}, // If the connection broke now, the client would resume from E:1.
		{"ax", false, true},
		{"ax", true, false}, // The session does not know any more where the topic began.
	} {
		w := newWorld(t, topic.Limits{Count: 100}, nil)
		w.topics.Open(pubsub.Pattern("a*").Topic(), pubsub.Position{}, topic.ResumePoint{}) // somebody else has it
		w.broadcast(test.before, "one")
		c := w.connectJSON(t, w.patternToken([]pubsub.Topic{"ab"}, "a*"))
		c.say(`{"type":"subscribe","topics":["ab"]}`)
		want := "E:1 E:2"
		switch w.broadcast("ab", "two"); {
		case test.delivered:
			c.received()
			want = ""
		case !test.recovered:
			want = "E:2"
		}
		c.say(`{"type":"subscribe","patterns":["a*"],"since":{"a*":"E:0"}}`)
		got := c.received()
		if lost := strings.Contains(strings.Join(got, "\n"), `"recovered":false`); lost == test.recovered || messagePositions(got) != want {
			t.Errorf("%+v: got\n%s", test, strings.Join(got, "\n"))
		}
	}
}

// The subscriptions of a client begin in any order, and each goes back to before the others.
func TestSubscriptionGoesBackBeforeAnother(t *testing.T) {
	w := newWorld(t, topic.Limits{Count: 100}, nil)
	for _, p := range []pubsub.Pattern{"a*", "ab*"} {
		w.topics.Open(p.Topic(), pubsub.Position{}, topic.ResumePoint{}) // somebody else has them
	}
	for range 6 {
		w.broadcast("abc", "x")
	}
	commands := map[string]string{
		"a*":  `{"type":"subscribe","patterns":["a*"],"since":{"a*":%q}}`,
		"ab*": `{"type":"subscribe","patterns":["ab*"],"since":{"ab*":%q}}`,
		"abc": `{"type":"subscribe","topics":["abc"],"since":{"abc":%q}}`,
	}
	names := []string{"a*", "ab*", "abc"}
	for i, first := range names {
		for _, second := range slices.Concat(names[:i], names[i+1:]) {
			c := w.connectJSON(t, w.patternToken([]pubsub.Topic{"abc"}, "a*"))
			c.say(fmt.Sprintf(commands[first], "E:4"))
			c.say(fmt.Sprintf(commands[second], "E:2"))
			want := "E:3 E:4 E:5 E:6"
			if len(second) < len(first) || first == "abc" { // The client has what came before the more specific one.
				want = "E:5 E:6"
			}
			if got := c.received(); messagePositions(got) != want || strings.Contains(strings.Join(got, ""), "false") {
				t.Errorf("%s, then %s at once: got %s", first, second, strings.Join(got, "\n"))
			}
			c.leave()
			c = w.connectJSON(t, w.patternToken([]pubsub.Topic{"abc"}, "a*"))
			c.say(fmt.Sprintf(commands[first], "E:4"))
			if got := c.received(); messagePositions(got) != "E:5 E:6" {
				t.Errorf("%s: got %s", first, strings.Join(got, "\n"))
			}
			c.say(fmt.Sprintf(commands[second], "E:4"))
			if got := c.received(); messagePositions(got) != "" || !strings.Contains(strings.Join(got, ""), `"recovered":true`) {
				t.Errorf("%s, then %s: got %s", first, second, strings.Join(got, "\n"))
			}
			c.leave()
		}
	}
}
