package client

import (
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/ikornaselur/notiflux"
)

// A frame is any object that a server sends; docs/protocol.md tells which
// members a type has.
type frame struct {
	Type     string         `json:"type"`
	ID       int64          `json:"id"`
	Topic    notiflux.Topic `json:"topic"`
	Position string         `json:"position"`
	Time     int64          `json:"time"` // Unix milliseconds
	Data     jsontext.Value `json:"data"`
	From     string         `json:"from"`
	To       string         `json:"to"`
	Topics   jsontext.Value `json:"topics"` // an object in subscribed, a list in unsubscribed
	Refused  map[notiflux.Topic]struct {
		Code    notiflux.Code `json:"code"`
		Message string        `json:"message"`
	} `json:"refused"`
	Code    notiflux.Code `json:"code"`
	Message string        `json:"message"`
	Retry   bool          `json:"retry"`
	After   int64         `json:"after"` // milliseconds
	Ping    int64         `json:"ping"`  // seconds
	Limits  limits        `json:"limits"`
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
	Type   string                    `json:"type"`
	ID     int64                     `json:"id,omitzero"`
	Topics []notiflux.Topic          `json:"topics,omitempty"`
	Since  map[notiflux.Topic]string `json:"since,omitempty"`
	Last   int                       `json:"last,omitzero"`
	Mode   string                    `json:"mode,omitzero"`
	Token  string                    `json:"token,omitzero"`
}

func (c *command) encode() ([]byte, error) { return json.Marshal(c, json.Deterministic(true)) }
