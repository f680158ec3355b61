package client

import (
	"errors"
	"io"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// A frame is any object that a server sends and that the client knows;
// docs/protocol.md tells which members a type has.
type frame struct {
	Type     string         `json:"type"`
	ID       int64          `json:"id"`
	Topic    pubsub.Topic   `json:"topic"`
	Position string         `json:"position"`
	Time     int64          `json:"time"` // Unix milliseconds
	Data     jsontext.Value `json:"data"`
	From     string         `json:"from"`
	To       string         `json:"to"`
	Topics   jsontext.Value `json:"topics"` // an object in subscribed, a list in unsubscribed
	Refused  map[pubsub.Topic]struct {
		Code    pubsub.Code `json:"code"`
		Message string      `json:"message"`
	} `json:"refused"`
	Code        pubsub.Code `json:"code"`
	Message     string      `json:"message"`
	Retry       bool        `json:"retry"`
	After       int64       `json:"after"` // milliseconds
	Ping        int64       `json:"ping"`  // seconds
	Limits      limits      `json:"limits"`
	Connection  string      `json:"connection"`
	Member      member      `json:"member"`
	Members     []member    `json:"members"`
	Count       int         `json:"count"`
	Subscribers int         `json:"subscribers"`
}

// errHalfFrame is why a connection ends in the middle of a frame: the WebSocket
// package gives the first bytes as a whole message if the connection is cut where
// it begins to read the next ones.
var errHalfFrame = errors.New("the connection broke in a frame")

// parseFrame reads a frame, which owns its bytes. One of a type that is not known
// has nothing but the type: what a later version adds may have members of the same
// names. What is no JSON is errProtocol, and what is the beginning of some
// errHalfFrame.
func parseFrame(data []byte) (f frame, err error) {
	err = json.Unmarshal(data, &f)
	if err != nil {
		var of struct {
			Type string `json:"type"`
		}
		if unread := json.Unmarshal(data, &of); unread != nil || !known(of.Type) {
			f, err = frame{Type: of.Type}, unread
		}
	}
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return frame{}, errHalfFrame
	case err != nil:
		return frame{}, errProtocol
	}
	return f, nil
}

// known reports whether a type is one that the client reads.
func known(kind string) bool {
	switch kind {
	case "welcome", "hello", "message", "skipped", "gap", "subscribed", "unsubscribed", "join", "leave", "presence", "error", "bye":
		return true
	}
	return false
}

// member is a member as a server sends it.
type member struct {
	Sub  string         `json:"sub"`
	Info jsontext.Value `json:"info"`
}

// all returns the members that a frame is about: one, or a list.
func (f *frame) all() (all []Member) {
	if f.Members == nil && f.Member.Sub != "" {
		return []Member{{f.Member.Sub, f.Member.Info}}
	}
	for _, m := range f.Members {
		all = append(all, Member{m.Sub, m.Info})
	}
	return all
}

// limits are what a server takes and sends.
type limits struct {
	Message          int64 `json:"message"` // bytes
	Command          int   `json:"command"` // bytes
	TopicsPerCommand int   `json:"topicsPerCommand"`
}

// subscribed is what a server says of a topic that it has subscribed.
type subscribed struct {
	Position  string `json:"position"`
	Recovered bool   `json:"recovered"`
	Replay    int    `json:"replay"`
}

// A command is any object that a client sends.
type command struct {
	Type     string                  `json:"type"`
	ID       int64                   `json:"id,omitzero"`
	Topic    pubsub.Topic            `json:"topic,omitzero"`
	Topics   []pubsub.Topic          `json:"topics,omitempty"`
	Since    map[pubsub.Topic]string `json:"since,omitempty"`
	Last     int                     `json:"last,omitzero"`
	Mode     string                  `json:"mode,omitzero"`
	Presence bool                    `json:"presence,omitzero"`
	Token    string                  `json:"token,omitzero"`
}

func (c *command) encode() ([]byte, error) { return json.Marshal(c, json.Deterministic(true)) }
