// Package wire is the JSON protocol as a client sees it. It has the values that the other
// packages of the client share: the frames that a server sends and the commands that it
// accepts, positions and cursors, codes, and the errors that end a connection. It does no
// I/O, and its values do not change once they are made.
//
// Packages socket and eventstream read bytes, turn them into a [Frame] with [ParseFrame],
// and hand it to the client. In the other direction the client makes a [Command], which they
// write. A Frame holds copies of its strings and bytes, so the buffer they were read into
// may be reused.
//
// The package ignores what later versions of the protocol add: unknown members of a frame
// and, if its type is unknown, all members except the type. It does not check that the
// frames of a connection make sense together.
package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"time"
)

// Defaults of docs/protocol.md for members that a welcome lacks.
const (
	DefaultPing             = 25 * time.Second
	defaultMessage          = 64 << 10
	defaultCommand          = 80 << 10
	defaultTopics           = 1000
	defaultTopicsPerCommand = 100
	// DefaultCommandsPerSecond is also the rate on event streams.
	DefaultCommandsPerSecond = 100
)

// Bounds of what a welcome may say: far above the ping of any server, and the largest
// message that a server can be set to accept.
const (
	maxPing    = time.Hour
	maxMessage = 8 << 20
	maxRate    = 1_000_000
)

// Limits of frames.
const (
	// FrameOverhead is above the size of a frame without a message. The largest is a
	// list of 1,000 members, each with 1 KiB of info and a name of 255 bytes that JSON
	// can make six times as long.
	FrameOverhead = 4 << 20
	// FrameGrowth is how many times longer a message can get as a JSON string.
	FrameGrowth = 6
	// KeptBuffer is the largest buffer that a reader keeps for the next frame.
	KeptBuffer = 1 << 20
)

// ErrProtocol ends a connection to a server that does not speak the protocol.
var ErrProtocol = errors.New("the server does not speak notiflux.v1.json")

// ErrHalfFrame ends a connection that broke in the middle of a frame.
var ErrHalfFrame = errors.New("the connection broke in the middle of a frame")

// ErrTooLarge ends a connection whose server sent a frame that is too large.
var ErrTooLarge = errors.New("the server sent a frame that is larger than a message may be")

// Expired is the type of a frame that no server sends. Package eventstream makes it when it
// replaces an event stream and the server no longer has all messages of a topic in between.
// The topic continues at Position.
const Expired = "client.expired"

// A Frame is an object from a server. docs/protocol.md lists which members each type has;
// the others are zero.
type Frame struct {
	Type        string             `json:"type"`
	ID          int64              `json:"id"`
	Topic       string             `json:"topic"`
	Position    string             `json:"position"`
	Time        int64              `json:"time"` // Unix milliseconds
	Data        json.RawMessage    `json:"data"`
	From        string             `json:"from"`
	To          string             `json:"to"`
	Topics      json.RawMessage    `json:"topics"` // see Answers and Ended
	Patterns    json.RawMessage    `json:"patterns"`
	Refused     map[string]Refusal `json:"refused"`
	Code        string             `json:"code"`
	Message     string             `json:"message"`
	Retry       bool               `json:"retry"`
	After       int64              `json:"after"` // milliseconds
	Ping        int64              `json:"ping"`  // seconds
	Limits      Limits             `json:"limits"`
	Connection  string             `json:"connection"`
	Member      Member             `json:"member"`
	Members     []Member           `json:"members"`
	Count       int                `json:"count"`
	Subscribers int                `json:"subscribers"`
}

// A Refusal says why a server did not subscribe the client to a topic.
type Refusal struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// A Member is a user who is present on a topic.
type Member struct {
	Sub  string          `json:"sub"`
	Info json.RawMessage `json:"info"`
}

// An Answer describes a new subscription to a topic.
type Answer struct {
	Position  string `json:"position"`  // every message after it follows
	Recovered bool   `json:"recovered"` // no message after the requested position is missing
	Replay    int    `json:"replay"`    // how many of the messages exist already
}

