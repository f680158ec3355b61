package v1text

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/ikornaselur/notiflux/internal/pubsub"
)

func TestParse(t *testing.T) {
	const wrong = "Invalid subscribe command, it should be: /subscribe <topic> <token>"
	const unknown = "Unknown command"
	for line, want := range map[string]command{
		"":                           {verb: ignore},
		"hello":                      {verb: ignore},
		"subscribe a b":              {verb: ignore},
		"/subscribe a b":             {verb: subscribe, topic: "a", token: "b"},
		" \t/subscribe a b\r\n":      {verb: subscribe, topic: "a", token: "b"},
		"\u00a0/unsubscribe a\u3000": {verb: unsubscribe, topic: "a"},
		"/subscribe  b":              {verb: subscribe, topic: "", token: "b"},
		"/subscribe":                 {verb: invalid, answer: wrong},
		"/subscribe a":               {verb: subscribeWithoutToken, topic: "a", answer: wrong},
		"/subscribe a b c":           {verb: invalid, answer: wrong},
		"/subscribe a  b":            {verb: invalid, answer: wrong},
		"/unsubscribe a":             {verb: unsubscribe, topic: "a"},
		"/unsubscribe a b":           {verb: unsubscribe, topic: "a b"},
		"/unsubscribe  a":            {verb: unsubscribe, topic: " a"},
		"/unsubscribe":               {verb: invalid, answer: unknown},
		"/unsubscribe-all":           {verb: unsubscribeAll},
		"/unsubscribe-all a":         {verb: invalid, answer: unknown},
		"/":                          {verb: invalid, answer: unknown},
		"//subscribe a b":            {verb: invalid, answer: unknown},
		"/Subscribe a b":             {verb: invalid, answer: unknown},
		"/subscribe\na b":            {verb: invalid, answer: unknown},
	} {
		if got := parse(line); got != want {
			t.Errorf("parse(%q) = %+v, want %+v", line, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("/subscribe a b")
	f.Add(" /unsubscribe-all")
	f.Fuzz(func(t *testing.T, line string) {
		c := parse(line)
		if command := strings.HasPrefix(strings.TrimSpace(line), "/"); command != (c.verb != ignore) {
			t.Errorf("parse(%q) = %+v", line, c)
		}
		if (c.answer != "") != (c.verb == invalid || c.verb == subscribeWithoutToken) || strings.ContainsAny(c.token, " ") {
			t.Errorf("parse(%q) = %+v", line, c)
		}
		if c.verb == subscribe {
			answer := denied(c.topic, pubsub.Errorf(pubsub.TopicInvalid, "no"))
			if strings.ContainsAny(answer, "\n\x00") || !utf8.ValidString(answer) {
				t.Errorf("denied(%q) = %q, want one line of UTF-8", c.topic, answer)
			}
		}
	})
}
