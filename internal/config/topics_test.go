package config_test

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/ikornaselur/notiflux/internal/config"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// longest returns the name of the section that a topic gets: looking at all of them.
func longest(sections []config.Section, topic string) (best string) {
	for _, s := range sections {
		prefix, pattern := strings.CutSuffix(s.Topic, "*")
		switch {
		case !pattern && s.Topic == topic:
			return s.Topic
		case pattern && strings.HasPrefix(topic, prefix) && len(s.Topic) > len(best):
			best = s.Topic
		}
	}
	return best
}

func TestLongestSectionWins(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringMatching(`[ab*]{1,6}`)
		names := rapid.SliceOfNDistinct(name, 0, 30, rapid.ID[string]).Draw(t, "sections")
		c := config.Default()
		for i, n := range names {
			c.Sections = append(c.Sections, config.Section{Topic: n, HistoryMessages: new(i + 1)})
		}
		topics := c.Topics()
		if all := topics.All(); len(all) != len(names)+1 || topics.Same() != (len(names) == 0) {
			t.Fatalf("%d sections give %d settings, the same for all: %v", len(names), len(all), topics.Same())
		}
		for range 20 {
			topic := name.Draw(t, "topic")
			want, messages := longest(c.Sections, topic), c.HistoryMessages
			if i := slices.Index(names, want); i >= 0 {
				messages = i + 1
			}
			if got := topics.ForTopic(pubsub.Topic(topic)); got.Section != want || got.HistoryMessages != messages {
				t.Fatalf("among %q, %q has the section %q with %d messages; want %q with %d", names, topic, got.Section, got.HistoryMessages, want, messages)
			}
		}
	})
}

// A section is used as it is: it takes nothing from a shorter one.
func TestSectionsAreNotMixed(t *testing.T) {
	off := config.Switch(false)
	c := config.Default()
	c.HistoryMessages = 7
	c.Sections = []config.Section{{Topic: "a*", HistoryMessages: new(1), Presence: &off}, {Topic: "a:*", MaxMessageBytes: new(config.KiB)}}
	got := c.Topics().ForTopic("a:b")
	if got.Section != "a:*" || got.HistoryMessages != 7 || !got.Presence || got.MaxMessageBytes != config.KiB {
		t.Errorf("a:b has %+v", got)
	}
}

func TestFindingSettingsDoesNotAllocate(t *testing.T) {
	c := config.Default()
	for _, name := range []string{"a", "a*", "ab*", "abc*", "b*"} {
		c.Sections = append(c.Sections, config.Section{Topic: name})
	}
	topics := c.Topics()
	if n := testing.AllocsPerRun(100, func() { topics.ForTopic("abcd"); topics.ForTopic("z") }); n > 0 {
		t.Errorf("ForTopic allocates %v times", n)
	}
}
