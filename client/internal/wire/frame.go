// Package wire is the JSON protocol as a client sees it: the frames that a server sends,
// the commands that it takes, positions, and why a connection ended. It does no I/O; the
// connections are made by packages socket and eventstream.
//
// A frame owns its bytes. What a later version of the protocol adds is ignored: a frame
// of an unknown type has nothing but its type.
package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"time"
)

// Defaults of docs/protocol.md, for what a welcome does not say.
const (
	DefaultPing             = 25 * time.Second
	defaultMessage          = 64 << 10
	defaultCommand          = 80 << 10
	defaultTopicsPerCommand = 100
)

// Limits of frames.
const (
	// FrameOverhead bounds what a frame has besides a message. The most is a list of
	// 1,000 members: each has 1 KiB of info, and a name of 255 bytes that JSON makes
	// six times as long.
	FrameOverhead = 4 << 20
	// FrameGrowth is how many times as long a message is as a JSON string, at most.
	FrameGrowth = 6
	// KeptBuffer is how large a buffer may be that is kept for the next frame.
	KeptBuffer = 1 << 20
)

// ErrProtocol is why a connection ends whose server does not speak the protocol.
var ErrProtocol = errors.New("the server does not speak notiflux.v1.json")

// ErrHalfFrame is why a connection ends in the middle of a frame.
var ErrHalfFrame = errors.New("the connection broke in the middle of a frame")

// ErrTooLarge is why a connection ends whose frame is larger than any message.
var ErrTooLarge = errors.New("the server sent a frame that is larger than any message")

// Expired is the type of a frame that no server sends: an event stream was replaced by one
// that no longer has all messages of a topic, which continues at Position.
const Expired = "client.expired"

// A Frame is any object that a server sends and that the client knows; docs/protocol.md
// tells which members a type has.
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

// A Refusal is why a topic is not subscribed to.
type Refusal struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// A Member is someone who is present on a topic.
type Member struct {
	Sub  string          `json:"sub"`
	Info json.RawMessage `json:"info"`
}

// An Answer is what a server says of a topic that it has subscribed.
type Answer struct {
	Position  string `json:"position"`
	Recovered bool   `json:"recovered"`
	Replay    int    `json:"replay"`
}

// Limits are what a server takes and sends.
type Limits struct {
	Message          int64 `json:"message"` // bytes
	Command          int   `json:"command"` // bytes
	TopicsPerCommand int   `json:"topicsPerCommand"`
}

// A Welcome is what a connection begins with.
type Welcome struct {
	Connection string // its name; empty: it has none
	Ping       time.Duration
	Limits     Limits
}

// Welcome returns what a welcome frame says, and the defaults for what it does not say.
func (f *Frame) Welcome() Welcome {
	return Welcome{
		Connection: f.Connection,
		Ping:       orDefault(time.Duration(f.Ping)*time.Second, DefaultPing),
		Limits: Limits{
			Message:          orDefault(f.Limits.Message, defaultMessage),
			Command:          orDefault(f.Limits.Command, defaultCommand),
			TopicsPerCommand: orDefault(f.Limits.TopicsPerCommand, defaultTopicsPerCommand),
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
func (f *Frame) Answers() (answers map[string]Answer) {
	if json.Unmarshal(f.Topics, &answers) != nil {
		return nil
	}
	return answers
}

// Ended returns the topics of an unsubscribed frame; nil if it has none.
func (f *Frame) Ended() (topics []string) {
	if json.Unmarshal(f.Topics, &topics) != nil {
		return nil
	}
	return topics
}

// All returns the members that a frame is about: one, or a list.
func (f *Frame) All() []Member {
	if f.Members == nil && f.Member.Sub != "" {
		return []Member{f.Member}
	}
	return f.Members
}

// ParseFrame reads a frame. The error is [ErrProtocol] if data is not a JSON object, and
// [ErrHalfFrame] if it is the beginning of one: that is what is read of a connection
// that breaks in a frame.
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

// isCut reports whether data is the beginning of JSON.
func isCut(data []byte) bool {
	err := json.NewDecoder(bytes.NewReader(data)).Decode(new(json.RawMessage))
	return err == io.EOF || err == io.ErrUnexpectedEOF
}

// known reports whether a type is one that the client reads.
func known(kind string) bool {
	switch kind {
	case "welcome", "hello", "message", "skipped", "gap", "subscribed", "unsubscribed", "join", "leave", "presence", "error", "bye":
		return true
	}
	return false
}

// A Command is any object that a client sends.
type Command struct {
	Type     string            `json:"type"`
	ID       int64             `json:"id,omitzero"`
	Topic    string            `json:"topic,omitzero"`
	Topics   []string          `json:"topics,omitempty"`
	Since    map[string]string `json:"since,omitempty"`
	Last     int               `json:"last,omitzero"`
	Mode     string            `json:"mode,omitzero"`
	Presence bool              `json:"presence,omitzero"`
	Token    string            `json:"token,omitzero"`
}

// Encode returns v as JSON, without the detours that encoding/json makes for HTML.
func Encode(v any) ([]byte, error) {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(out.Bytes(), []byte{'\n'}), nil
}
