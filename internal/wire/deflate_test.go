package wire_test

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/ikornaselur/notiflux/internal/internaltest/frametest"
	"github.com/ikornaselur/notiflux/internal/wire"
	"github.com/ikornaselur/notiflux/internal/wsframe"
)

// open returns the message in a frame, as a client reads it, and whether it was compressed.
func open(t interface{ Fatalf(string, ...any) }, p []byte) (payload []byte, deflated bool) {
	h, n, ok := wsframe.ParseHeader(p)
	payload = p[n:]
	if !ok || !h.Fin() || h.Masked || h.RSV()&^wsframe.RSV1 != 0 || h.Length != int64(len(payload)) {
		t.Fatalf("frame %+v, %v, followed by %d bytes", h, ok, len(payload))
	}
	if h.RSV() == 0 {
		return payload, false
	}
	payload, err := frametest.Inflate(payload)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return payload, true
}

func TestDeflatedFrames(t *testing.T) {
	noise := make([]byte, 1000)
	rand.NewChaCha8([32]byte{}).Read(noise)
	var d wire.Deflater
	for name, c := range map[string]struct {
		payload string
		want    bool
	}{
		"empty":       {"", false},
		"short":       {strings.Repeat("x", 127), false},
		"long enough": {strings.Repeat("x", 128), true},
		"JSON":        {strings.Repeat(`{"price":1}`, 100), true},
		"noise":       {string(noise), false},
		"large":       {strings.Repeat("0123456789", 500_000), true},
	} {
		frame := d.Deflate(wire.AppendText(nil, []byte(c.payload)))
		got, deflated := open(t, frame)
		if string(got) != c.payload || deflated != c.want {
			t.Errorf("%s: %d bytes, compressed: %v; want %d, %v", name, len(got), deflated, len(c.payload), c.want)
		}
		if plain := wire.AppendText(nil, []byte(c.payload)); deflated && len(frame) >= len(plain) {
			t.Errorf("%s: the compressed frame has %d bytes, the plain one %d", name, len(frame), len(plain))
		}
	}
}

// Each frame can be read alone, whatever the Deflater wrote before.
func TestDeflatedFramesOpen(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var d wire.Deflater
		for range rapid.IntRange(1, 4).Draw(t, "frames") {
			payload := bytes.Repeat(rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "payload"), rapid.IntRange(1, 20).Draw(t, "times"))
			got, _ := open(t, d.Deflate(wsframe.AppendFrame(nil, wsframe.Binary, payload)))
			if !bytes.Equal(got, payload) {
				t.Fatalf("opened %q, want %q", got, payload)
			}
		}
	})
}

// Deflate must not change the frame, which other clients also get.
func TestDeflateKeepsTheFrame(t *testing.T) {
	var d wire.Deflater
	frame := wire.AppendText(nil, bytes.Repeat([]byte("x"), 1000))
	before := bytes.Clone(frame)
	got := d.Deflate(frame)
	if payload, deflated := open(t, got); len(payload) != 1000 || !deflated {
		t.Errorf("%d bytes, compressed: %v; want 1000, true", len(payload), deflated)
	}
	if !bytes.Equal(frame, before) {
		t.Error("the frame has changed")
	}
}

// Compressing several frames as one would corrupt the connection.
func TestDeflateAcceptsOnlyOneFrame(t *testing.T) {
	long := wire.AppendText(nil, bytes.Repeat([]byte("x"), 1000))
	for name, frames := range map[string][]byte{
		"none":          nil,
		"half a header": long[:1],
		"cut":           long[:900],
		"two":           append(bytes.Clone(long), long...),
		"more behind":   append(bytes.Clone(long), 'x'),
	} {
		var d wire.Deflater
		if got := d.Deflate(frames); !bytes.Equal(got, frames) {
			t.Errorf("%s: Deflate(%d bytes) = %d bytes, want the same", name, len(frames), len(got))
		}
	}
}
