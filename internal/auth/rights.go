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

// bytes returns the approximate memory that the lists take.
func (r *rights) bytes() int { return bytesOf(r.topics) + bytesOf(r.patterns) }

func bytesOf[T ~string](names []T) (n int) {
	const perName = 16 // the header of a string
	for _, name := range names {
		n += perName + len(name)
	}
	return n
}

// addTopics returns a [pubsub.Error] with TopicInvalid if a name is invalid.
func (r *rights) addTopics(names ...string) (err error) {
	r.topics, err = pubsub.AppendParsed(r.topics, names, pubsub.ParseTopic)
	return err
}

// addPatterns returns a [pubsub.Error] with TopicInvalid if a pattern is invalid.
func (r *rights) addPatterns(texts ...string) (err error) {
	r.patterns, err = pubsub.AppendParsed(r.patterns, texts, pubsub.ParsePattern)
	return err
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
		switch {
		case name != "topics" && name != "patterns":
			err = invalid("%s in the token has the member %q: it must have only topics and patterns", m.name, name)
		case value.Kind() == jsontext.KindNull: // absent
		case name == "topics":
			err = list.topics(&r)
		default:
			err = list.patterns(&r)
		}
		if err != nil {
			return r, err
		}
	}
	return r, nil
}

// topics adds the value, which must be a list of topics, to r.
func (m member) topics(r *rights) error {
	names, err := m.texts()
	if err != nil {
		return err
	}
	return invalidTopic(r.addTopics(names...))
}

// invalidTopic returns the error for a token with a topic that addTopics refused, or nil if
// err is nil.
func invalidTopic(err error) error {
	if err == nil {
		return nil
	}
	return invalid("a topic in the token is invalid: %s", pubsub.Refusal(err).Detail)
}

// patterns adds the value, which must be a list of patterns, to r.
func (m member) patterns(r *rights) error {
	texts, err := m.texts()
	if err != nil {
		return err
	}
	if err := r.addPatterns(texts...); err != nil {
		return invalid("a pattern in the token is invalid: %s", pubsub.Refusal(err).Detail)
	}
	return nil
}

// allowPattern does what [Claims.Allow] does for all topics that p matches.
func (c *Claims) allowPattern(scope Scope, p pubsub.Pattern) error {
	switch {
	case scope == Subscribe && c.public != nil && c.public.patterns.Contain(p):
		return nil
	case c.anonymous:
		return errTokenMissing
	case !c.Has(scope):
		return pubsub.Errorf(pubsub.ScopeDenied, "the token does not have the scope %s", string(scope))
	case c.rare != nil && (c.scopes&scope.bit() != 0 && c.rare.patterns.Contain(p) || c.rare.of(scope).patterns.Contain(p)):
		return nil
	}
	return pubsub.Errorf(pubsub.TopicDenied, "the token does not allow this pattern: one of its patterns must be the same or contain it, as campaign:* contains campaign:7:*")
}
