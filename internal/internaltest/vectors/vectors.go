// Package vectors reads the test vectors of internal/wire/testdata, which fix byte for byte
// what every implementation of the protocol reads and writes. testdata/README.md explains
// them. The tests of the packages that write these bytes read the vectors with this package.
package vectors

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/topic"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// A File is a file of testdata.
type File[T any] struct {
	Valid   []T
	Invalid []Invalid
}

// An Invalid is an input that must be refused.
type Invalid struct {
	Name, Input string
	Code        pubsub.Code
	ID          *int64
}

// dir returns the directory of the vectors.
func dir(t testing.TB) string {
	t.Helper()
	root, err := os.Getwd()
	for ; err == nil; root = filepath.Dir(root) {
		if _, err := os.Stat(filepath.Join(root, "go.mod")); err == nil {
			return filepath.Join(root, "internal", "wire", "testdata")
		}
	}
	t.Fatal(err)
	return ""
}

// Load reads a file of vectors.
func Load[T any](t testing.TB, name string) (v File[T]) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir(t), name))
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if len(v.Valid)+len(v.Invalid) == 0 {
		t.Errorf("%s holds nothing", name)
	}
	return v
}

// Files returns the names of the files that match a pattern.
func Files(t testing.TB, pattern string) (names []string) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir(t), pattern))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no vectors %s: %v", pattern, err)
	}
	for _, p := range paths {
		names = append(names, filepath.Base(p))
	}
	return names
}

// Bytes is bytes that the server sends, and the JSON value in them.
type Bytes struct {
	Name, Frame string
	Value       json.RawMessage
}

// An Object has every member that a value can have.
type Object struct {
	Type, Connection, Version, Topic, Position, From, To, Message, Cursor string
	Pattern                                                               string
	Patterns                                                              json.RawMessage
	Code                                                                  pubsub.Code
	ID                                                                    *int64
	Ping, After                                                           int
	Time, Expires                                                         int64
	Limits                                                                map[string]int
	Topics                                                                json.RawMessage
	Refused                                                               map[string]struct {
		Code    pubsub.Code
		Message string
	}
	Recovered, More, Retry bool
	Messages               []json.RawMessage
	Data                   json.RawMessage
	Count, Subscribers     int
	Member                 *member
	Members                []member
}

// A member is one present member.
type member struct {
	Sub  string
	Info json.RawMessage
}

// Read parses an object.
func Read(t *testing.T, value []byte) (f Object) {
	t.Helper()
	if err := json.Unmarshal(value, &f); err != nil {
		t.Fatalf("%s: %v", value, err)
	}
	return f
}

// Position parses a position.
func Position(t *testing.T, s string) pubsub.Position {
	t.Helper()
	p, err := pubsub.ParsePosition(s)
	if err != nil {
		t.Fatalf("%q: %v", s, err)
	}
	return p
}

// MessageOf returns the message in a frame.
func (f *Object) MessageOf(t *testing.T) *pubsub.Message {
	t.Helper()
	m := &pubsub.Message{Topic: pubsub.Topic(f.Topic), Position: Position(t, f.Position), Time: time.UnixMilli(f.Time)}
	var text string
	if f.Data[0] == '"' {
		if err := json.Unmarshal(f.Data, &text); err != nil {
			t.Fatal(err)
		}
		m.Body.Data = []byte(text)
		return m
	}
	m.Body = pubsub.Body{Data: compact(f.Data), JSON: true}
	return m
}

// Page returns a part of a history with this head, or what a poll gives.
func (f *Object) Page(t *testing.T, head []byte, end func([]byte) []byte) []byte {
	t.Helper()
	for i, value := range f.Messages {
		m := Read(t, value)
		if i > 0 {
			head = append(head, ',')
		}
		head = wire.AppendMessage(head, m.MessageOf(t))
	}
	return end(head)
}

// PageEnd returns how a part of a history ends.
func (f *Object) PageEnd(t *testing.T) func([]byte) []byte {
	t.Helper()
	return func(dst []byte) []byte {
		return wire.AppendHistoryEnd(dst, wire.HistoryEnd{Position: Position(t, f.Position), Recovered: f.Recovered, More: f.More})
	}
}

// MembersOf returns the members in a frame, or nil if it has none.
func (f *Object) MembersOf() (all []pubsub.Member) {
	if f.Member != nil {
		f.Members = append(f.Members, *f.Member)
	}
	if f.Members != nil {
		all = []pubsub.Member{}
	}
	for _, m := range f.Members {
		all = append(all, pubsub.Member{Sub: m.Sub, Info: compact(m.Info)})
	}
	return all
}

// Presence returns the presence in an object.
func (f *Object) Presence() *pubsub.PresenceEvent {
	return &pubsub.PresenceEvent{Topic: pubsub.Topic(f.Topic), Count: f.Count, Subscribers: f.Subscribers, Members: f.MembersOf()}
}

// Entry returns the entry of a log that holds m.
func Entry(m *pubsub.Message) *topic.Entry {
	log := topic.NewLogs(topic.Limits{}, nil).New(pubsub.Position{Epoch: m.Position.Epoch})
	cursor := log.Tail()
	log.Append(*m)
	entry, _, _ := cursor.Next()
	return entry
}

