package session_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/internal/internaltest/frametest"
	"github.com/ikornaselur/notiflux/internal/internaltest/vectors"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/session"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// object returns the message in the form of docs/protocol.md, encoded by encoding/json.
func object(t *testing.T, m *pubsub.Message) string {
	t.Helper()
	data := json.RawMessage(m.Body.Data)
	if !m.Body.JSON {
		data = vectors.Marshal(t, string(m.Body.Data))
	}
	return fmt.Sprintf(`{"type":"message","topic":%s,"position":%s,"time":%d,"data":%s}`,
		vectors.Marshal(t, m.Topic), vectors.Marshal(t, m.Position.String()), m.Time.UnixMilli(), data)
}

// encoders returns the encoders of all dialects by name, plain and compressed.
func encoders() map[string]session.Encoder {
	all := make(map[string]session.Encoder)
	for _, e := range new(world).endpoints() {
		all[e.Encoding.Name] = e.Encoding.New()
		if e.Encoding.Deflatable {
			all[e.Encoding.Name+"-deflated"] = session.Deflating(e.Encoding.New())
		}
	}
	return all
}

// open returns the payload of a frame, and whether it was compressed.
func open(t *testing.T, p []byte) (payload []byte, deflated bool) {
	t.Helper()
	frame, err := frametest.ReadFrame(bytes.NewReader(p))
	if err != nil {
		t.Fatal(err)
	}
	if frame.RSV() == 0 {
		return frame.Payload, false
	}
	if payload, err = frametest.Inflate(frame.Payload); err != nil {
		t.Fatal(err)
	}
	return payload, true
}

func TestEncode(t *testing.T) {
	for _, body := range []pubsub.Body{
		{Data: []byte{}},
		{Data: []byte("hello")},
		{Data: []byte("a\nb\"")},
		{Data: []byte(`{"x":[1,"\n"]}`), JSON: true},
		{Data: []byte(`null`), JSON: true},
		{Data: bytes.Repeat([]byte("long "), 50_000)},
	} {
		m := &pubsub.Message{Topic: "a b", Position: pubsub.Position{Epoch: "E", Offset: 300}, Time: time.UnixMilli(1790000000000), Body: body}
		entry, want := vectors.Entry(m), object(t, m)
		cursor := string(wire.AppendStreamCursor(nil, []wire.CursorPlace{{Hash: wire.TopicHash("a b"), Position: m.Position}}))
		n := encoders()
		for range 2 { // The second time the memory was used before.
			if got, deflated := open(t, n["text"].Encode(entry)); !bytes.Equal(got, body.Data) || deflated {
				t.Errorf("text: %.200q, want %.200q", got, body.Data)
			}
			if got, deflated := open(t, n["json"].Encode(entry)); string(got) != want || deflated {
				t.Errorf("JSON: %.200q, want %.200q", got, want)
			}
			if got, deflated := open(t, n["json-deflated"].Encode(entry)); string(got) != want || deflated != (len(want) > 1000) {
				t.Errorf("JSON, deflated: %.200q, want %.200q", got, want)
			}
			if got, want := string(wire.InsideChunk(n["sse"].Encode(entry))), "event: message\ndata: "+want+"\nid: "+cursor+"\n\n"; got != want {
				t.Errorf("SSE: %.200q, want %.200q", got, want)
			}
			if got, want := string(wire.InsideChunk(n["ndjson"].Encode(entry))), strings.TrimSuffix(want, "}")+`,"cursor":"`+cursor+"\"}\n"; got != want {
				t.Errorf("NDJSON: %.200q, want %.200q", got, want)
			}
		}
	}
}

// Frames are shared, so none may use memory that the next one is made in.
func TestFramesAreNotOverwritten(t *testing.T) {
	for name, n := range encoders() {
		first := n.Encode(vectors.Entry(&pubsub.Message{Topic: "a", Body: pubsub.Body{Data: bytes.Repeat([]byte("first"), 100)}}))
		before := bytes.Clone(first)
		n.Encode(vectors.Entry(&pubsub.Message{Topic: "b", Body: pubsub.Body{Data: bytes.Repeat([]byte("other"), 100)}}))
		if !bytes.Equal(first, before) {
			t.Errorf("%s: %q became %q", name, before, first)
		}
	}
}

func TestEncodingAllocatesTheFrameOnly(t *testing.T) {
	for _, body := range []pubsub.Body{
		{Data: bytes.Repeat([]byte("0123456789"), 100)},
		{Data: []byte("[" + strings.Repeat("1234567890,", 100) + "1]"), JSON: true},
	} {
		entry := vectors.Entry(&pubsub.Message{Topic: "topic", Position: pubsub.Position{Epoch: "Epoch", Offset: 1 << 40}, Time: time.Now(), Body: body})
		for name, n := range encoders() {
			most := 1.0
			if strings.HasSuffix(name, "-deflated") {
				most++ // the plain frame
			}
			frame := n.Encode(entry)
			if got := testing.AllocsPerRun(100, func() { n.Encode(entry) }); got > most {
				t.Errorf("%s: %v allocations, want %v", name, got, most)
			}
			if cap(frame) > len(frame)*9/8+16 {
				t.Errorf("%s: a frame of %d bytes has %d", name, len(frame), cap(frame))
			}
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	for name, n := range encoders() {
		for _, size := range []int{100, 1000, 60_000} {
			b.Run(fmt.Sprintf("%s/size=%d", name, size), func(b *testing.B) {
				data := strings.Repeat(`{"price":1234,"name":"example"}`, size/31+1)[:size]
				entry := vectors.Entry(&pubsub.Message{Topic: "topic", Position: pubsub.Position{Epoch: "Epoch", Offset: 1 << 40}, Time: time.Now(), Body: pubsub.Body{Data: []byte(data)}})
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					n.Encode(entry)
				}
			})
		}
	}
}
