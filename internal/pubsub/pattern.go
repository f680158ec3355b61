package pubsub

import (
	"cmp"
	"slices"
	"strings"
)

// A Pattern is the beginning of a topic followed by `*`. The pattern `chat:*` matches every
// topic that begins with `chat:`. The bytes before the last `*` have no meaning of their own,
// even if they are stars.
type Pattern string

// AllTopics is the pattern that matches every topic.
const AllTopics Pattern = "*"

// ParsePattern returns s as a Pattern. It returns an [Error] with [TopicInvalid] if s does not
// end with `*`, or if no topic can begin with the text before it.
func ParsePattern(s string) (Pattern, error) {
	prefix, ok := strings.CutSuffix(s, "*")
	if !ok {
		return "", Errorf(TopicInvalid, "the pattern does not end with *: a pattern is the beginning of a topic followed by *")
	}
	if prefix != "" {
		if _, err := ParseTopic(prefix); err != nil {
			return "", Errorf(TopicInvalid, "before the * of the pattern, %s", Refusal(err).Detail)
		}
	}
	return Pattern(s), nil
}

func (p Pattern) prefix() string { return string(p[:len(p)-1]) }

// Matches reports whether topic begins with the text before the `*` of p.
func (p Pattern) Matches(topic Topic) bool { return strings.HasPrefix(string(topic), p.prefix()) }

// Contains reports whether p matches every topic that q matches.
func (p Pattern) Contains(q Pattern) bool { return strings.HasPrefix(q.prefix(), p.prefix()) }

// Patterns are sorted, and none of them contains another one. [NewPatterns] makes them.
type Patterns []Pattern

// NewPatterns returns the patterns that match the same topics as list.
func NewPatterns(list []Pattern) (ps Patterns) {
	// Sorted, a pattern comes before those that it contains, and these follow it directly.
	for _, p := range slices.SortedFunc(slices.Values(list), comparePrefixes) {
		if len(ps) == 0 || !ps[len(ps)-1].Contains(p) {
			ps = append(ps, p)
		}
	}
	return ps
}

func comparePrefixes(p, q Pattern) int { return cmp.Compare(p.prefix(), q.prefix()) }

// All reports whether the patterns match every topic.
func (ps Patterns) All() bool { return len(ps) == 1 && ps[0] == AllTopics }

// Match reports whether one of the patterns matches topic.
func (ps Patterns) Match(topic Topic) bool {
	// Only the last pattern whose prefix is not after topic can match. Any other pattern that
	// matches would contain it.
	i, _ := slices.BinarySearchFunc(ps, string(topic), func(p Pattern, topic string) int {
		if p.prefix() <= topic {
			return -1
		}
		return 1
	})
	return i > 0 && ps[i-1].Matches(topic)
}

// Contain reports whether one of the patterns contains p.
func (ps Patterns) Contain(p Pattern) bool { return ps.Match(Topic(p.prefix())) }

// patternPrefix begins the names of the topics of patterns. No valid topic name begins with it.
const patternPrefix = "\x01"

// Topic returns the name under which the server handles p as a topic: it holds the messages of
// all topics that p matches. Clients never see it.
func (p Pattern) Topic() Topic { return Topic(patternPrefix + p) }

// IsPattern reports whether t is a result of [Pattern.Topic].
func (t Topic) IsPattern() bool { return strings.HasPrefix(string(t), patternPrefix) }

// Pattern returns the pattern whose [Pattern.Topic] is t. It returns false if there is none.
func (t Topic) Pattern() (p Pattern, ok bool) {
	text, ok := strings.CutPrefix(string(t), patternPrefix)
	return Pattern(text), ok
}

// Shown returns t as clients know it: that of a pattern is the pattern.
func (t Topic) Shown() string { return strings.TrimPrefix(string(t), patternPrefix) }

// AppendParsed parses texts with [ParseTopic] or [ParsePattern], and appends the results to
// list. It returns nil and the first error if there is one.
func AppendParsed[T Topic | Pattern](list []T, texts []string, parse func(string) (T, error)) ([]T, error) {
	for _, text := range texts {
		parsed, err := parse(text)
		if err != nil {
			return nil, err
		}
		list = append(list, parsed)
	}
	return list, nil
}
