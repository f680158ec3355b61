package auth

import (
	"slices"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/strictjson"
)

const (
	maxTopics   = 1000 // of one token
	maxPatterns = 100  // of one token
)

// Rights are topics that a token allows, by name and by pattern.
type rights struct {
	topics   []pubsub.Topic // sorted, without duplicates
	patterns pubsub.Patterns
}

func (r *rights) allow(topic pubsub.Topic) bool {
	_, ok := slices.BinarySearch(r.topics, topic)
	return ok || r.patterns.Match(topic)
}

func (r *rights) isEmpty() bool { return len(r.topics)+len(r.patterns) == 0 }

func (r *rights) addTopics(names ...string) error {
	for _, name := range names {
		topic, err := pubsub.ParseTopic(name)
		if err != nil {
			return invalid("a topic in the token is invalid: %s", pubsub.Refusal(err).Detail)
		}
		r.topics = append(r.topics, topic)
	}
	return nil
}

func (r *rights) addPatterns(texts ...string) error {
	for _, text := range texts {
		pattern, err := pubsub.ParsePattern(text)
		if err != nil {
			return invalid("a pattern in the token is invalid: %s", pubsub.Refusal(err).Detail)
		}
		r.patterns = append(r.patterns, pattern)
	}
	return nil
}

// normalize brings r, whose lists may have any order and duplicates, into the form that its
// methods expect.
func (r *rights) normalize() {
	slices.Sort(r.topics)
	r.topics = slices.Compact(r.topics)
	r.patterns = pubsub.NewPatterns(r.patterns)
}

// rights returns the value, which must be an object with lists of topics and patterns. It
// refuses other members, because they may be meant to restrict what the lists allow.
func (m member) rights() (r rights, err error) {
	if m.value.Kind() != jsontext.KindBeginObject {
		return r, invalid("%s in the token must be an object with topics, patterns, or both", m.name)
	}
	for name, value := range strictjson.Members(m.value) {
		list := member{m.name + "." + name, value, m.reader}
		var texts []string
		switch {
		case name != "topics" && name != "patterns":
			err = invalid("%s in the token has the member %q: it must have only topics and patterns", m.name, name)
		case value.Kind() == jsontext.KindNull: // absent
		case name == "topics":
			if texts, err = list.texts(); err == nil {
				err = r.addTopics(texts...)
			}
		default:
			if texts, err = list.texts(); err == nil {
				err = r.addPatterns(texts...)
			}
		}
		if err != nil {
			return r, err
		}
	}
	return r, nil
}
