package wire

import (
	"bytes"
	"encoding/json"
)

const (
	// commandBytes is above the size of a command without topics and token.
	commandBytes = 256
	// topicBytes is above what a command has for a topic besides names and epochs:
	// quotes, commas and an offset.
	topicBytes = 40
	// nameGrowth is how many times longer a topic can get as a JSON string. It has no
	// control characters.
	nameGrowth = 2
)

// A Command is an object for a server. Members that are zero are left out.
type Command struct {
	Type     string            `json:"type"`
	ID       int64             `json:"id,omitzero"`
	Topic    string            `json:"topic,omitzero"`
	Topics   []string          `json:"topics,omitempty"`
	Patterns []string          `json:"patterns,omitempty"` // in place of Topics
	Since    map[string]string `json:"since,omitempty"`
	Last     int               `json:"last,omitzero"`
	Mode     string            `json:"mode,omitzero"`
	Presence bool              `json:"presence,omitzero"`
	Token    string            `json:"token,omitzero"`
}

// Fit returns how many of n topics fit into a command with a token, but at least 1. The
// function length returns the bytes of a topic: its name as often as the command has it, and
// its epoch.
func (l Limits) Fit(n int, token string, length func(at int) int) int {
	n = min(n, l.TopicsPerCommand)
	room := l.Command - commandBytes - len(token)
	for at := range n {
		if room -= nameGrowth*length(at) + topicBytes; room < 0 {
			return max(at, 1)
		}
	}
	return n
}

// Encode returns v as JSON. Unlike json.Marshal it does not escape <, > and &.
func Encode(v any) ([]byte, error) {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(out.Bytes(), []byte{'\n'}), nil
}
