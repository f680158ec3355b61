package config

import (
	"cmp"
	"slices"
	"strings"

	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// Topics finds the settings of a topic. It is immutable.
type Topics struct {
	others   *TopicSettings // of topics without a section
	literal  map[pubsub.Topic]*TopicSettings
	patterns []topicPattern // sorted by prefix
}

// A topicPattern is the section of a pattern.
type topicPattern struct {
	prefix   string
	settings *TopicSettings
	shorter  int // index of the longest other pattern that matches all its topics; -1: there is none
}

// Topics returns the settings of all topics, from the sections of c, which must be valid.
func (c *Serve) Topics() *Topics {
	t := &Topics{others: c.settings(nil), literal: map[pubsub.Topic]*TopicSettings{}}
	for i := range c.Sections {
		s := &c.Sections[i]
		if prefix, ok := strings.CutSuffix(s.Topic, "*"); ok {
			t.patterns = append(t.patterns, topicPattern{prefix: prefix, settings: c.settings(s)})
		} else {
			t.literal[pubsub.Topic(s.Topic)] = c.settings(s)
		}
	}
	slices.SortFunc(t.patterns, func(a, b topicPattern) int { return cmp.Compare(a.prefix, b.prefix) })
	for i := range t.patterns {
		// Sorted, a prefix comes before the strings that begin with it.
		shorter := i - 1
		for shorter >= 0 && !strings.HasPrefix(t.patterns[i].prefix, t.patterns[shorter].prefix) {
			shorter = t.patterns[shorter].shorter
		}
		t.patterns[i].shorter = shorter
	}
	return t
}

// Same reports whether all topics have the same settings.
func (t *Topics) Same() bool { return len(t.literal)+len(t.patterns) == 0 }

// All returns every different settings that topics may have.
func (t *Topics) All() []*TopicSettings {
	all := []*TopicSettings{t.others}
	for _, s := range t.literal {
		all = append(all, s)
	}
	for _, p := range t.patterns {
		all = append(all, p.settings)
	}
	return all
}

// ForTopic returns the settings of a topic. They are those of the section of exactly this
// topic, else those of the longest pattern that matches it, else those of the server: what a
// section does not set is never taken from another section. Callers must not change the
// result.
func (t *Topics) ForTopic(name pubsub.Topic) *TopicSettings {
	if t.Same() {
		return t.others
	}
	if s := t.literal[name]; s != nil {
		return s
	}
	// The last prefix that is not after name begins with every prefix that name begins with.
	i, _ := slices.BinarySearchFunc(t.patterns, string(name), func(p topicPattern, name string) int {
		if p.prefix <= name {
			return -1
		}
		return 1
	})
	for i--; i >= 0; i = t.patterns[i].shorter {
		if strings.HasPrefix(string(name), t.patterns[i].prefix) {
			return t.patterns[i].settings
		}
	}
	return t.others
}
