package wire_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/wire"
)

func at(offset uint64) pubsub.Position { return pubsub.Position{Epoch: "E", Offset: offset} }

func TestTopicHash(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		topic := rapid.String().Draw(t, "topic")
		sum := sha256.Sum256([]byte(topic))
		if got := fmt.Sprintf("%016x", wire.TopicHash(pubsub.Topic(topic))); got != hex.EncodeToString(sum[:8]) {
			t.Fatalf("TopicHash(%q) = %s, want the beginning of %x", topic, got, sum)
		}
	})
}

func TestAppendCursorKeepsDst(t *testing.T) {
	places := []wire.CursorPlace{{Hash: 1, Position: at(2)}}
	alone := wire.AppendStreamCursor(nil, places)
	if got := string(wire.AppendStreamCursor([]byte("before"), places)); got != "before"+string(alone) {
		t.Errorf("%q, want %q after the existing bytes", got, alone)
	}
}

func TestAppendCursorAllocatesNothing(t *testing.T) {
	places := make([]wire.CursorPlace, 64)
	for i := range places {
		places[i] = wire.CursorPlace{Hash: 1 << 63, Position: at(1<<64 - 1)}
	}
	dst := make([]byte, 0, 2000)
	if got := testing.AllocsPerRun(100, func() { wire.AppendStreamCursor(dst, places) }); got > 0 {
		t.Errorf("%v allocations, want 0", got)
	}
}

// A cursor of several epochs preserves the position of each topic. Only epochs that do not
// fit are lost, and their topics are never covered.
func TestCursorOfSeveralEpochs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		epochs := rapid.SliceOfNDistinct(rapid.StringMatching(`[0-9A-Za-z]{1,64}`), 1, 10, rapid.ID).Draw(t, "epochs")
		places := make([]wire.CursorPlace, rapid.IntRange(1, 64).Draw(t, "topics"))
		for i := range places {
			places[i].Hash = wire.TopicHash(pubsub.Topic(fmt.Sprint(i)))
			places[i].Position = pubsub.Position{Epoch: rapid.SampledFrom(epochs).Draw(t, "epoch"), Offset: rapid.Uint64().Draw(t, "offset")}
		}
		s := string(wire.AppendStreamCursor(nil, places))
		if len(s) > wire.MaxStreamCursorBytes {
			t.Fatalf("%d bytes", len(s))
		}
		c, err := wire.ParseStreamCursor(s)
		if err != nil {
			t.Fatal(err)
		}
		lost := 0
		for i := range places {
			got, there := c.Since(pubsub.Topic(fmt.Sprint(i)))
			if !there {
				t.Fatalf("topic %d is missing", i)
			}
			if got != places[i].Position {
				lost++
				if _, err := pubsub.ParsePosition(got.String()); err == nil {
					t.Fatalf("topic %d is at %v, want %v or a position that is never covered", i, got, places[i].Position)
				}
			}
		}
		if used := len(epochs); lost > 0 && used*65 <= 318 {
			t.Fatalf("%d topics are lost with %d epochs", lost, used)
		}
		if _, known := c.ResumeFrom("another"); len(known) == 0 || !slices.Contains(epochs, known[0]) {
			t.Fatalf("the epochs of other topics are %q", known)
		}
	})
}

func FuzzParseCursor(f *testing.F) {
	f.Add(string(wire.AppendStreamCursor(nil, []wire.CursorPlace{{Hash: wire.TopicHash("a"), Position: at(42)}})), "a", uint64(300))
	f.Add("AUU", "", uint64(0))
	f.Add("AUXkDCksKg", "a", uint64(42))
	f.Add("gwFF", "a", uint64(0))
	f.Add("hAFF", "a", uint64(0))
	f.Add(string(wire.AppendStreamCursor(nil, []wire.CursorPlace{{Hash: 1, Position: at(1)}, {Hash: 2, Position: pubsub.Position{Epoch: "F"}}})), "a", uint64(0))
	f.Add("AUXkDCksKg=", "a", uint64(1)<<63)
	f.Fuzz(func(t *testing.T, s, name string, offset uint64) {
		topic := pubsub.Topic(name)
		c, err := wire.ParseStreamCursor(s)
		if err != nil {
			if code := pubsub.Refusal(err).Code; code != pubsub.Malformed {
				t.Errorf("ParseCursor(%q) = %s", s, code)
			}
			c = wire.StreamCursor{}
		}
		if got, there := c.Since(topic); there && got.Epoch == "" || !there && got != (pubsub.Position{}) {
			t.Errorf("Since(%q) = %v, %v", topic, got, there)
		}
		made := wire.AppendStreamCursor(nil, []wire.CursorPlace{{Hash: wire.TopicHash(topic), Position: at(offset)}})
		c, err = wire.ParseStreamCursor(string(made))
		if err != nil {
			t.Fatalf("ParseCursor(%q): %v", made, err)
		}
		if got, there := c.Since(topic); got != (pubsub.Position{Epoch: "E", Offset: offset}) || !there {
			t.Errorf("Since(%q) = %v, %v; want %d", topic, got, there, offset)
		}
	})
}

func BenchmarkAppendCursor(b *testing.B) {
	for _, n := range []int{1, 2, 64} {
		b.Run(fmt.Sprintf("topics=%d", n), func(b *testing.B) {
			places := make([]wire.CursorPlace, n)
			for i := range places {
				places[i] = wire.CursorPlace{Hash: uint64(i) << 56, Position: pubsub.Position{Epoch: "0123456789abcdef", Offset: 1 << 40}}
			}
			var dst []byte
			b.ReportAllocs()
			for b.Loop() {
				dst = wire.AppendStreamCursor(dst[:0], places)
			}
		})
	}
}
