package v1json

import (
	"time"

	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// The functions in this file append answers to commands, and presence events. They leave
// out the ID if it is noID. The other events are in package wire, because streams have them
// too.

// A welcomeObject is the first object that a client of the JSON protocol gets.
type welcomeObject struct {
	Connection  string        `json:"connection"` // name of the connection
	Version     string        `json:"version"`    // of the server
	PingSeconds int           `json:"ping"`       // seconds between two pings of the server
	Limits      welcomeLimits `json:"limits"`
}

// welcomeLimits are the limits that a client should observe.
type welcomeLimits struct {
	MessageBytes      int `json:"message"` // of a published message
	CommandBytes      int `json:"command"` // of a client's text message
	Topics            int `json:"topics"`  // of the connection
	TopicsPerCommand  int `json:"topicsPerCommand"`
	CommandsPerSecond int `json:"commandsPerSecond"` // in the long run
}

// appendWelcome appends the object that greets a connection.
func appendWelcome(dst []byte, w welcomeObject) []byte {
	return wire.AppendStruct(dst, struct {
		Type string `json:"type"`
		welcomeObject
	}{"welcome", w})
}

// appendSubscribed appends the answer to a subscribe command: the topics that the client is
// subscribed to and the refused ones, each in the given order.
func appendSubscribed(dst []byte, id commandID, topics []wire.SubscribedTopic, refused []refusedTopic) []byte {
	dst = appendType(dst, "subscribed", id)
	dst = wire.AppendSubscribedTopics(dst, topics)
	if len(refused) > 0 {
		dst = append(dst, `,"refused":{`...)
		for i, r := range refused {
			dst = wire.AppendString(wire.AppendComma(dst, i), r.Topic)
			dst = wire.AppendStruct(append(dst, ':'), wire.Refusal{Code: r.Err.Code, Message: r.Err.Detail})
		}
		dst = append(dst, '}')
	}
	return append(dst, '}')
}

// appendUnsubscribed appends the answer to an unsubscribe command.
func appendUnsubscribed(dst []byte, id commandID, topics []pubsub.Topic, patterns []string) []byte {
	return wire.AppendStruct(dst, struct {
		Type     string         `json:"type"`
		ID       commandID      `json:"id,omitzero"`
		Topics   []pubsub.Topic `json:"topics"`
		Patterns []string       `json:"patterns,omitempty"`
	}{"unsubscribed", id, topics, patterns})
}

// appendBroadcasted appends the answer to a successful broadcast command.
func appendBroadcasted(dst []byte, id commandID, topic pubsub.Topic, position pubsub.Position) []byte {
	dst = appendType(dst, "broadcasted", id)
	return append(wire.AppendTopicPosition(dst, topic, position), '}')
}

// appendAuthenticated appends the answer to a successful auth command. expires is when the
// token expires, to the second.
func appendAuthenticated(dst []byte, id commandID, expires time.Time) []byte {
	dst = appendType(dst, "authenticated", id)
	return append(wire.AppendInt(dst, `,"expires":`, expires.Unix()), '}')
}

// appendHistoryStart appends the part before the messages in the answer to a history
// command.
func appendHistoryStart(dst []byte, id commandID, topic pubsub.Topic) []byte {
	dst = appendType(dst, "history", id)
	dst = append(dst, `,"topic":`...)
	dst = append(wire.AppendString(dst, string(topic)), ',')
	return append(dst, `"messages":[`...)
}

// appendPong appends the answer to a ping command.
func appendPong(dst []byte, id commandID) []byte {
	return append(appendType(dst, "pong", id), '}')
}

// appendError appends the answer to a command that is refused as a whole.
func appendError(dst []byte, id commandID, err *pubsub.Error) []byte {
	return wire.AppendStruct(dst, struct {
		Type    string      `json:"type"`
		ID      commandID   `json:"id,omitzero"`
		Code    pubsub.Code `json:"code"`
		Message string      `json:"message"`
		Retry   bool        `json:"retry"`
	}{"error", id, err.Code, err.Detail, wire.ErrorResponseOf(err.Code).Retry})
}

// appendPresenceStart appends the part before the members in the answer to a presence
// command. [wire.PresenceEnd] follows the members.
func appendPresenceStart(dst []byte, id commandID, p *pubsub.PresenceEvent) []byte {
	dst = wire.AppendPresenceCounts(append(appendType(dst, "presence", id), ','), p)
	return append(dst, wire.MembersStart...)
}

// appendPresenceEvent appends a presence event. If one member joined or left, it is named
// in `member`; several are named in `members`.
func appendPresenceEvent(dst []byte, e *pubsub.PresenceEvent) []byte {
	switch e.Kind {
	case pubsub.PresenceJoin:
		return appendChange(dst, "join", e)
	case pubsub.PresenceLeave:
		return appendChange(dst, "leave", e)
	}
	dst = append(appendType(dst, "presence", noID), ',')
	dst = wire.AppendPresenceCounts(dst, e)
	if e.Members != nil {
		return appendMembers(dst, e.Members)
	}
	return append(dst, '}')
}

func appendChange(dst []byte, name string, e *pubsub.PresenceEvent) []byte {
	dst = append(appendType(dst, name, noID), `,"topic":`...)
	dst = wire.AppendString(dst, string(e.Topic))
	if len(e.Members) == 1 {
		dst = append(dst, `,"member":`...)
		return append(wire.AppendMember(dst, e.Members[0]), '}')
	}
	return appendMembers(dst, e.Members)
}

// appendMembers appends a list of members, the last member of the JSON object.
func appendMembers(dst []byte, members []pubsub.Member) []byte {
	dst = append(dst, wire.MembersStart...)
	for i, m := range members {
		dst = wire.AppendMember(wire.AppendComma(dst, i), m)
	}
	return append(dst, wire.PresenceEnd...)
}

// appendType appends the beginning of an answer, up to the ID.
func appendType(dst []byte, name string, id commandID) []byte {
	dst = append(dst, `{"type":"`...)
	dst = append(append(dst, name...), '"')
	if id >= 0 {
		dst = wire.AppendInt(dst, `,"id":`, int64(id))
	}
	return dst
}
