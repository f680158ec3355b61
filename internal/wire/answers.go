package wire

import (
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/ikornaselur/notiflux"
)

// The functions in this file append the JSON objects that the server sends, compact and
// without framing. They leave out an id of NoID.

// A Welcome is the first object that a client of the JSON protocol gets.
type Welcome struct {
	Connection  string        `json:"connection"` // names the connection
	Version     string        `json:"version"`    // of the server
	PingSeconds int           `json:"ping"`       // between two pings of the server
	Limits      WelcomeLimits `json:"limits"`
}

// WelcomeLimits are the limits that a client should keep within.
type WelcomeLimits struct {
	MessageBytes      int `json:"message"` // of a published message
	CommandBytes      int `json:"command"` // of a text message of the client
	Topics            int `json:"topics"`  // of the connection
	TopicsPerCommand  int `json:"topicsPerCommand"`
	CommandsPerSecond int `json:"commandsPerSecond"` // in the long run
}

// AppendWelcome appends the object that greets a connection.
func AppendWelcome(dst []byte, w Welcome) []byte {
	return appendStruct(dst, struct {
		Type string `json:"type"`
		Welcome
	}{"welcome", w})
}

// A SubscribedTopic says where the delivery of a topic begins.
type SubscribedTopic struct {
	Topic     notiflux.Topic
	Position  notiflux.Position // the client gets every message after it
	Recovered bool              // the client misses no message after its resume point
	Replay    int               // how many stored messages follow
}

// AppendSubscribed appends the answer to a subscribe command: the topics that the client is
// subscribed to, and those that were refused, each in the order given.
func AppendSubscribed(dst []byte, id ID, topics []SubscribedTopic, refused []RefusedTopic) []byte {
	dst = appendType(dst, "subscribed", id)
	dst = appendSubscribedTopics(dst, topics)
	if len(refused) > 0 {
		dst = append(dst, `,"refused":{`...)
		for i, r := range refused {
			dst = appendString(appendComma(dst, i), r.Topic)
			dst = appendStruct(append(dst, ':'), refusal{r.Err.Code, r.Err.Detail})
		}
		dst = append(dst, '}')
	}
	return append(dst, '}')
}

// AppendHello appends the first object of a stream.
func AppendHello(dst []byte, connection string, topics []SubscribedTopic) []byte {
	dst = append(dst, `{"type":"hello","connection":`...)
	dst = appendString(dst, connection)
	return append(appendSubscribedTopics(dst, topics), '}')
}

func appendSubscribedTopics(dst []byte, topics []SubscribedTopic) []byte {
	dst = append(dst, `,"topics":{`...)
	for i, b := range topics {
		dst = appendString(appendComma(dst, i), string(b.Topic))
		dst = append(dst, `:{"position":`...)
		dst = appendPosition(dst, b.Position)
		dst = append(dst, `,"recovered":`...)
		dst = strconv.AppendBool(dst, b.Recovered)
		dst = appendInt(dst, `,"replay":`, int64(b.Replay))
		dst = append(dst, '}')
	}
	return append(dst, '}')
}

// AppendUnsubscribed appends the answer to an unsubscribe command or, with a code, the event
// that the server ended subscriptions.
func AppendUnsubscribed(dst []byte, id ID, topics []notiflux.Topic, code notiflux.Code) []byte {
	return appendStruct(dst, struct {
		Type   string           `json:"type"`
		ID     ID               `json:"id,omitzero"`
		Topics []notiflux.Topic `json:"topics"`
		Code   notiflux.Code    `json:"code,omitzero"`
	}{"unsubscribed", id, topics, code})
}

// AppendBroadcasted appends the answer to a broadcast command that succeeded.
func AppendBroadcasted(dst []byte, id ID, topic notiflux.Topic, position notiflux.Position) []byte {
	dst = appendType(dst, "broadcasted", id)
	return append(appendTopicPosition(dst, topic, position), '}')
}

// AppendPublished appends the result of a published message in an HTTP answer.
func AppendPublished(dst []byte, topic notiflux.Topic, position notiflux.Position) []byte {
	dst = append(dst, `{"topic":`...)
	dst = appendString(dst, string(topic))
	dst = append(dst, `,"position":`...)
	return append(appendPosition(dst, position), '}')
}

// AppendFailed appends the result of one message of a batch that was not published in an
// HTTP answer. topic is as the publisher sent it; it is left out if empty.
func AppendFailed(dst []byte, topic string, err *notiflux.Error) []byte {
	return appendStruct(dst, struct {
		Topic string  `json:"topic,omitzero"`
		Error refusal `json:"error"`
	}{topic, refusal{err.Code, err.Detail}})
}

