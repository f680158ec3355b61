package wire

import (
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// The functions in this file append JSON objects that the server sends, compact and without
// framing: those of several dialects, and those of HTTP answers.

// A SubscribedTopic says where the delivery of a topic begins.
type SubscribedTopic struct {
	Topic     pubsub.Topic
	Position  pubsub.Position // the client gets every message after it
	Recovered bool            // the client misses no message after its resume point
	Replay    int             // how many stored messages follow
}

// AppendSubscribedTopics appends the member `topics`, with a comma in front.
func AppendSubscribedTopics(dst []byte, topics []SubscribedTopic) []byte {
	dst = append(dst, `,"topics":{`...)
	for i, b := range topics {
		dst = AppendString(AppendComma(dst, i), string(b.Topic))
		dst = append(dst, `:{"position":`...)
		dst = AppendPosition(dst, b.Position)
		dst = append(dst, `,"recovered":`...)
		dst = strconv.AppendBool(dst, b.Recovered)
		dst = AppendInt(dst, `,"replay":`, int64(b.Replay))
		dst = append(dst, '}')
	}
	return append(dst, '}')
}

// AppendUnsubscribed appends the event that the server ended subscriptions.
func AppendUnsubscribed(dst []byte, topics []pubsub.Topic, code pubsub.Code) []byte {
	return AppendStruct(dst, struct {
		Type   string         `json:"type"`
		Topics []pubsub.Topic `json:"topics"`
		Code   pubsub.Code    `json:"code"`
	}{"unsubscribed", topics, code})
}

// AppendPublished appends the result of a published message in an HTTP answer.
func AppendPublished(dst []byte, topic pubsub.Topic, position pubsub.Position) []byte {
	dst = append(dst, `{"topic":`...)
	dst = AppendString(dst, string(topic))
	dst = append(dst, `,"position":`...)
	return append(AppendPosition(dst, position), '}')
}

// AppendFailed appends the result of one message of a batch that was not published in an
// HTTP answer. topic is as the publisher sent it; it is left out if empty.
func AppendFailed(dst []byte, topic string, err *pubsub.Error) []byte {
	return AppendStruct(dst, struct {
		Topic string  `json:"topic,omitzero"`
		Error Refusal `json:"error"`
	}{topic, Refusal{err.Code, err.Detail}})
}

// AppendHistoryBodyStart appends what comes before the messages in the body of an HTTP
// answer to GET /history.
func AppendHistoryBodyStart(dst []byte) []byte {
	return append(append(dst, '{'), messagesStart...)
}

// A HistoryEnd is what a page of a history says after its messages.
type HistoryEnd struct {
	Position  pubsub.Position // from where to read the next page, or to subscribe
	Recovered bool            // no message is missing between the resume point and the first message
	More      bool            // there are messages after Position
}

// AppendHistoryEnd appends what comes after the messages of a page of a history.
func AppendHistoryEnd(dst []byte, p HistoryEnd) []byte {
	dst = append(dst, `],"position":`...)
	dst = AppendPosition(dst, p.Position)
	dst = append(dst, `,"recovered":`...)
	dst = strconv.AppendBool(dst, p.Recovered)
	dst = append(dst, `,"more":`...)
	return append(strconv.AppendBool(dst, p.More), '}')
}

// AppendPollStart appends what comes before the messages in the answer to a poll: the stream
// cursor after them, and whether no message is missing before them.
func AppendPollStart(dst, cursor []byte, recovered bool) []byte {
	dst = append(append(dst, `{"cursor":"`...), cursor...)
	dst = append(dst, `","recovered":`...)
	dst = append(strconv.AppendBool(dst, recovered), ',')
	return append(dst, messagesStart...)
}

// AppendPollEnd appends what comes after the messages in the answer to a poll: whether there
// are more messages after its cursor.
func AppendPollEnd(dst []byte, more bool) []byte {
	dst = append(dst, `],"more":`...)
	return append(strconv.AppendBool(dst, more), '}')
}

const messagesStart = `"messages":[`

// AppendSkipped appends the event that a client in mode latest does not get the messages
// after from, up to and including to.
func AppendSkipped(dst []byte, topic pubsub.Topic, from, to pubsub.Position) []byte {
	dst = append(dst, `{"type":"skipped","topic":`...)
	dst = AppendString(dst, string(topic))
	dst = append(dst, `,"from":`...)
	dst = AppendPosition(dst, from)
	dst = append(dst, `,"to":`...)
	return append(AppendPosition(dst, to), '}')
}

// AppendGap appends the event that messages were lost. Delivery continues after position.
func AppendGap(dst []byte, topic pubsub.Topic, position pubsub.Position) []byte {
	dst = append(dst, `{"type":"gap"`...)
	return append(AppendTopicPosition(dst, topic, position), '}')
}

// AppendBye appends the last object of a connection: why the server closes it, and after how
// long the client should reconnect, to the millisecond.
func AppendBye(dst []byte, code pubsub.Code, after time.Duration) []byte {
	dst = append(dst, `{"type":"bye","code":`...)
	dst = AppendString(dst, string(code))
	return append(AppendInt(dst, `,"after":`, after.Milliseconds()), '}')
}

// A Refusal is an error inside of an answer.
type Refusal struct {
	Code    pubsub.Code `json:"code"`
	Message string      `json:"message"`
}

// AppendStruct appends a struct as a JSON object, with its members in the order of its
// fields. It is for objects that are rare; those of each delivery or publication are put
// together by hand.
func AppendStruct(dst []byte, v any) []byte {
	// There is no error: U+FFFD stands for bytes that are not UTF-8.
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