// compact returns JSON without white space, or nil for no JSON.
func compact(value json.RawMessage) []byte {
	if value == nil {
		return nil
	}
	var b bytes.Buffer
	_ = json.Compact(&b, value) // It was parsed as a part of something.
	return b.Bytes()
}

// Beginnings returns the topics of a frame, in the order of their names.
func (f *Object) Beginnings(t *testing.T) (all []wire.SubscribedTopic) {
	t.Helper()
	var topics map[pubsub.Topic]struct {
		Position  string
		Recovered bool
		Replay    int
	}
	for i, value := range []json.RawMessage{f.Topics, f.Patterns} {
		if value == nil {
			continue
		}
		clear(topics)
		if err := json.Unmarshal(value, &topics); err != nil {
			t.Fatal(err)
		}
		for _, name := range slices.Sorted(maps.Keys(topics)) {
			b := topics[name]
			if i == 1 {
				name = pubsub.Pattern(name).Topic()
			}
			all = append(all, wire.SubscribedTopic{Topic: name, Position: Position(t, b.Position), Recovered: b.Recovered, Replay: b.Replay})
		}
	}
	return all
}

// PatternList returns a list of patterns, or nil.
func (f *Object) PatternList(t *testing.T) (all []string) {
	t.Helper()
	if f.Patterns != nil {
		if err := json.Unmarshal(f.Patterns, &all); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// CheckInvalid checks that parse refuses each input with its code.
func CheckInvalid(t *testing.T, file string, vectors []Invalid, parse func(string) error) {
	t.Helper()
	for _, v := range vectors {
		if err := parse(v.Input); err == nil || pubsub.Refusal(err).Code != v.Code {
			t.Errorf("%s: %s: %v, want %s", file, v.Name, err, v.Code)
		}
	}
}

// required lists the members that a client can rely on, with the beginning of their values; "0"
// means any digit.
var required = map[string]string{
	"welcome":       `connection" version" ping0 limits{`,
	"subscribed":    `topics{`,
	"unsubscribed":  `topics[`,
	"broadcasted":   `topic" position"`,
	"authenticated": `expires0`,
	"history":       `topic" messages[ position" recoveredb moreb`,
	"pong":          ``,
	"ping":          ``,
	"error":         `code" message" retryb`,
	"bye":           `code" after0`,
	"skipped":       `topic" from" to"`,
	"gap":           `topic" position"`,
	"position":      `pattern" position"`,
	"hello":         `connection" topics{`,
	"message":       `topic" position" time0 data`,
	"poll":          `cursor" recoveredb messages[ moreb`,
	"page":          `messages[ position" recoveredb moreb`,
	"presence":      `topic" count0 subscribers0`,
	"members":       `topic" count0 subscribers0 members[`,
	"join":          `topic"`,
	"leave":         `topic"`,
	"problem":       `title" status0 code" detail"`,
}

// CheckObject checks an object of the server as a client would. kind is its type, or empty if the
// object has a type member.
func CheckObject(text []byte, kind string) error {
	malformed := pubsub.Errorf(pubsub.Malformed, "no object of the server")
	var members map[string]json.RawMessage
	if json.Unmarshal(text, &members) != nil || kind == "" && json.Unmarshal(members["type"], &kind) != nil {
		return malformed
	}
	shape, known := required[kind]
	if !known {
		return malformed
	}
	if kind == "gap" && members["pattern"] != nil { // instead of a topic
		shape = required["position"]
	}
	for field := range strings.FieldsSeq(shape) {
		name := strings.TrimRight(field, `"0b{[`)
		value := members[name]
		if len(value) == 0 || name == "topic" && string(value) == `""` {
			return malformed
		}
		first := value[:1]
		switch {
		case first[0] >= '0' && first[0] <= '9':
			first = []byte("0")
		case first[0] == 't' || first[0] == 'f':
			first = []byte("b")
		}
		if want := strings.TrimPrefix(field, name); want != "" && want != string(first) {
			return malformed
		}
	}
	if !checkMembers(kind, members["member"], members["members"]) {
		return malformed
	}
	var cursor string
	if value, ok := members["cursor"]; ok && json.Unmarshal(value, &cursor) != nil {
		return malformed
	}
	if cursor != "" {
		_, err := wire.ParseStreamCursor(cursor)
		return err
	}
	return nil
}

// checkMembers reports whether the members in a frame are well-formed. nil means that there are
// none.
func checkMembers(kind string, one, several json.RawMessage) bool {
	if (kind == "join" || kind == "leave") && (one == nil) == (several == nil) {
		return false
	}
	var all []struct {
		Sub  *string
		Info map[string]any
	}
	if one != nil {
		several = slices.Concat([]byte("["), one, []byte("]"))
	}
	if several != nil && json.Unmarshal(several, &all) != nil {
		return false
	}
	for _, m := range all {
		if m.Sub == nil {
			return false
		}
	}
	return true
}

// Marshal returns v as JSON that escapes nothing for HTML.
func Marshal(t testing.TB, v any) []byte {
	t.Helper()
	var b bytes.Buffer
	n := json.NewEncoder(&b)
	n.SetEscapeHTML(false)
	if err := n.Encode(v); err != nil {
		t.Fatal(err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
