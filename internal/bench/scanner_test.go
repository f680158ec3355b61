package bench_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/ikornaselur/notiflux/internal/bench"
	"github.com/ikornaselur/notiflux/internal/wsframe"
)

func TestMarksReadAsWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := [3]uint64{
			uint64(rapid.Uint8().Draw(t, "publisher")),
			uint64(rapid.Uint32().Draw(t, "sequence")),
			rapid.Uint64Range(0, 1<<56-1).Draw(t, "sent"),
		}
		text, got, ok := bench.MarkForTest(uint8(want[0]), uint32(want[1]), want[2])
		if !ok || got != want {
			t.Errorf("%q is read as %v, %v, want %v", text, got, ok, want)
		}
		if len(text) != bench.MinMessageBytes || strings.Trim(text, "0123456789abcdef") != "" {
			t.Errorf("%q is no mark of %d hexadecimal digits", text, bench.MinMessageBytes)
		}
	})
}

// A stream of frames says the same, wherever reads cut it.
func TestScannerIgnoresWhereReadsEnd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var stream []byte
		var want []string
		control := func() {
			kind := rapid.SampledFrom([]string{"ping", "pong", "close"}).Draw(t, "control")
			payload := bytes.Repeat([]byte{'c'}, rapid.IntRange(0, 125).Draw(t, "length"))
			op := map[string]wsframe.Opcode{"ping": wsframe.Ping, "pong": wsframe.Pong, "close": wsframe.Close}[kind]
			stream = wsframe.AppendFrame(stream, op, payload)
			want = append(want, kind+" "+string(payload))
		}
		message := func() {
			kind := rapid.SampledFrom([]string{"text", "binary"}).Draw(t, "kind")
			length := rapid.OneOf(rapid.IntRange(0, 200), rapid.IntRange(65_530, 65_540)).Draw(t, "length")
			payload := bytes.Repeat([]byte{'m'}, length)
			head := payload[:min(length, bench.MinMessageBytes)]
			op := map[string]wsframe.Opcode{"text": wsframe.Text, "binary": wsframe.Binary}[kind]
			if rapid.Bool().Draw(t, "fragmented") {
				at := len(stream)
				stream = wsframe.AppendFrame(stream, op, payload)
				stream[at] &^= 0x80
				if rapid.Bool().Draw(t, "interrupted") {
					control()
				}
				op = wsframe.Continuation
			}
			stream = wsframe.AppendFrame(stream, op, payload)
			want = append(want, kind+" "+string(head))
		}
		for range rapid.IntRange(0, 8).Draw(t, "frames") {
			rapid.SampledFrom([]func(){control, message}).Draw(t, "frame")()
		}
		var chunks [][]byte
		for rest := stream; len(rest) > 0; {
			n := min(len(rest), rapid.OneOf(rapid.IntRange(1, 40), rapid.IntRange(1, 100_000)).Draw(t, "read"))
			chunks = append(chunks, slices.Clone(rest[:n]))
			rest = rest[n:]
		}
		if got := bench.ScanForTest(chunks...); !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestScannerRefusesWhatNoServerSends(t *testing.T) {
	for name, frame := range map[string]string{
		"masked":                  "\x81\x80abcd",
		"reserved bit":            "\xc1\x00",
		"reserved opcode":         "\x83\x00",
		"reserved control opcode": "\x8b\x00",
		"control in fragments":    "\x09\x00",
		"long control":            "\x89\x7e\x01\x00",
		"continuation first":      "\x80\x00",
		"text inside a message":   "\x01\x00\x81\x00",
		"negative length":         "\x81\x7f\xff\xff\xff\xff\xff\xff\xff\xff",
	} {
		if got := bench.ScanForTest([]byte(frame)); !slices.Equal(got, []string{"malformed"}) {
			t.Errorf("%s: got %q, want malformed", name, got)
		}
	}
}

func FuzzScanner(f *testing.F) {
	f.Add([]byte("\x81\x02hi\x89\x00\x88\x02\x03\xe8"), 3)
	f.Add([]byte("\x01\x7e\x00\x80"+strings.Repeat("x", 128)+"\x80\x00"), 1)
	f.Fuzz(func(t *testing.T, stream []byte, at int) {
		at = min(max(at, 0), len(stream))
		whole, cut := bench.ScanForTest(stream), bench.ScanForTest(stream[:at], stream[at:])
		if !slices.Equal(whole, cut) {
			t.Errorf("in one piece %q, cut at %d %q", whole, at, cut)
		}
	})
}

// read returns what one read of a busy connection gives.
func read(messages, size int) (b []byte) {
	for i := range messages {
		text, _, _ := bench.MarkForTest(0, uint32(i), 1)
		b = wsframe.AppendFrame(b, wsframe.Text, []byte(text+strings.Repeat("x", size-len(text))))
	}
	return b
}

func TestTakingMessagesDoesNotAllocate(t *testing.T) {
	take, b := bench.TakeForTest(100), read(16, 100)
	n := testing.AllocsPerRun(100, func() {
		take(b[:50])
		take(b[50:])
	})
	if n != 0 {
		t.Errorf("%v allocations for 16 messages, want 0", n)
	}
}

func BenchmarkTake(b *testing.B) {
	for _, size := range []int{100, 10_000} {
		b.Run(fmt.Sprintf("messages=16/size=%d", size), func(b *testing.B) {
			take, data := bench.TakeForTest(size), read(16, size)
			b.ReportAllocs()
			for b.Loop() {
				take(data)
			}
		})
	}
}
