package wire_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/ikornaselur/notiflux"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// An event is what a browser makes of the lines of one.
type event struct {
	Event string `json:"event"`
	Data  string `json:"data"`
	ID    string `json:"id"`
	Retry int    `json:"retry"`
}

// readEvents reads a stream of events as the HTML standard says, section 9.2.6.
// Events without data are not dispatched.
func readEvents(stream string) (all []event) {
	stream = strings.TrimPrefix(stream, "\ufeff")
	stream = strings.ReplaceAll(strings.ReplaceAll(stream, "\r\n", "\n"), "\r", "\n")
	var e event
	var data []string
	for line := range strings.SplitSeq(stream, "\n") {
		if line == "" {
			if data != nil {
				e.Data = strings.Join(data, "\n")
				all = append(all, e)
			}
			e, data = event{}, nil
			continue
		}
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "event":
			e.Event = value
		case "data":
			data = append(data, value)
		case "id":
			e.ID = value
		case "retry":
			e.Retry, _ = strconv.Atoi(value)
		}
	}
	return all
}

// Whatever is published, a client reads one event or line, which holds it.
func FuzzEvent(f *testing.F) {
	for _, s := range []string{"", "hello", "a\nb", "a\r\rdata: b\n\nid: c", "\",\"cursor\":\"x\"}\n", "\x00\u2028\ufeff", "\xff", ": "} {
		f.Add("topic", s)
		f.Add(s, "body")
	}
	f.Fuzz(func(t *testing.T, topic, body string) {
		if !utf8.ValidString(body) || !utf8.ValidString(topic) {
			t.Skip("not published")
		}
		quoted := marshal(t, body)
		for _, b := range []notiflux.Body{{Data: []byte(body)}, {Data: quoted, JSON: true}} {
			m := &notiflux.Message{Topic: notiflux.Topic(topic), Position: notiflux.Position{Epoch: "E", Offset: 1}, Time: time.UnixMilli(5), Body: b}
			var n wire.Encoder
			frame := n.Encode(m, notiflux.SSE)
			events := readEvents(string(frame))
			if len(events) != 1 || events[0].Event != "message" {
				t.Fatalf("%q is read as %+v, want one message", frame, events)
			}
			cursor := wire.AppendStreamCursor(nil, []wire.CursorPlace{{Hash: wire.TopicHash(m.Topic), Position: notiflux.Position{Epoch: "E", Offset: 1}}})
			checkMessage(t, events[0].Data, topic, body)
			if events[0].ID != string(cursor) {
				t.Errorf("%q has the id %q, want %q", frame, events[0].ID, cursor)
			}
			line := n.Encode(m, notiflux.NDJSON)
			if bytes.IndexByte(line, '\n') != len(line)-1 {
				t.Fatalf("%q is not one line", line)
			}
			checkMessage(t, string(line), topic, body)
			for _, e := range []notiflux.Encoding{notiflux.SSE, notiflux.NDJSON} {
				whole := n.Encode(m, e)
				if again := wire.AppendWithCursor(nil, wire.WithoutCursor(whole, e), e, cursor); !bytes.Equal(again, whole) {
					t.Errorf("with its own cursor, %q became %q", whole, again)
				}
			}
		}
	})
}

func checkMessage(t *testing.T, text, topic, body string) {
	t.Helper()
	var got struct{ Type, Topic, Position, Data string }
	if err := json.Unmarshal([]byte(text), &got); err != nil || got.Type != "message" || got.Topic != topic || got.Data != body || got.Position != "E:1" {
		t.Errorf("%q is read as %+v, %v; want topic %q and data %q", text, got, err, topic, body)
	}
}

func TestCursorIsReplaced(t *testing.T) {
	gap := wire.AppendGap(nil, "a", notiflux.Position{Epoch: "E", Offset: 60})
	for e, want := range map[notiflux.Encoding]string{
		notiflux.SSE:    "event: gap\ndata: {\"type\":\"gap\",\"topic\":\"a\",\"position\":\"E:60\"}\nid: new\n\n",
		notiflux.NDJSON: "{\"type\":\"gap\",\"topic\":\"a\",\"position\":\"E:60\",\"cursor\":\"new\"}\n",

		notiflux.SSEChunk:    "00000047\r\nevent: gap\ndata: {\"type\":\"gap\",\"topic\":\"a\",\"position\":\"E:60\"}\nid: new\n\n\r\n",
		notiflux.NDJSONChunk: "0000003c\r\n{\"type\":\"gap\",\"topic\":\"a\",\"position\":\"E:60\",\"cursor\":\"new\"}\n\r\n",
	} {
		frame := wire.AppendObject([]byte("before"), e, wire.Object{JSON: gap, Event: "gap", Cursor: []byte("older")})[len("before"):]
		if got := string(wire.AppendWithCursor([]byte("before"), wire.WithoutCursor(frame, e), e, []byte("new"))); got != "before"+want {
			t.Errorf("encoding %d: %q, want %q", e, got, want)
		}
	}
}

func TestObjectsAreTextFrames(t *testing.T) {
	pong := wire.AppendPong(nil, 7)
	for _, e := range []notiflux.Encoding{notiflux.JSON, notiflux.JSONDeflated} {
		if got, _ := open(t, wire.AppendObject(nil, e, wire.Object{JSON: pong, Event: "pong"})); string(got) != `{"type":"pong","id":7}` {
			t.Errorf("encoding %d: %q", e, got)
		}
	}
}

func TestReplacingACursorAllocatesNothing(t *testing.T) {
	m := &notiflux.Message{Topic: "topic", Body: notiflux.Body{Data: bytes.Repeat([]byte("x"), 1000)}}
	for _, e := range []notiflux.Encoding{notiflux.SSE, notiflux.SSEChunk, notiflux.NDJSON, notiflux.NDJSONChunk} {
		frame := new(wire.Encoder).Encode(m, e)
		dst := make([]byte, 0, 2000)
		if got := testing.AllocsPerRun(100, func() { wire.AppendWithCursor(dst, wire.WithoutCursor(frame, e), e, []byte("cursor")) }); got > 0 {
			t.Errorf("encoding %d: %v allocations, want 0", e, got)
		}
	}
}

func BenchmarkReplaceCursor(b *testing.B) {
	for e, name := range map[notiflux.Encoding]string{notiflux.SSE: "event", notiflux.SSEChunk: "event-chunk", notiflux.NDJSON: "line"} {
		for _, size := range []int{100, 10_000} {
			b.Run(fmt.Sprintf("%s/size=%d", name, size), func(b *testing.B) {
				m := &notiflux.Message{Topic: "topic", Body: notiflux.Body{Data: bytes.Repeat([]byte("x"), size)}}
				frame := new(wire.Encoder).Encode(m, e)
				cursor := bytes.Repeat([]byte("c"), 50)
				var dst []byte
				b.ReportAllocs()
				for b.Loop() {
					dst = wire.AppendWithCursor(dst[:0], wire.WithoutCursor(frame, e), e, cursor)
				}
			})
		}
	}
}
