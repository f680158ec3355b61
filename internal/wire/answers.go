package wire

import (
	"slices"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// The functions in this file append JSON objects that the server sends in several dialects
// or in HTTP answers. The objects are compact and without framing.

// A SubscribedTopic says where the delivery of a topic, or of the topic of a pattern, begins.
type SubscribedTopic struct {
	Topic     pubsub.Topic
	Position  pubsub.Position // the client gets every message after it
	Recovered bool            // the client misses no message after its resume point
	Replay    int             // number of stored messages that follow
}

// AppendSubscribedTopics appends the member `topics`, and, if there are any, `patterns`, with a
// comma in front of each.
func AppendSubscribedTopics(dst []byte, topics []SubscribedTopic) []byte {
	isPattern := func(b SubscribedTopic) bool { return b.Topic.IsPattern() }
	if !slices.ContainsFunc(topics, isPattern) {
		return appendBeginnings(dst, `,"topics":{`, topics)
	}
	patterns := slices.DeleteFunc(slices.Clone(topics), func(b SubscribedTopic) bool { return !isPattern(b) })
	dst = appendBeginnings(dst, `,"topics":{`, slices.DeleteFunc(slices.Clone(topics), isPattern))
	return appendBeginnings(dst, `,"patterns":{`, patterns)
}

func appendBeginnings(dst []byte, start string, topics []SubscribedTopic) []byte {
	dst = append(dst, start...)
	for i, b := range topics {
		dst = AppendString(AppendComma(dst, i), b.Topic.Shown())
		dst = append(dst, `:{"position":`...)
		dst = AppendPosition(dst, b.Position)
		dst = append(dst, `,"recovered":`...)
		dst = strconv.AppendBool(dst, b.Recovered)
		dst = AppendInt(dst, `,"replay":`, int64(b.Replay))
		dst = append(dst, '}')
	}
	return append(dst, '}')
}

// AppendUnsubscribed appends the event for subscriptions that the server has ended.
func AppendUnsubscribed(dst []byte, topics []pubsub.Topic, code pubsub.Code) []byte {
	names, patterns := SplitPatterns(topics)
	return AppendStruct(dst, struct {
		Type     string         `json:"type"`
		Topics   []pubsub.Topic `json:"topics"`
		Patterns []string       `json:"patterns,omitempty"`
		Code     pubsub.Code    `json:"code"`
	}{"unsubscribed", names, patterns, code})
}

// SplitPatterns returns the names of topics, and the patterns whose topics are among them.
func SplitPatterns(topics []pubsub.Topic) (names []pubsub.Topic, patterns []string) {
	if !slices.ContainsFunc(topics, pubsub.Topic.IsPattern) {
		return topics, nil
	}
	names = make([]pubsub.Topic, 0, len(topics))
	for _, name := range topics {
		if name.IsPattern() {
			patterns = append(patterns, name.Shown())
		} else {
			names = append(names, name)
		}
	}
	return names, patterns
}

// AppendPatternPosition appends the event that says that the client has been sent every message
// of a pattern up to a position.
func AppendPatternPosition(dst []byte, p pubsub.Pattern, position pubsub.Position) []byte {
	return appendPatternPosition(append(dst, `{"type":"position"`...), p, position)
}

func appendPatternPosition(dst []byte, p pubsub.Pattern, position pubsub.Position) []byte {
	dst = AppendString(append(dst, `,"pattern":`...), string(p))
	dst = append(dst, `,"position":`...)
	return append(AppendPosition(dst, position), '}')
}

// AppendPublished appends the result of a published message in an HTTP answer.
func AppendPublished(dst []byte, topic pubsub.Topic, position pubsub.Position) []byte {
	dst = append(dst, `{"topic":`...)
	dst = AppendString(dst, string(topic))
	dst = append(dst, `,"position":`...)
	return append(AppendPosition(dst, position), '}')
}

// AppendFailed appends the result of a message that was not published, as part of the HTTP
// answer to a batch. topic is what the publisher sent; an empty one is omitted.
func AppendFailed(dst []byte, topic string, err *pubsub.Error) []byte {
	return AppendStruct(dst, struct {
		Topic string  `json:"topic,omitzero"`
		Error Refusal `json:"error"`
	}{topic, Refusal{err.Code, err.Detail}})
}

// AppendHistoryBodyStart appends the beginning of the answer to GET /history, up to the
// messages.
func AppendHistoryBodyStart(dst []byte) []byte {
	return append(append(dst, '{'), messagesStart...)
}

// A HistoryEnd holds the values that follow the messages of a history page.
type HistoryEnd struct {
	Position  pubsub.Position // where the next page or a subscription continues
	Recovered bool            // no message is missing between the resume point and the first message
	More      bool            // there are messages after Position
}

// AppendHistoryEnd appends the end of a history page, after the messages.
func AppendHistoryEnd(dst []byte, p HistoryEnd) []byte {
	dst = append(dst, `],"position":`...)
	dst = AppendPosition(dst, p.Position)
	dst = append(dst, `,"recovered":`...)
	dst = strconv.AppendBool(dst, p.Recovered)
	dst = append(dst, `,"more":`...)
	return append(strconv.AppendBool(dst, p.More), '}')
}

// AppendPollStart appends the beginning of the answer to a poll, up to the messages. cursor
// is the stream cursor after them. recovered says that no message is missing before them.
// places, unless it is empty, says where the answer begins in each topic.
func AppendPollStart(dst, cursor []byte, recovered bool, places []SubscribedTopic) []byte {
	dst = append(append(dst, `{"cursor":"`...), cursor...)
	dst = append(dst, `","recovered":`...)
	dst = strconv.AppendBool(dst, recovered)
	if len(places) > 0 {
		dst = AppendSubscribedTopics(dst, places)
	}
	dst = append(dst, ',')
	return append(dst, messagesStart...)
}

// AppendPollEnd appends the end of the answer to a poll, after the messages. more says that
// more messages follow its cursor.
func AppendPollEnd(dst []byte, more bool) []byte {
	dst = append(dst, `],"more":`...)
	return append(strconv.AppendBool(dst, more), '}')
}

const messagesStart = `"messages":[`

// AppendSkipped appends the event for messages that a client in mode latest does not get:
// those after from, up to and including to.
func AppendSkipped(dst []byte, topic pubsub.Topic, from, to pubsub.Position) []byte {
	dst = append(dst, `{"type":"skipped","topic":`...)
	dst = AppendString(dst, string(topic))
	dst = append(dst, `,"from":`...)
	dst = AppendPosition(dst, from)
	dst = append(dst, `,"to":`...)
	return append(AppendPosition(dst, to), '}')
}

// AppendGap appends the event for lost messages of a topic or a pattern topic. Delivery continues
// after position.
func AppendGap(dst []byte, topic pubsub.Topic, position pubsub.Position) []byte {
	dst = append(dst, `{"type":"gap"`...)
	if p, ok := topic.Pattern(); ok {
		return appendPatternPosition(dst, p, position)
	}
	return append(AppendTopicPosition(dst, topic, position), '}')
}

// AppendBye appends the last object of a connection: why the server closes it, and how long
// the client should wait before it reconnects, in milliseconds.
func AppendBye(dst []byte, code pubsub.Code, after time.Duration) []byte {
	dst = append(dst, `{"type":"bye","code":`...)
	dst = AppendString(dst, string(code))
	return append(AppendInt(dst, `,"after":`, after.Milliseconds()), '}')
}

// A Refusal is an error inside an answer.
type Refusal struct {
	Code    pubsub.Code `json:"code"`
	Message string      `json:"message"`
}

// AppendStruct appends a struct as a JSON object, with its members in the order of its
// fields. It is for objects that are rare. The functions for frequent ones do not use
// reflection.
func AppendStruct(dst []byte, v any) []byte {
	// No error is possible: U+FFFD replaces bytes that are not UTF-8.
	object, _ := json.Marshal(v, jsontext.AllowInvalidUTF8(true))
	return appendJSON(dst, object)
}

// AppendTopicPosition appends the members `topic` and `position`, with a comma in front.
func AppendTopicPosition(dst []byte, topic pubsub.Topic, position pubsub.Position) []byte {
	dst = append(dst, `,"topic":`...)
	dst = AppendString(dst, string(topic))
	dst = append(dst, `,"position":`...)
	return AppendPosition(dst, position)
}

// AppendInt appends before and then n.
func AppendInt(dst []byte, before string, n int64) []byte {
	return strconv.AppendInt(append(dst, before...), n, 10)
}

// AppendComma appends the comma before element i of a list.
func AppendComma(dst []byte, i int) []byte {
	if i > 0 {
		return append(dst, ',')
	}
	return dst
}
