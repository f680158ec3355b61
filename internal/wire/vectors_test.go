package wire_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/ikornaselur/notiflux/internal/internaltest/vectors"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// The vectors in testdata are for every implementation. testdata/README.md explains them.

// Each file is read by some test.
func TestNoVectorIsForgotten(t *testing.T) {
	read := slices.Concat(vectors.Files(t, "command*.json"), vectors.Files(t, "frame-*.json"), vectors.Files(t, "http-*.json"),
		[]string{"cursor.json", "event.json", "line.json", "message.json", "position.json", "request-broadcast.json", "request-read.json"}) // package httpapi reads the last two
	slices.Sort(read)
	if all := vectors.Files(t, "*.json"); !slices.Equal(all, read) {
		t.Errorf("testdata has %q, but tests read only %q", all, read)
	}
}

func TestHTTPVectors(t *testing.T) {
	poll := vectors.Load[vectors.Bytes](t, "http-poll.json")
	for _, v := range poll.Valid {
		f := vectors.Read(t, v.Value)
		var places []wire.SubscribedTopic
		if f.Topics != nil {
			places = f.Beginnings(t)
		}
		if got := string(f.Page(t, wire.AppendPollStart(nil, []byte(f.Cursor), f.Recovered, places), func(dst []byte) []byte { return wire.AppendPollEnd(dst, f.More) })); got != v.Frame {
			t.Errorf("%s: %s, want %s", v.Name, got, v.Frame)
		}
	}
	vectors.CheckInvalid(t, "http-poll", poll.Invalid, func(input string) error { return vectors.CheckObject([]byte(input), "poll") })
	history := vectors.Load[vectors.Bytes](t, "http-history.json")
	for _, v := range history.Valid {
		f := vectors.Read(t, v.Value)
		if got := string(f.Page(t, wire.AppendHistoryBodyStart(nil), f.PageEnd(t))); got != v.Frame {
			t.Errorf("%s: %s, want %s", v.Name, got, v.Frame)
		}
	}
	vectors.CheckInvalid(t, "http-history", history.Invalid, func(input string) error { return vectors.CheckObject([]byte(input), "page") })
	presence := vectors.Load[vectors.Bytes](t, "http-presence.json")
	for _, v := range presence.Valid {
		f := vectors.Read(t, v.Value)
		p := f.Presence()
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
	vectors.CheckInvalid(t, "http-presence", presence.Invalid, func(input string) error { return vectors.CheckObject([]byte(input), "members") })
}

// An outcome is the result of one message of a broadcast request.
type outcome struct {
	Topic, Position string
	Error           *struct {
		Code    pubsub.Code
		Message string
	}
}

func (o outcome) object(t *testing.T) []byte {
	t.Helper()
	if o.Error != nil {
		return wire.AppendFailed(nil, o.Topic, &pubsub.Error{Code: o.Error.Code, Detail: o.Error.Message})
	}
	return wire.AppendPublished(nil, pubsub.Topic(o.Topic), vectors.Position(t, o.Position))
}

// outcomes returns the outcomes in an answer: one, or a list.
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
				err = pubsub.Errorf(pubsub.Malformed, "no refusal")
			}
		case o.Topic == "" || o.Position == "":
			err = pubsub.Errorf(pubsub.Malformed, "no outcome")
		}
	}
	if err != nil {
		err = pubsub.Errorf(pubsub.Malformed, "no answer to a broadcast")
	}
	return all, list, err
}

func TestBroadcastVectors(t *testing.T) {
	all := vectors.Load[vectors.Bytes](t, "http-broadcast.json")
	for _, v := range all.Valid {
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
	vectors.CheckInvalid(t, "http-broadcast", all.Invalid, func(input string) error { _, _, err := outcomes([]byte(input)); return err })
}

func TestProblemVectors(t *testing.T) {
	all := vectors.Load[vectors.Bytes](t, "http-problem.json")
	for _, v := range all.Valid {
		var p struct {
			Status int
			Code   pubsub.Code
			Detail string
		}
		if err := json.Unmarshal(v.Value, &p); err != nil {
			t.Fatal(err)
		}
		w := httptest.NewRecorder()
		wire.WriteProblem(w, &pubsub.Error{Code: p.Code, Detail: p.Detail})
		if got := strings.TrimSuffix(w.Body.String(), "\n"); got != v.Frame || w.Code != p.Status {
			t.Errorf("%s: %d %s, want %d %s", v.Name, w.Code, got, p.Status, v.Frame)
		}
	}
	vectors.CheckInvalid(t, "http-problem", all.Invalid, func(input string) error { return vectors.CheckObject([]byte(input), "problem") })
}

func TestCursorVectors(t *testing.T) {
	all := vectors.Load[struct {
		Name, Cursor, Epoch string
		Version             int  // 0: the version that the server writes
		Unknown             bool // so it has no places
		Places              []struct {
			Topic  pubsub.Topic
			Offset uint64 `json:",string"`
			Epoch  string // empty: that of the vector
		}
		Since map[pubsub.Topic]*string
	}](t, "cursor.json")
	for _, v := range all.Valid {
		var places []wire.CursorPlace
		for _, p := range v.Places {
			places = append(places, wire.CursorPlace{Hash: wire.TopicHash(p.Topic), Position: pubsub.Position{Epoch: cmp.Or(p.Epoch, v.Epoch), Offset: p.Offset}})
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
			_, err := pubsub.ParsePosition(got.String())
			switch {
			case want == nil && there, want != nil && !there:
				t.Errorf("%s: %q: %v, %v", v.Name, topic, got, there)
			case want == nil:
			case *want == "lost":
				// No server has this epoch.
				if err == nil || got.Epoch == "" {
					t.Errorf("%s: %q is at %v, which may be covered", v.Name, topic, got)
				}
			case got.String() != *want:
				t.Errorf("%s: %q is at %v, want %s", v.Name, topic, got, *want)
			}
		}
	}
	vectors.CheckInvalid(t, "cursor", all.Invalid, func(input string) error { _, err := wire.ParseStreamCursor(input); return err })
}

func TestPositionVectors(t *testing.T) {
	all := vectors.Load[struct {
		Name, Position, Epoch string
		Offset                uint64 `json:",string"`
	}](t, "position.json")
	for _, v := range all.Valid {
		want := pubsub.Position{Epoch: v.Epoch, Offset: v.Offset}
		if got, err := pubsub.ParsePosition(v.Position); err != nil || got != want || got.String() != v.Position {
			t.Errorf("%s: %v, %v; want %v", v.Name, got, err, want)
		}
	}
	vectors.CheckInvalid(t, "position", all.Invalid, func(input string) error { _, err := pubsub.ParsePosition(input); return err })
}
