package v1text

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// A verb says what a command requests.
type verb uint8

const (
	ignore verb = iota // nothing: the message is not a command
	subscribe
	subscribeWithoutToken // answered with command.answer unless the topic is public
	unsubscribe
	unsubscribeAll
	invalid // answered with command.answer
)

// A command is a client's request.
type command struct {
	verb   verb
	topic  string // as sent, not checked
	token  string // as sent, not checked
	answer string // the line that says what is wrong; only for invalid and subscribeWithoutToken
}

const (
	invalidSubscribe = "Invalid subscribe command, it should be: /subscribe <topic> <token>"
	unknownCommand   = "Unknown command"
)

// parse parses one text message. The table in docs/protocol.md defines every input.
func parse(line string) command {
	line = strings.TrimSpace(line)
	if !strings.HasPrefix(line, "/") {
		return command{verb: ignore}
	}
	name, rest, hasRest := strings.Cut(line, " ")
	switch {
	case name == "/subscribe":
		topic, token, ok := strings.Cut(rest, " ")
		if hasRest && !ok {
			return command{verb: subscribeWithoutToken, topic: topic, answer: invalidSubscribe}
		}
		if !ok || strings.Contains(token, " ") {
			return command{verb: invalid, answer: invalidSubscribe}
		}
		return command{verb: subscribe, topic: topic, token: token}
	case name == "/unsubscribe" && hasRest:
		return command{verb: unsubscribe, topic: rest}
	case name == "/unsubscribe-all" && !hasRest:
		return command{verb: unsubscribeAll}
	}
	return command{verb: invalid, answer: unknownCommand}
}

// denied returns the line that answers a refused subscription. It quotes and truncates an
// invalid topic, so that the answer stays one line.
func denied(topic string, why *pubsub.Error) string {
	if _, err := pubsub.ParseTopic(topic); err != nil {
		topic = strconv.QuoteToGraphic(topic[:min(len(topic), pubsub.MaxTopicBytes)])
	}
	return fmt.Sprintf("Subscribe to %s denied: %s", topic, why.Detail)
}