// Limits are the limits of a server. In a [Welcome] none of them is zero.
type Limits struct {
	Message          int64 `json:"message"` // bytes, as published
	Command          int   `json:"command"` // bytes
	Topics           int   `json:"topics"`  // of a connection
	TopicsPerCommand int   `json:"topicsPerCommand"`
	// CommandsPerSecond bounds the commands of a connection in the long run.
	CommandsPerSecond int `json:"commandsPerSecond"`
}

// A Welcome describes a connection.
type Welcome struct {
	Connection string        // the server's name for it; empty: it has none
	Ping       time.Duration // between two pings of the server
	Limits     Limits
}

// Welcome returns the contents of a welcome frame, with defaults for missing members.
func (f *Frame) Welcome() Welcome {
	return Welcome{
		Connection: f.Connection,
		Ping:       orDefault(time.Duration(min(f.Ping, int64(maxPing/time.Second)))*time.Second, DefaultPing),
		Limits: Limits{
			Message:          orDefault(min(f.Limits.Message, maxMessage), defaultMessage),
			Command:          orDefault(f.Limits.Command, defaultCommand),
			Topics:           orDefault(f.Limits.Topics, defaultTopics),
			TopicsPerCommand: orDefault(f.Limits.TopicsPerCommand, defaultTopicsPerCommand),

			CommandsPerSecond: orDefault(min(f.Limits.CommandsPerSecond, maxRate), DefaultCommandsPerSecond),
		},
	}
}

func orDefault[T int | int64 | time.Duration](n, otherwise T) T {
	if n > 0 {
		return n
	}
	return otherwise
}

// Answers returns the topics of a subscribed or hello frame; nil if it has none.
func (f *Frame) Answers() map[string]Answer { return answers(f.Topics) }

// PatternAnswers returns the patterns of a subscribed frame; nil if it has none.
func (f *Frame) PatternAnswers() map[string]Answer { return answers(f.Patterns) }

func answers(text json.RawMessage) (of map[string]Answer) {
	if json.Unmarshal(text, &of) != nil {
		return nil
	}
	return of
}

// Ended returns the topics of an unsubscribed frame; nil if it has none.
func (f *Frame) Ended() (topics []string) {
	if json.Unmarshal(f.Topics, &topics) != nil {
		return nil
	}
	return topics
}

// All returns the members of a presence frame, whether it has one or a list.
func (f *Frame) All() []Member {
	if f.Members == nil && f.Member.Sub != "" {
		return []Member{f.Member}
	}
	return f.Members
}

// ParseFrame parses a frame. It returns [ErrProtocol] if data is not a JSON object or a
// member has the wrong type, and [ErrHalfFrame] if data is only the beginning of an object:
// the WebSocket package returns such a message when the connection breaks.
func ParseFrame(data []byte) (*Frame, error) {
	f := &Frame{}
	err := json.Unmarshal(data, f)
	if err == nil {
		return f, nil
	}
	var of struct {
		Type string `json:"type"`
	}
	switch {
	case isCut(data):
		return nil, ErrHalfFrame
	case json.Unmarshal(data, &of) != nil || known(of.Type):
		return nil, ErrProtocol
	}
	return &Frame{Type: of.Type}, nil
}

// isCut reports whether data is JSON as far as it goes.
func isCut(data []byte) bool {
	err := json.NewDecoder(bytes.NewReader(data)).Decode(new(json.RawMessage))
	return err == io.EOF || err == io.ErrUnexpectedEOF
}

// known reports whether the client uses frames of a type.
func known(kind string) bool {
	switch kind {
	case "welcome", "hello", "message", "skipped", "gap", "subscribed", "unsubscribed", "join", "leave", "presence", "position", "error", "bye":
		return true
	}
	return false
}
