package wire_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"maps"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// The vectors in testdata are for every implementation; testdata/README.md says
// what they mean.

// vectors is a file of testdata.
type vectors[T any] struct {
	Valid   []T
	Invalid []invalid
}

type invalid struct {
	Name, Input string
	Code        notiflux.Code
	ID          *int64
}

func load[T any](t testing.TB, name string) (v vectors[T]) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
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

func files(t testing.TB, pattern string) (names []string) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join("testdata", pattern))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no vectors %s: %v", pattern, err)
	}
	for _, p := range paths {
		names = append(names, filepath.Base(p))
	}
	return names
}

// Every file is read by a test.
func TestNoVectorIsForgotten(t *testing.T) {
	read := slices.Concat(files(t, "command*.json"), files(t, "frame-*.json"), files(t, "http-*.json"),
		[]string{"cursor.json", "event.json", "line.json", "message.json", "position.json", "request-broadcast.json"}) // the last one by package httpapi
	slices.Sort(read)
	if all := files(t, "*.json"); !slices.Equal(all, read) {
		t.Errorf("testdata holds %q, of which tests read %q", all, read)
	}
}

type commandVector struct {
	Name, Input string
	Parsed      map[string]any
}

func commandFiles(t testing.TB) map[string]vectors[commandVector] {
	all := make(map[string]vectors[commandVector])
	for _, name := range files(t, "command*.json") {
		all[name] = load[commandVector](t, name)
	}
	return all
}

func TestCommandVectors(t *testing.T) {
	for file, vectors := range commandFiles(t) {
		for _, v := range vectors.Valid {
			c, err := parseJSON([]byte(v.Input), limits)
			if err != nil {
				t.Errorf("%s: %s: %v", file, v.Name, err)
				continue
			}
			if got := parsed(t, c); !reflect.DeepEqual(got, v.Parsed) {
				t.Errorf("%s: %s: %v, want %v", file, v.Name, got, v.Parsed)
			}
		}
		for _, v := range vectors.Invalid {
			want := wire.NoID
			if v.ID != nil {
				want = wire.ID(*v.ID)
			}
			if c, err := parseJSON([]byte(v.Input), limits); err == nil || err.Code != v.Code || c.ID != want {
				t.Errorf("%s: %s: id %d, %v; want %d, %s", file, v.Name, c.ID, err, want, v.Code)
			}
		}
	}
}

// parsed returns c as the vectors write it.
func parsed(t *testing.T, c wire.JSONCommand) map[string]any {
	t.Helper()
	p := map[string]any{"type": map[wire.Verb]string{wire.Subscribe: "subscribe", wire.Unsubscribe: "unsubscribe", wire.UnsubscribeAll: "unsubscribe",
		wire.Broadcast: "broadcast", wire.Members: "presence", wire.Auth: "auth", wire.History: "history", wire.Ping: "ping"}[c.Verb]}
	if c.ID != wire.NoID {
		p["id"] = c.ID
	}
	if c.Verb == wire.Subscribe || c.Verb == wire.Unsubscribe {
		p["topics"] = append([]notiflux.Topic{}, c.Topics...)
		refused := make(map[string]notiflux.Code)
		for _, r := range c.Refused {
			refused[r.Topic] = r.Err.Code
		}
		if len(refused) > 0 {
			p["refused"] = refused
		}
	}
	switch c.Verb {
	case wire.Subscribe:
		p["token"], p["last"], p["mode"] = c.Token, c.Last, "all"
		if c.Latest {
			p["mode"] = "latest"
		}
		if c.Presence {
			p["presence"] = true
		}
		since := make(map[notiflux.Topic]string)
		for topic, position := range c.Since {
			since[topic] = position.String()
		}
		if len(since) > 0 {
			p["since"] = since
		}
	case wire.Broadcast:
		p["token"], p["topic"], p["message"] = c.Token, c.Topic, json.RawMessage(c.Body.Data)
		if !c.Body.JSON {
			p["message"] = string(c.Body.Data)
		}
		if c.Key != "" {
			p["key"] = c.Key
		}
		if c.NoEcho {
			p["echo"] = false
		}
	case wire.Members:
		p["token"], p["topic"] = c.Token, c.Topic
	case wire.Auth:
		p["token"] = c.Token
	case wire.History:
		p["token"], p["topic"], p["limit"] = c.Token, c.Topic, c.Limit
		if since, ok := c.Since[c.Topic]; ok {
			p["since"] = since.String()
		}
	}
	var plain map[string]any
	if err := json.Unmarshal(marshal(t, p), &plain); err != nil {
		t.Fatal(err)
	}
	return plain
}

