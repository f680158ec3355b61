package wire_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// object is the message as it stands in docs/protocol.md, made by other means.
func object(t *testing.T, m *notiflux.Message) string {
	t.Helper()
	data := json.RawMessage(m.Body.Data)
	if !m.Body.JSON {
		data = marshal(t, string(m.Body.Data))
	}
	return fmt.Sprintf(`{"type":"message","topic":%s,"position":%s,"time":%d,"data":%s}`,
		marshal(t, m.Topic), marshal(t, m.Position.String()), m.Time.UnixMilli(), data)
}

func marshal(t *testing.T, v any) []byte {
	t.Helper()
	var b bytes.Buffer
	n := json.NewEncoder(&b)
	n.SetEscapeHTML(false)
	if err := n.Encode(v); err != nil {
		t.Fatal(err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

func TestEncode(t *testing.T) {
	for _, body := range []notiflux.Body{
		{Data: []byte{}},
		{Data: []byte("hello")},
		{Data: []byte("a\nb\"")},
		{Data: []byte(`{"x":[1,"\n"]}`), JSON: true},
		{Data: []byte(`null`), JSON: true},
		{Data: bytes.Repeat([]byte("long "), 50_000)},
	} {
		m := &notiflux.Message{Topic: "a b", Position: notiflux.Position{Epoch: "E", Offset: 300}, Time: time.UnixMilli(1790000000000), Body: body}
		want := object(t, m)
		cursor := string(wire.AppendStreamCursor(nil, []wire.CursorPlace{{Hash: wire.TopicHash("a b"), Position: notiflux.Position{Epoch: "E", Offset: 300}}}))
		var n wire.Encoder
		for range 2 { // The second time in memory that was used before.
			if got, deflated := open(t, n.Encode(m, notiflux.JSON)); string(got) != want || deflated {
				t.Errorf("JSON: %.200q, want %.200q", got, want)
			}
			if got, deflated := open(t, n.Encode(m, notiflux.JSONDeflated)); string(got) != want || deflated != (len(want) > 1000) {
				t.Errorf("JSONDeflated: %.200q, want %.200q", got, want)
			}
			if got, want := string(n.Encode(m, notiflux.SSE)), "event: message\ndata: "+want+"\nid: "+cursor+"\n\n"; got != want {
				t.Errorf("Event: %.200q, want %.200q", got, want)
			}
			if got, want := string(n.Encode(m, notiflux.NDJSON)), strings.TrimSuffix(want, "}")+`,"cursor":"`+cursor+"\"}\n"; got != want {
				t.Errorf("Line: %.200q, want %.200q", got, want)
			}
		}
	}
}

// Frames are shared: none may lie in the memory that the next is made in.
func TestFramesAreNotOverwritten(t *testing.T) {
	for e := range notiflux.Encodings {
		var n wire.Encoder
		first := n.Encode(&notiflux.Message{Topic: "a", Body: notiflux.Body{Data: bytes.Repeat([]byte("first"), 100)}}, e)
		before := bytes.Clone(first)
		n.Encode(&notiflux.Message{Topic: "b", Body: notiflux.Body{Data: bytes.Repeat([]byte("other"), 100)}}, e)
		if !bytes.Equal(first, before) {
			t.Errorf("encoding %d: %q became %q", e, before, first)
		}
	}
}

func TestEncodingAllocatesTheFrameOnly(t *testing.T) {
	for _, body := range []notiflux.Body{
		{Data: bytes.Repeat([]byte("0123456789"), 100)},
		{Data: []byte("[" + strings.Repeat("1234567890,", 100) + "1]"), JSON: true},
	} {
		m := &notiflux.Message{Topic: "topic", Position: notiflux.Position{Epoch: "Epoch", Offset: 1 << 40}, Time: time.Now(), Body: body}
		for e := range notiflux.Encodings {
			var n wire.Encoder
			frame := n.Encode(m, e)
			if got := testing.AllocsPerRun(100, func() { n.Encode(m, e) }); got > 1 {
				t.Errorf("encoding %d: %v allocations, want 1", e, got)
			}
			if cap(frame) > len(frame)*9/8+16 {
				t.Errorf("encoding %d: a frame of %d bytes has %d", e, len(frame), cap(frame))
			}
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	for e, name := range [...]string{"text", "deflated", "json", "json-deflated", "event", "line"} {
		for _, size := range []int{100, 1000, 60_000} {
			b.Run(fmt.Sprintf("%s/size=%d", name, size), func(b *testing.B) {
				data := strings.Repeat(`{"price":1234,"name":"example"}`, size/31+1)[:size]
				m := &notiflux.Message{Topic: "topic", Position: notiflux.Position{Epoch: "Epoch", Offset: 1 << 40}, Time: time.Now(), Body: notiflux.Body{Data: []byte(data)}}
				var n wire.Encoder
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					n.Encode(m, notiflux.Encoding(e))
				}
			})
		}
	}
}
