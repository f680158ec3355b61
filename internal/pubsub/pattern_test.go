package pubsub_test

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/ikornaselur/notiflux/internal/pubsub"
)

func TestParsePattern(t *testing.T) {
	longest := strings.Repeat("x", pubsub.MaxTopicBytes) + "*"
	for _, s := range []string{"*", "**", "a*", "a*b*", "chat:*", "ä*", " *", longest} {
		if p, err := pubsub.ParsePattern(s); err != nil || string(p) != s {
			t.Errorf("ParsePattern(%q) = %q, %v", s, p, err)
		}
	}
	for s, detail := range map[string]string{
		"":            "does not end with *",
		"a":           "does not end with *",
		"*a":          "does not end with *",
		"a* ":         "does not end with *",
		"a\x00*":      "control character",
		"a\xff*":      "not UTF-8 at byte 1",
		"x" + longest: "256 bytes; the limit is 255",
	} {
		p, err := pubsub.ParsePattern(s)
		if err == nil || pubsub.Refusal(err).Code != pubsub.TopicInvalid || !strings.Contains(err.Error(), detail) {
			t.Errorf("ParsePattern(%q) = %q, %v; want an error with %q", s, p, err, detail)
		}
	}
}

func TestPatternIsLiteral(t *testing.T) {
	for _, c := range []struct {
		pattern pubsub.Pattern
		topic   pubsub.Topic
		want    bool
	}{
		{"user:1*", "user:1", true},
		{"user:1*", "user:10", true},
		{"user:1*", "user:2", false},
		{"a*b*", "a*bc", true},
		{"a*b*", "axbc", false},
		{"**", "*", true},
		{"**", "a", false},
		{"*", "a", true},
		{"A*", "a", false},
	} {
		if got := c.pattern.Matches(c.topic); got != c.want {
			t.Errorf("%q matches %q: %t, want %t", c.pattern, c.topic, got, c.want)
		}
	}
}

// Patterns match what one of the list matches.
func TestPatternsMatch(t *testing.T) {
	text := rapid.StringMatching(`[ab*]{0,4}`)
	rapid.Check(t, func(t *rapid.T) {
		list := make([]pubsub.Pattern, 0, 8)
		for _, prefix := range rapid.SliceOfN(text, 0, 8).Draw(t, "prefixes") {
			list = append(list, pubsub.Pattern(prefix+"*"))
		}
		before := slices.Clone(list)
		patterns := pubsub.NewPatterns(list)
		if !slices.Equal(list, before) {
			t.Fatalf("NewPatterns changed its argument from %q to %q", before, list)
		}
		topic := pubsub.Topic(text.Draw(t, "topic"))
		want := slices.ContainsFunc(list, func(p pubsub.Pattern) bool { return p.Matches(topic) })
		if got := patterns.Match(topic); got != want {
			t.Fatalf("%q made of %q match %q: %t, want %t", patterns, list, topic, got, want)
		}
		other := pubsub.Pattern(text.Draw(t, "other") + "*")
		for _, p := range list {
			if p.Contains(other) && !p.Matches(pubsub.Topic(other[:len(other)-1]+"x")) {
				t.Fatalf("%q contains %q, but does not match a topic that this one matches", p, other)
			}
		}
	})
}
