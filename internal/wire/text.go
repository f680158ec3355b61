// Package wire defines the bytes that clients and publishers see: commands, answers and
// events of the dialects, WebSocket frames as the server writes them, stream cursors,
// and the one table that maps an error to an HTTP status, a header or a close code.
//
// A message passes through this package once per encoding: an [Encoder] makes the frame
// that all subscribers of that encoding get. The parser of a dialect turns the message of
// a client into a [Command] or a [JSONCommand]. An Append function for each type of answer
// and event writes what the server sends.
//
// All functions are pure: their results depend on their arguments only. The package does
// no I/O.
package wire

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/ikornaselur/notiflux"
)

// A Command is what a client asks for in the text protocol.
type Command struct {
	Verb   Verb
	Topic  string // as sent, not checked
	Token  string // as sent, not checked
	Answer string // the line that says what is wrong; only of Invalid
}

const (
	invalidSubscribe = "Invalid subscribe command, it should be: /subscribe <topic> <token>"
	unknownCommand   = "Unknown command"
)

// ParseText parses one text message of the text protocol. This protocol is
// frozen: the table in docs/protocol.md says what every input means.
func ParseText(line string) Command {
	line = strings.TrimSpace(line)
	if !strings.HasPrefix(line, "/") {
		return Command{Verb: Ignore}
	}
	name, rest, hasRest := strings.Cut(line, " ")
	switch {
	case name == "/subscribe":
		topic, token, ok := strings.Cut(rest, " ")
		if !ok || strings.Contains(token, " ") {
			return Command{Verb: Invalid, Answer: invalidSubscribe}
		}
		return Command{Verb: Subscribe, Topic: topic, Token: token}
	case name == "/unsubscribe" && hasRest:
		return Command{Verb: Unsubscribe, Topic: rest}
	case name == "/unsubscribe-all" && !hasRest:
		return Command{Verb: UnsubscribeAll}
	}
	return Command{Verb: Invalid, Answer: unknownCommand}
}

// Denied returns the line that answers a refused subscription in the text protocol. It
// quotes and truncates an invalid topic, so that the answer stays one line.
func Denied(topic string, why *notiflux.Error) string {
	if _, err := notiflux.ParseTopic(topic); err != nil {
		topic = strconv.QuoteToGraphic(topic[:min(len(topic), notiflux.MaxTopicBytes)])
	}
	return fmt.Sprintf("Subscribe to %s denied: %s", topic, why.Detail)
}
