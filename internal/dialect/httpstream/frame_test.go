package httpstream

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/ikornaselur/notiflux/internal/internaltest/vectors"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// An event is what a browser parses from its lines.
type event struct {
	Event string `json:"event"`
	Data  string `json:"data"`
	ID    string `json:"id"`
	Retry int    `json:"retry"`
}

// readEvents reads a stream of events as the HTML standard says, section 9.2.6. It does not
// dispatch events without data.
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

// For any message, a client reads one event or line that contains it.
func FuzzEvent(f *testing.F) {
	for _, s := range []string{"", "hello", "a\nb", "a\r\rdata: b\n\nid: c", "\",\"cursor\":\"x\"}\n", "\x00\u2028\ufeff", "\xff", ": "} {
		f.Add("topic", s)
		f.Add(s, "body")
	}
	f.Fuzz(func(t *testing.T, topic, body string) {
		if !utf8.ValidString(body) || !utf8.ValidString(topic) {
			t.Skip("not published")
		}
		quoted, _ := json.Marshal(body)
		for _, b := range []pubsub.Body{{Data: []byte(body)}, {Data: quoted, JSON: true}} {
			m := &pubsub.Message{Topic: pubsub.Topic(topic), Position: pubsub.Position{Epoch: "E", Offset: 1}, Time: time.UnixMilli(5), Body: b}
			entry := vectors.Entry(m)
			frame := wire.InsideChunk(sse.newEncoder().Encode(entry))
			read := readEvents(string(frame))
			if len(read) != 1 || read[0].Event != "message" {
				t.Fatalf("%q is read as %+v, want one message", frame, read)
			}
			cursor := wire.AppendStreamCursor(nil, []wire.CursorPlace{{Hash: wire.TopicHash(m.Topic), Position: pubsub.Position{Epoch: "E", Offset: 1}}})
			checkMessage(t, read[0].Data, topic, body)
			if read[0].ID != string(cursor) {
				t.Errorf("%q has the id %q, want %q", frame, read[0].ID, cursor)
			}
			line := wire.InsideChunk(ndjson.newEncoder().Encode(entry))
			if bytes.IndexByte(line, '\n') != len(line)-1 {
				t.Fatalf("%q is not one line", line)
			}
			checkMessage(t, string(line), topic, body)
			for _, d := range []*dialect{events, lines} {
				whole := wire.InsideChunk(d.syntax.newEncoder().Encode(entry))
				if again := d.AppendWithCursor(nil, whole, cursor); !bytes.Equal(again, whole) {
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
	gap := wire.AppendGap(nil, "a", pubsub.Position{Epoch: "E", Offset: 60})
	for d, want := range map[dialect]string{
		{sse, false}:    "event: gap\ndata: {\"type\":\"gap\",\"topic\":\"a\",\"position\":\"E:60\"}\nid: new\n\n",
		{ndjson, false}: "{\"type\":\"gap\",\"topic\":\"a\",\"position\":\"E:60\",\"cursor\":\"new\"}\n",

		{sse, true}:    "00000047\r\nevent: gap\ndata: {\"type\":\"gap\",\"topic\":\"a\",\"position\":\"E:60\"}\nid: new\n\n\r\n",
		{ndjson, true}: "0000003c\r\n{\"type\":\"gap\",\"topic\":\"a\",\"position\":\"E:60\",\"cursor\":\"new\"}\n\r\n",
	} {
		frame := d.appendObject([]byte("before"), object{json: gap, event: "gap", cursor: []byte("older")})[len("before"):]
		if got := string(d.AppendWithCursor([]byte("before"), frame, []byte("new"))); got != "before"+want {
			t.Errorf("%+v: %q, want %q", d, got, want)
		}
	}
}

// forms are the forms of streams.
var forms = map[string]*dialect{
	"event": {syntax: sse}, "event-chunk": {sse, true},
	"line": {syntax: ndjson}, "line-chunk": {ndjson, true},
}

// encode returns the frame of a message with data of a size.
func (d *dialect) encode(size int) []byte {
	frame := d.syntax.newEncoder().Encode(vectors.Entry(&pubsub.Message{Topic: "topic", Body: pubsub.Body{Data: bytes.Repeat([]byte("x"), size)}}))
	if d.chunked {
		return frame
	}
	return wire.InsideChunk(frame)
}

func TestReplacingACursorAllocatesNothing(t *testing.T) {
	for name, d := range forms {
		frame, dst := d.encode(1000), make([]byte, 0, 2000)
		if got := testing.AllocsPerRun(100, func() { d.AppendWithCursor(dst, frame, []byte("cursor")) }); got > 0 {
			t.Errorf("%s: %v allocations, want 0", name, got)
		}
	}
}

func BenchmarkReplaceCursor(b *testing.B) {
	for name, d := range forms {
		for _, size := range []int{100, 10_000} {
			b.Run(fmt.Sprintf("%s/size=%d", name, size), func(b *testing.B) {
				frame, cursor := d.encode(size), bytes.Repeat([]byte("c"), 50)
				var dst []byte
				b.ReportAllocs()
				for b.Loop() {
					dst = d.AppendWithCursor(dst[:0], frame, cursor)
				}
			})
		}
	}
}