// A frameVector is bytes that the server sends, and the JSON value in them.
type frameVector struct {
	Name, Frame string
	Value       json.RawMessage
}

// A frame is all members that a value may have.
type frame struct {
	Type, Connection, Version, Topic, Position, From, To, Message, Cursor string
	Code                                                                  notiflux.Code
	ID                                                                    *wire.ID
	Ping, After                                                           int
	Time, Expires                                                         int64
	Limits                                                                map[string]int
	Topics                                                                json.RawMessage
	Refused                                                               map[string]struct {
		Code    notiflux.Code
		Message string
	}
	Recovered, More, Retry bool
	Messages               []json.RawMessage
	Data                   json.RawMessage
	Count, Subscribers     int
	Member                 *member
	Members                []member
}

// A member is one of those that are present.
type member struct {
	Sub  string
	Info json.RawMessage
}

func readFrame(t *testing.T, value []byte) (f frame) {
	t.Helper()
	if err := json.Unmarshal(value, &f); err != nil {
		t.Fatalf("%s: %v", value, err)
	}
	return f
}

func position(t *testing.T, s string) notiflux.Position {
	t.Helper()
	p, err := notiflux.ParsePosition(s)
	if err != nil {
		t.Fatalf("%q: %v", s, err)
	}
	return p
}

// message returns the message in a frame.
func (f *frame) message(t *testing.T) *notiflux.Message {
	t.Helper()
	m := &notiflux.Message{Topic: notiflux.Topic(f.Topic), Position: position(t, f.Position), Time: time.UnixMilli(f.Time)}
	var text string
	if f.Data[0] == '"' {
		if err := json.Unmarshal(f.Data, &text); err != nil {
			t.Fatal(err)
		}
		m.Body.Data = []byte(text)
		return m
	}
	m.Body = notiflux.Body{Data: compact(f.Data), JSON: true}
	return m
}

// page returns a part of a history with this head, or what a poll gives.
func (f *frame) page(t *testing.T, head []byte, end func([]byte) []byte) []byte {
	t.Helper()
	for i, value := range f.Messages {
		m := readFrame(t, value)
		if i > 0 {
			head = append(head, ',')
		}
		head = wire.AppendMessage(head, m.message(t))
	}
	return end(head)
}

// pageEnd returns how a part of a history ends.
func (f *frame) pageEnd(t *testing.T) func([]byte) []byte {
	t.Helper()
	return func(dst []byte) []byte {
		return wire.AppendHistoryEnd(dst, wire.HistoryEnd{Position: position(t, f.Position), Recovered: f.Recovered, More: f.More})
	}
}

// members returns the members in a frame, nil if there is no word of them.
func (f *frame) members() (all []notiflux.Member) {
	if f.Member != nil {
		f.Members = append(f.Members, *f.Member)
	}
	if f.Members != nil {
		all = []notiflux.Member{}
	}
	for _, m := range f.Members {
		all = append(all, notiflux.Member{Sub: m.Sub, Info: compact(m.Info)})
	}
	return all
}

func (f *frame) presence() wire.Presence {
	return wire.Presence{Topic: notiflux.Topic(f.Topic), Count: f.Count, Subscribers: f.Subscribers, Members: f.members()}
}

// compact returns JSON without white space, nil if there is none.
func compact(value json.RawMessage) []byte {
	if value == nil {
		return nil
	}
	var b bytes.Buffer
	_ = json.Compact(&b, value) // It was parsed as a part of something.
	return b.Bytes()
}

// beginnings returns the topics of a frame, in the order of their names.
func (f *frame) beginnings(t *testing.T) (all []wire.SubscribedTopic) {
	t.Helper()
	var topics map[notiflux.Topic]struct {
		Position  string
		Recovered bool
		Replay    int
	}
	if err := json.Unmarshal(f.Topics, &topics); err != nil {
		t.Fatal(err)
	}
	for _, name := range slices.Sorted(maps.Keys(topics)) {
		b := topics[name]
		all = append(all, wire.SubscribedTopic{Topic: name, Position: position(t, b.Position), Recovered: b.Recovered, Replay: b.Replay})
	}
	return all
}

