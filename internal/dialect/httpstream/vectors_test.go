package httpstream

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/internal/internaltest/vectors"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// Streams without chunks.
var events, lines = &dialect{syntax: sse}, &dialect{syntax: ndjson}

// objectOf returns the server's frame for the meaning of a vector.
func objectOf(t *testing.T, f *vectors.Object) []byte {
	t.Helper()
	name := pubsub.Topic(f.Topic)
	switch f.Type {
	case "unsubscribed":
		var topics []pubsub.Topic
		if err := json.Unmarshal(f.Topics, &topics); err != nil {
			t.Fatal(err)
		}
		return wire.AppendUnsubscribed(nil, topics, f.Code)
	case "bye":
		return wire.AppendBye(nil, f.Code, time.Duration(f.After)*time.Millisecond)
	case "skipped":
		return wire.AppendSkipped(nil, name, vectors.Position(t, f.From), vectors.Position(t, f.To))
	case "gap":
		return wire.AppendGap(nil, name, vectors.Position(t, f.Position))
	case "hello":
		return appendHello(nil, f.Connection, f.Beginnings(t))
	case "message":
		return wire.AppendMessage(nil, f.MessageOf(t))
	}
	t.Fatalf("no event has the type %q", f.Type)
	return nil
}

func TestHelloVectors(t *testing.T) {
	all := vectors.Load[vectors.Bytes](t, "frame-hello.json")
	for _, v := range all.Valid {
		f := vectors.Read(t, v.Value)
		if got := string(objectOf(t, &f)); got != v.Frame {
			t.Errorf("%s: %s, want %s", v.Name, got, v.Frame)
		}
		if err := vectors.CheckObject([]byte(v.Frame), ""); err != nil {
			t.Errorf("%s: %v", v.Name, err)
		}
	}
	vectors.CheckInvalid(t, "frame-hello.json", all.Invalid, func(input string) error { return vectors.CheckObject([]byte(input), "") })
}

func TestEventVectors(t *testing.T) {
	all := vectors.Load[struct {
		Name, Frame string
		Parsed      *event
	}](t, "event.json")
	for _, v := range all.Valid {
		if v.Parsed == nil {
			if got := string(events.heartbeat()); got != v.Frame {
				t.Errorf("%s: %q, want %q", v.Name, got, v.Frame)
			}
			continue
		}
		if got := readEvents(v.Frame); len(got) != 1 || got[0] != *v.Parsed {
			t.Errorf("%s: read as %+v, want %+v", v.Name, got, *v.Parsed)
		}
		f := vectors.Read(t, []byte(v.Parsed.Data))
		o := object{json: objectOf(t, &f), event: f.Type, retry: time.Duration(v.Parsed.Retry) * time.Millisecond}
		if v.Parsed.ID != "" {
			o.cursor = []byte(v.Parsed.ID)
		}
		got := events.appendObject(nil, o)
		if f.Type == "message" {
			got = wire.InsideChunk(sse.newEncoder().Encode(vectors.Entry(f.MessageOf(t))))
		}
		if string(got) != v.Frame {
			t.Errorf("%s: %q, want %q", v.Name, got, v.Frame)
		}
	}
	vectors.CheckInvalid(t, "event", all.Invalid, func(input string) error {
		events := readEvents(input)
		if len(events) != 1 || vectors.CheckObject([]byte(events[0].Data), "") != nil || vectors.Read(t, []byte(events[0].Data)).Type != events[0].Event {
			return pubsub.Errorf(pubsub.Malformed, "no event")
		}
		return nil
	})
}

func TestNDJSONVectors(t *testing.T) {
	all := vectors.Load[vectors.Bytes](t, "line.json")
	for _, v := range all.Valid {
		f := vectors.Read(t, v.Value)
		var got []byte
		switch f.Type {
		case "ping":
			got = lines.heartbeat()
		case "message":
			got = wire.InsideChunk(ndjson.newEncoder().Encode(vectors.Entry(f.MessageOf(t))))
		default:
			o := object{json: objectOf(t, &f), event: f.Type}
			if f.Cursor != "" {
				o.cursor = []byte(f.Cursor)
			}
			got = lines.appendObject(nil, o)
		}
		if string(got) != v.Frame {
			t.Errorf("%s: %q, want %q", v.Name, got, v.Frame)
		}
	}
	vectors.CheckInvalid(t, "line", all.Invalid, func(input string) error { return vectors.CheckObject([]byte(input), "") })
}
