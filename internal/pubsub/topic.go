package pubsub

import "unicode/utf8"

// MaxTopicBytes is the length of the longest topic, in bytes of UTF-8.
const MaxTopicBytes = 255

// A Topic is a name that messages are published to. Two topics are equal if their bytes
// are: case and Unicode normalization matter, and dots and stars have no meaning.
type Topic string

// ParseTopic returns s as a Topic. It returns an [Error] with [TopicInvalid] if s is empty,
// longer than [MaxTopicBytes], not UTF-8, or contains a control character (U+0000–U+001F,
// U+007F–U+009F).
func ParseTopic(s string) (Topic, error) {
	switch {
	case s == "":
		return "", Errorf(TopicInvalid, "the topic is empty")
	case len(s) > MaxTopicBytes:
		return "", Errorf(TopicInvalid, "the topic has %d bytes; the limit is %d", len(s), MaxTopicBytes)
	}
	for i, r := range s {
		if r == utf8.RuneError {
			if _, n := utf8.DecodeRuneInString(s[i:]); n == 1 {
				return "", Errorf(TopicInvalid, "the topic is not UTF-8 at byte %d", i)
			}
		}
		if r < 0x20 || 0x7f <= r && r < 0xa0 {
			return "", Errorf(TopicInvalid, "the topic has the control character %U at byte %d", r, i)
		}
	}
	return Topic(s), nil
}
