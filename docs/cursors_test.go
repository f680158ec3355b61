package docs_test

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// A placed has the positions in an example: in a hello, a message, or the answer to a poll.
type placed struct {
	Cursor, Topic, Position string
	Topics                  map[pubsub.Topic]struct{ Position string }
	Messages                []struct{ Topic, Position string }
}

// positions returns the client's position in each topic of the example.
func (p placed) positions() map[pubsub.Topic]string {
	all := make(map[pubsub.Topic]string)
	for topic, beginning := range p.Topics {
		all[topic] = beginning.Position
	}
	for _, m := range p.Messages {
		all[pubsub.Topic(m.Topic)] = m.Position
	}
	if p.Topic != "" {
		all[pubsub.Topic(p.Topic)] = p.Position
	}
	return all
}

// checkCursor fails the test unless cursor contains positions.
func checkCursor(t *testing.T, where, cursor string, positions map[pubsub.Topic]string) {
	t.Helper()
	c, err := wire.ParseStreamCursor(cursor)
	if err != nil {
		t.Errorf("%s: %q: %v", where, cursor, err)
		return
	}
	if len(positions) == 0 {
		t.Errorf("%s: no topic or position precedes the cursor %q", where, cursor)
	}
	for topic, want := range positions {
		if since, there := c.Since(topic); !there || since.String() != want {
			t.Errorf("%s: %q has topic %q at %v (%t), want %s", where, cursor, topic, since, there, want)
		}
	}
}

// streamLine matches the data or the id of an event, or a line of JSON with a cursor.
var streamLine = regexp.MustCompile(`(?m)^ *(?:(id): (\S+)|(?:data: )?(\{"(?:type|cursor)":.*\}))$`)

// checkStream checks the cursors of the events and lines in text, and returns their number.
func checkStream(t *testing.T, where, text string) (n int) {
	t.Helper()
	var last placed
	for _, line := range streamLine.FindAllStringSubmatch(text, -1) {
		cursor := line[2]
		if line[1] == "" {
			last = placed{}
			if err := json.Unmarshal([]byte(line[3]), &last); err != nil {
				continue // The example is abridged.
			}
			cursor = last.Cursor
		}
		if cursor != "" && !strings.Contains(cursor, "…") {
			n++
			checkCursor(t, where, cursor, last.positions())
		}
	}
	return n
}

// Each cursor in an example is valid, and contains the topics and positions of the example.
func TestCursorsAreOfTheirTopics(t *testing.T) {
	text, err := os.ReadFile("protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	if n := checkStream(t, "protocol.md", string(text)); n != 2 {
		t.Errorf("protocol.md: %d cursors, want 2", n)
	}

	document := readYAML(t, "openapi.yaml")
	n := 0
	walk(document, "", func(path string, o object) {
		where := "openapi.yaml: " + path
		example, _ := o["example"].(string)
		switch cursor, isPoll := o["cursor"].(string); {
		case isPoll:
			n++
			var poll placed
			if err := json.Unmarshal(encode(t, o), &poll); err != nil {
				t.Fatal(err)
			}
			checkCursor(t, where, cursor, poll.positions())
		case o["name"] == "Last-Event-ID": // its topic and position are the examples of topic and since
			n++
			parameters := document["components"].(object)["parameters"].(object)
			topic := parameters["topic"].(object)["example"].([]any)[0].(string)
			since := parameters["since"].(object)["example"].(string)
			checkCursor(t, where, example, map[pubsub.Topic]string{pubsub.Topic(topic): since})
		default:
			n += checkStream(t, where, example)
		}
	})
	if n != 7 {
		t.Errorf("openapi.yaml: %d cursors, want 7", n)
	}
}