// object returns what this package makes of the meaning of a frame.
func (f *frame) object(t *testing.T) []byte {
	t.Helper()
	id, topic := wire.NoID, notiflux.Topic(f.Topic)
	if f.ID != nil {
		id = *f.ID
	}
	switch f.Type {
	case "welcome":
		return wire.AppendWelcome(nil, wire.Welcome{Connection: f.Connection, Version: f.Version, PingSeconds: f.Ping,
			Limits: wire.WelcomeLimits{MessageBytes: f.Limits["message"], CommandBytes: f.Limits["command"], Topics: f.Limits["topics"],
				TopicsPerCommand: f.Limits["topicsPerCommand"], CommandsPerSecond: f.Limits["commandsPerSecond"]}})
	case "subscribed":
		var refused []wire.RefusedTopic
		for _, name := range slices.Sorted(maps.Keys(f.Refused)) {
			r := f.Refused[name]
			refused = append(refused, wire.RefusedTopic{Topic: name, Err: &notiflux.Error{Code: r.Code, Detail: r.Message}})
		}
		return wire.AppendSubscribed(nil, id, f.beginnings(t), refused)
	case "unsubscribed":
		var topics []notiflux.Topic
		if err := json.Unmarshal(f.Topics, &topics); err != nil {
			t.Fatal(err)
		}
		return wire.AppendUnsubscribed(nil, id, topics, f.Code)
	case "broadcasted":
		return wire.AppendBroadcasted(nil, id, topic, position(t, f.Position))
	case "authenticated":
		return wire.AppendAuthenticated(nil, id, time.Unix(f.Expires, 0))
	case "history":
		return f.page(t, wire.AppendHistoryStart(nil, id, topic), f.pageEnd(t))
	case "pong":
		return wire.AppendPong(nil, id)
	case "error":
		return wire.AppendError(nil, id, &notiflux.Error{Code: f.Code, Detail: f.Message})
	case "bye":
		return wire.AppendBye(nil, f.Code, time.Duration(f.After)*time.Millisecond)
	case "skipped":
		return wire.AppendSkipped(nil, topic, position(t, f.From), position(t, f.To))
	case "gap":
		return wire.AppendGap(nil, topic, position(t, f.Position))
	case "join":
		return wire.AppendPresenceEvent(nil, &notiflux.PresenceEvent{Topic: topic, Kind: notiflux.PresenceJoin, Members: f.members()})
	case "leave":
		return wire.AppendPresenceEvent(nil, &notiflux.PresenceEvent{Topic: topic, Kind: notiflux.PresenceLeave, Members: f.members()})
	case "presence":
		return wire.AppendPresence(nil, id, f.presence())
	case "hello":
		return wire.AppendHello(nil, f.Connection, f.beginnings(t))
	case "message":
		return wire.AppendMessage(nil, f.message(t))
	}
	t.Fatalf("no frame has the type %q", f.Type)
	return nil
}

func TestFrameVectors(t *testing.T) {
	for _, name := range append(files(t, "frame-*.json"), "message.json") {
		vectors := load[frameVector](t, name)
		for _, v := range vectors.Valid {
			f := readFrame(t, v.Value)
			if got := string(f.object(t)); got != v.Frame {
				t.Errorf("%s: %s: %s, want %s", name, v.Name, got, v.Frame)
			}
			if err := checkObject([]byte(v.Frame), ""); err != nil {
				t.Errorf("%s: %s: %v", name, v.Name, err)
			}
		}
		checkInvalid(t, name, vectors.Invalid, func(input string) error { return checkObject([]byte(input), "") })
	}
}

func TestHTTPVectors(t *testing.T) {
	poll := load[frameVector](t, "http-poll.json")
	for _, v := range poll.Valid {
		f := readFrame(t, v.Value)
		if got := string(f.page(t, wire.AppendPollStart(nil, []byte(f.Cursor), f.Recovered), func(dst []byte) []byte { return wire.AppendPollEnd(dst, f.More) })); got != v.Frame {
			t.Errorf("%s: %s, want %s", v.Name, got, v.Frame)
		}
	}
	checkInvalid(t, "http-poll", poll.Invalid, func(input string) error { return checkObject([]byte(input), "poll") })
	history := load[frameVector](t, "http-history.json")
	for _, v := range history.Valid {
		f := readFrame(t, v.Value)
		if got := string(f.page(t, wire.AppendHistoryBodyStart(nil), f.pageEnd(t))); got != v.Frame {
			t.Errorf("%s: %s, want %s", v.Name, got, v.Frame)
		}
	}
	checkInvalid(t, "http-history", history.Invalid, func(input string) error { return checkObject([]byte(input), "page") })
	presence := load[frameVector](t, "http-presence.json")
	for _, v := range presence.Valid {
		f := readFrame(t, v.Value)
		p := f.presence()
		body := wire.AppendPresenceBodyStart(nil, p)
		for i, m := range p.Members {
			if i > 0 {
				body = append(body, ',')
			}
			body = wire.AppendMember(body, m)
		}
		if got := string(body) + wire.PresenceEnd; got != v.Frame {
			t.Errorf("%s: %s, want %s", v.Name, got, v.Frame)
		}
	}
	checkInvalid(t, "http-presence", presence.Invalid, func(input string) error { return checkObject([]byte(input), "members") })
}

