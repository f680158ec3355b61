package wire_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/ikornaselur/notiflux"
	"github.com/ikornaselur/notiflux/internal/wire"
)

func TestTopicHash(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		topic := rapid.String().Draw(t, "topic")
		sum := sha256.Sum256([]byte(topic))
		if got := fmt.Sprintf("%016x", wire.TopicHash(notiflux.Topic(topic))); got != hex.EncodeToString(sum[:8]) {
			t.Fatalf("TopicHash(%q) = %s, want the beginning of %x", topic, got, sum)
		}
	})
}

func TestAppendCursorKeepsWhatIsThere(t *testing.T) {
	places := []wire.CursorOffset{{Hash: 1, Offset: 2}}
	alone := wire.AppendStreamCursor(nil, "E", places)
	if got := string(wire.AppendStreamCursor([]byte("before"), "E", places)); got != "before"+string(alone) {
		t.Errorf("%q, want %q behind what was there", got, alone)
	}
}

func TestAppendCursorAllocatesNothing(t *testing.T) {
	places := make([]wire.CursorOffset, 64)
	for i := range places {
		places[i] = wire.CursorOffset{Hash: 1 << 63, Offset: 1<<64 - 1}
	}
	dst := make([]byte, 0, 2000)
	if got := testing.AllocsPerRun(100, func() { wire.AppendStreamCursor(dst, "Epoch", places) }); got > 0 {
		t.Errorf("%v allocations, want 0", got)
	}
}

func FuzzParseCursor(f *testing.F) {
	f.Add(string(wire.AppendStreamCursor(nil, "E", []wire.CursorOffset{{Hash: wire.TopicHash("a"), Offset: 42}})), "a", uint64(300))
	f.Add("AUU", "", uint64(0))
	f.Add("AUXkDCksKg", "a", uint64(42))
	f.Add("gwFF", "a", uint64(0))
	f.Add("AUXkDCksKg=", "a", uint64(1)<<63)
	f.Fuzz(func(t *testing.T, s, name string, offset uint64) {
		topic := notiflux.Topic(name)
		c, err := wire.ParseStreamCursor(s)
		if err != nil {
			if code := notiflux.Refusal(err).Code; code != notiflux.Malformed {
				t.Errorf("ParseCursor(%q) = %s", s, code)
			}
			c = wire.StreamCursor{}
		}
		if got, there := c.Since(topic); there && got.Epoch == "" || !there && got != (notiflux.Position{}) {
			t.Errorf("Since(%q) = %v, %v", topic, got, there)
		}
		made := wire.AppendStreamCursor(nil, "E", []wire.CursorOffset{{Hash: wire.TopicHash(topic), Offset: offset}})
		c, err = wire.ParseStreamCursor(string(made))
		if err != nil {
			t.Fatalf("ParseCursor(%q): %v", made, err)
		}
		if got, there := c.Since(topic); got != (notiflux.Position{Epoch: "E", Offset: offset}) || !there {
			t.Errorf("Since(%q) = %v, %v; want %d", topic, got, there, offset)
		}
	})
}

func BenchmarkAppendCursor(b *testing.B) {
	for _, n := range []int{1, 2, 64} {
		b.Run(fmt.Sprintf("topics=%d", n), func(b *testing.B) {
			places := make([]wire.CursorOffset, n)
			for i := range places {
				places[i] = wire.CursorOffset{Hash: uint64(i) << 56, Offset: 1 << 40}
			}
			var dst []byte
			b.ReportAllocs()
			for b.Loop() {
				dst = wire.AppendStreamCursor(dst[:0], "0123456789abcdef", places)
			}
		})
	}
}
