package wire_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/ikornaselur/notiflux"
	"github.com/ikornaselur/notiflux/internal/wire"
)

func TestParseText(t *testing.T) {
	const invalid = "Invalid subscribe command, it should be: /subscribe <topic> <token>"
	const unknown = "Unknown command"
	for line, want := range map[string]wire.Command{
		"":                           {Verb: wire.Ignore},
		"hello":                      {Verb: wire.Ignore},
		"subscribe a b":              {Verb: wire.Ignore},
		"/subscribe a b":             {Verb: wire.Subscribe, Topic: "a", Token: "b"},
		" \t/subscribe a b\r\n":      {Verb: wire.Subscribe, Topic: "a", Token: "b"},
		"\u00a0/unsubscribe a\u3000": {Verb: wire.Unsubscribe, Topic: "a"},
		"/subscribe  b":              {Verb: wire.Subscribe, Topic: "", Token: "b"},
		"/subscribe":                 {Verb: wire.Invalid, Answer: invalid},
		"/subscribe a":               {Verb: wire.Invalid, Answer: invalid},
		"/subscribe a b c":           {Verb: wire.Invalid, Answer: invalid},
		"/subscribe a  b":            {Verb: wire.Invalid, Answer: invalid},
		"/unsubscribe a":             {Verb: wire.Unsubscribe, Topic: "a"},
		"/unsubscribe a b":           {Verb: wire.Unsubscribe, Topic: "a b"},
		"/unsubscribe  a":            {Verb: wire.Unsubscribe, Topic: " a"},
		"/unsubscribe":               {Verb: wire.Invalid, Answer: unknown},
		"/unsubscribe-all":           {Verb: wire.UnsubscribeAll},
		"/unsubscribe-all a":         {Verb: wire.Invalid, Answer: unknown},
		"/":                          {Verb: wire.Invalid, Answer: unknown},
		"//subscribe a b":            {Verb: wire.Invalid, Answer: unknown},
		"/Subscribe a b":             {Verb: wire.Invalid, Answer: unknown},
		"/subscribe\na b":            {Verb: wire.Invalid, Answer: unknown},
	} {
		if got := wire.ParseText(line); got != want {
			t.Errorf("ParseText(%q) = %+v, want %+v", line, got, want)
		}
	}
}

func FuzzParseText(f *testing.F) {
	f.Add("/subscribe a b")
	f.Add(" /unsubscribe-all")
	f.Fuzz(func(t *testing.T, line string) {
		c := wire.ParseText(line)
		if command := strings.HasPrefix(strings.TrimSpace(line), "/"); command != (c.Verb != wire.Ignore) {
			t.Errorf("ParseText(%q) = %+v", line, c)
		}
		if (c.Answer != "") != (c.Verb == wire.Invalid) || strings.ContainsAny(c.Token, " ") {
			t.Errorf("ParseText(%q) = %+v", line, c)
		}
		if c.Verb == wire.Subscribe {
			answer := wire.Denied(c.Topic, notiflux.Errorf(notiflux.TopicInvalid, "no"))
			if strings.ContainsAny(answer, "\n\x00") || !utf8.ValidString(answer) {
				t.Errorf("Denied(%q) = %q, want one line of UTF-8", c.Topic, answer)
			}
		}
	})
}