// An outcome is what became of one message of a request to broadcast.
type outcome struct {
	Topic, Position string
	Error           *struct {
		Code    notiflux.Code
		Message string
	}
}

func (o outcome) object(t *testing.T) []byte {
	t.Helper()
	if o.Error != nil {
		return wire.AppendFailed(nil, o.Topic, &notiflux.Error{Code: o.Error.Code, Detail: o.Error.Message})
	}
	return wire.AppendPublished(nil, notiflux.Topic(o.Topic), position(t, o.Position))
}

// outcomes returns those of an answer: of one message, or a list.
func outcomes(text []byte) (all []outcome, list bool, err error) {
	if list = json.Unmarshal(text, &all) == nil; !list {
		all = make([]outcome, 1)
		err = json.Unmarshal(text, &all[0])
	}
	for _, o := range all {
		switch {
		case err != nil:
		case o.Error != nil:
			if !list || o.Error.Code == "" || o.Error.Message == "" {
				err = notiflux.Errorf(notiflux.Malformed, "no refusal")
			}
		case o.Topic == "" || o.Position == "":
			err = notiflux.Errorf(notiflux.Malformed, "no outcome")
		}
	}
	if err != nil {
		err = notiflux.Errorf(notiflux.Malformed, "no answer to a broadcast")
	}
	return all, list, err
}

func TestBroadcastVectors(t *testing.T) {
	vectors := load[frameVector](t, "http-broadcast.json")
	for _, v := range vectors.Valid {
		all, list, err := outcomes(v.Value)
		if err != nil {
			t.Errorf("%s: %v", v.Name, err)
		}
		var parts [][]byte
		for _, o := range all {
			parts = append(parts, o.object(t))
		}
		got := string(bytes.Join(parts, []byte(",")))
		if list {
			got = "[" + got + "]"
		}
		if got != v.Frame {
			t.Errorf("%s: %s, want %s", v.Name, got, v.Frame)
		}
	}
	checkInvalid(t, "http-broadcast", vectors.Invalid, func(input string) error { _, _, err := outcomes([]byte(input)); return err })
}

func TestProblemVectors(t *testing.T) {
	vectors := load[frameVector](t, "http-problem.json")
	for _, v := range vectors.Valid {
		var p struct {
			Status int
			Code   notiflux.Code
			Detail string
		}
		if err := json.Unmarshal(v.Value, &p); err != nil {
			t.Fatal(err)
		}
		w := httptest.NewRecorder()
		wire.WriteProblem(w, &notiflux.Error{Code: p.Code, Detail: p.Detail})
		if got := strings.TrimSuffix(w.Body.String(), "\n"); got != v.Frame || w.Code != p.Status {
			t.Errorf("%s: %d %s, want %d %s", v.Name, w.Code, got, p.Status, v.Frame)
		}
	}
	checkInvalid(t, "http-problem", vectors.Invalid, func(input string) error { return checkObject([]byte(input), "problem") })
}

func TestEventVectors(t *testing.T) {
	vectors := load[struct {
		Name, Frame string
		Parsed      *event
	}](t, "event.json")
	for _, v := range vectors.Valid {
		if v.Parsed == nil {
			if got := wire.Heartbeat(notiflux.SSE); got != v.Frame {
				t.Errorf("%s: %q, want %q", v.Name, got, v.Frame)
			}
			continue
		}
		if got := readEvents(v.Frame); len(got) != 1 || got[0] != *v.Parsed {
			t.Errorf("%s: read as %+v, want %+v", v.Name, got, *v.Parsed)
		}
		f := readFrame(t, []byte(v.Parsed.Data))
		o := wire.Object{JSON: f.object(t), Event: f.Type, Retry: time.Duration(v.Parsed.Retry) * time.Millisecond}
		if v.Parsed.ID != "" {
			o.Cursor = []byte(v.Parsed.ID)
		}
		got := wire.AppendObject(nil, notiflux.SSE, o)
		if f.Type == "message" {
			got = new(wire.Encoder).Encode(f.message(t), notiflux.SSE)
		}
		if string(got) != v.Frame {
			t.Errorf("%s: %q, want %q", v.Name, got, v.Frame)
		}
	}
	checkInvalid(t, "event", vectors.Invalid, func(input string) error {
		events := readEvents(input)
		if len(events) != 1 || checkObject([]byte(events[0].Data), "") != nil || readFrame(t, []byte(events[0].Data)).Type != events[0].Event {
			return notiflux.Errorf(notiflux.Malformed, "no event")
		}
		return nil
	})
}