// AppendAuthenticated appends the answer to an auth command that succeeded. expires is when
// the token expires, to the second.
func AppendAuthenticated(dst []byte, id ID, expires time.Time) []byte {
	dst = appendType(dst, "authenticated", id)
	return append(appendInt(dst, `,"expires":`, expires.Unix()), '}')
}

// AppendHistoryStart appends what comes before the messages in the answer to a
// command of [History].
func AppendHistoryStart(dst []byte, id ID, topic notiflux.Topic) []byte {
	dst = appendType(dst, "history", id)
	dst = append(dst, `,"topic":`...)
	dst = append(appendString(dst, string(topic)), ',')
	return append(dst, messagesStart...)
}

// AppendHistoryBodyStart appends what comes before the messages in the body of an HTTP
// answer to GET /history.
func AppendHistoryBodyStart(dst []byte) []byte {
	return append(append(dst, '{'), messagesStart...)
}

// A HistoryEnd is what a page of a history says after its messages.
type HistoryEnd struct {
	Position  notiflux.Position // from where to read the next page, or to subscribe
	Recovered bool              // no message is missing between the resume point and the first message
	More      bool              // there are messages after Position
}

// AppendHistoryEnd appends what comes after the messages of a page of a history.
func AppendHistoryEnd(dst []byte, p HistoryEnd) []byte {
	dst = append(dst, `],"position":`...)
	dst = appendPosition(dst, p.Position)
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

// AppendPong appends the answer to a command of [Ping].
func AppendPong(dst []byte, id ID) []byte {
	return append(appendType(dst, "pong", id), '}')
}

// AppendError appends the answer to a command that is refused as a whole.
func AppendError(dst []byte, id ID, err *notiflux.Error) []byte {
	return appendStruct(dst, struct {
		Type    string        `json:"type"`
		ID      ID            `json:"id,omitzero"`
		Code    notiflux.Code `json:"code"`
		Message string        `json:"message"`
		Retry   bool          `json:"retry"`
	}{"error", id, err.Code, err.Detail, ErrorResponseOf(err.Code).Retry})
}

// AppendSkipped appends the event that a client in mode latest does not get the messages
// after from, up to and including to.
func AppendSkipped(dst []byte, topic notiflux.Topic, from, to notiflux.Position) []byte {
	dst = append(dst, `{"type":"skipped","topic":`...)
	dst = appendString(dst, string(topic))
	dst = append(dst, `,"from":`...)
	dst = appendPosition(dst, from)
	dst = append(dst, `,"to":`...)
	return append(appendPosition(dst, to), '}')
}

// AppendGap appends the event that messages were lost. Delivery continues after position.
func AppendGap(dst []byte, topic notiflux.Topic, position notiflux.Position) []byte {
	dst = append(dst, `{"type":"gap"`...)
	return append(appendTopicPosition(dst, topic, position), '}')
}

// AppendBye appends the last object of a connection: why the server closes it, and after how
// long the client should reconnect, to the millisecond.
func AppendBye(dst []byte, code notiflux.Code, after time.Duration) []byte {
	dst = append(dst, `{"type":"bye","code":`...)
	dst = appendString(dst, string(code))
	return append(appendInt(dst, `,"after":`, after.Milliseconds()), '}')
}

// A refusal is an error inside of an answer.
type refusal struct {
	Code    notiflux.Code `json:"code"`
	Message string        `json:"message"`
}

// appendStruct appends a struct as a JSON object, with its members in the order of its
// fields. It is for objects that are rare; those of each delivery or publication are put
// together by hand.
func appendStruct(dst []byte, v any) []byte {
	// There is no error: U+FFFD stands for bytes that are not UTF-8.
	object, _ := json.Marshal(v, jsontext.AllowInvalidUTF8(true))
	return appendJSON(dst, object)
}

// appendType appends the beginning of an answer, up to the id.
func appendType(dst []byte, name string, id ID) []byte {
	dst = append(dst, `{"type":"`...)
	dst = append(append(dst, name...), '"')
	if id >= 0 {
		dst = appendInt(dst, `,"id":`, int64(id))
	}
	return dst
}

func appendTopicPosition(dst []byte, topic notiflux.Topic, position notiflux.Position) []byte {
	dst = append(dst, `,"topic":`...)
	dst = appendString(dst, string(topic))
	dst = append(dst, `,"position":`...)
	return appendPosition(dst, position)
}

func appendInt(dst []byte, before string, n int64) []byte {
	return strconv.AppendInt(append(dst, before...), n, 10)
}

// appendComma appends the comma before element i of a list.
func appendComma(dst []byte, i int) []byte {
	if i > 0 {
		return append(dst, ',')
	}
	return dst
}
