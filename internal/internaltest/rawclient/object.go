package rawclient

import (
	"encoding/json"
	"fmt"

	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// An Object is any JSON object that the server sends: the members that tests read.
type Object struct {
	Type          string
	ID            int
	Topic         pubsub.Topic
	Topics        json.RawMessage
	Pattern       string
	Patterns      json.RawMessage
	Position      string
	Data          string
	Cursor        string
	Recovered     bool
	Replay        int
	Messages      []Object
	Refused       json.RawMessage
	Code, Message string

	Member             *Member
	Members            []Member
	Count, Subscribers int
}

// A Member is a present member.
type Member struct {
	Sub  string
	Info json.RawMessage
}

// ParseObject parses an object.
func ParseObject(data []byte) (o Object, err error) {
	if err = json.Unmarshal(data, &o); err != nil {
		err = fmt.Errorf("%w in %q", err, data)
	}
	return o, err
}