func TestLineVectors(t *testing.T) {
	vectors := load[frameVector](t, "line.json")
	for _, v := range vectors.Valid {
		f := readFrame(t, v.Value)
		var got []byte
		switch f.Type {
		case "ping":
			got = []byte(wire.Heartbeat(notiflux.NDJSON))
		case "message":
			got = new(wire.Encoder).Encode(f.message(t), notiflux.NDJSON)
		default:
			o := wire.Object{JSON: f.object(t), Event: f.Type}
			if f.Cursor != "" {
				o.Cursor = []byte(f.Cursor)
			}
			got = wire.AppendObject(nil, notiflux.NDJSON, o)
		}
		if string(got) != v.Frame {
			t.Errorf("%s: %q, want %q", v.Name, got, v.Frame)
		}
	}
	checkInvalid(t, "line", vectors.Invalid, func(input string) error { return checkObject([]byte(input), "") })
}

func TestCursorVectors(t *testing.T) {
	vectors := load[struct {
		Name, Cursor, Epoch string
		Version             int  // 0: the one that is written
		Unknown             bool // so that there are no places
		Places              []struct {
			Topic  notiflux.Topic
			Offset uint64 `json:",string"`
			Epoch  string // empty: that of the vector
		}
		Since map[notiflux.Topic]*string
	}](t, "cursor.json")
	for _, v := range vectors.Valid {
		var places []wire.CursorPlace
		for _, p := range v.Places {
			places = append(places, wire.CursorPlace{Hash: wire.TopicHash(p.Topic), Position: notiflux.Position{Epoch: cmp.Or(p.Epoch, v.Epoch), Offset: p.Offset}})
		}
		if len(places) > 0 && v.Version == 0 && !v.Unknown {
			if got := string(wire.AppendStreamCursor(nil, places)); got != v.Cursor {
				t.Errorf("%s: %s, want %s", v.Name, got, v.Cursor)
			}
		}
		c, err := wire.ParseStreamCursor(v.Cursor)
		if err != nil {
			t.Errorf("%s: %v", v.Name, err)
			continue
		}
		for topic, want := range v.Since {
			got, there := c.Since(topic)
			_, err := notiflux.ParsePosition(got.String())
			switch {
			case want == nil && there, want != nil && !there:
				t.Errorf("%s: %q: %v, %v", v.Name, topic, got, there)
			case want == nil:
			case *want == "lost":
				// No server has such an epoch.
				if err == nil || got.Epoch == "" {
					t.Errorf("%s: %q is at %v, which may be covered", v.Name, topic, got)
				}
			case got.String() != *want:
				t.Errorf("%s: %q is at %v, want %s", v.Name, topic, got, *want)
			}
		}
	}
	checkInvalid(t, "cursor", vectors.Invalid, func(input string) error { _, err := wire.ParseStreamCursor(input); return err })
}

func TestPositionVectors(t *testing.T) {
	vectors := load[struct {
		Name, Position, Epoch string
		Offset                uint64 `json:",string"`
	}](t, "position.json")
	for _, v := range vectors.Valid {
		want := notiflux.Position{Epoch: v.Epoch, Offset: v.Offset}
		if got, err := notiflux.ParsePosition(v.Position); err != nil || got != want || got.String() != v.Position {
			t.Errorf("%s: %v, %v; want %v", v.Name, got, err, want)
		}
	}
	checkInvalid(t, "position", vectors.Invalid, func(input string) error { _, err := notiflux.ParsePosition(input); return err })
}

func checkInvalid(t *testing.T, file string, vectors []invalid, parse func(string) error) {
	t.Helper()
	for _, v := range vectors {
		if err := parse(v.Input); err == nil || notiflux.Refusal(err).Code != v.Code {
			t.Errorf("%s: %s: %v, want %s", file, v.Name, err, v.Code)
		}
	}
}

// required are the members that a client can rely on, with the beginning of
// their values; "0" stands for any digit.
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

// checkObject is a client's view of an object of the server: kind is its type,
// or empty if it says so itself.
func checkObject(text []byte, kind string) error {
	malformed := notiflux.Errorf(notiflux.Malformed, "no object of the server")
	var members map[string]json.RawMessage
	if json.Unmarshal(text, &members) != nil || kind == "" && json.Unmarshal(members["type"], &kind) != nil {
		return malformed
	}
	shape, known := required[kind]
	if !known {
		return malformed
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

// checkMembers reports whether those who are present, or come and go, are said as
// they should be; nil: not said.
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
