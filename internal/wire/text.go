// Package wire is the bytes that users see: the commands and frames of the
// protocols, WebSocket frames as the server writes them, and the one table
// that turns an error into a status, a header or a close code.
//
// A message passes through here once per encoding: an [Encoder] turns it into
// the frame that all subscribers of that encoding get. What a client sends is
// turned into a [Command] or a [JSONCommand] by the parser of its protocol, and
// what the server answers is appended by a function for each type of frame.
//
// What comes out depends on what goes in and on nothing else; nothing reads or
// writes.
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
	Topic  string // as sent: not judged yet
	Token  string // as sent: not judged yet
	Answer string // the line that tells what is wrong; only of Invalid
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

// Denied returns the line that answers a refused subscription in the text
// protocol. A topic that would not be one line is shown quoted and cut.
func Denied(topic string, why *notiflux.Error) string {
	if _, err := notiflux.ParseTopic(topic); err != nil {
		topic = strconv.QuoteToGraphic(topic[:min(len(topic), notiflux.MaxTopicBytes)])
	}
	return fmt.Sprintf("Subscribe to %s denied: %s", topic, why.Detail)
}
