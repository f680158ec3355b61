package transport_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/ikornaselur/notiflux/internal/transport"
	"github.com/ikornaselur/notiflux/internal/wsframe"
)

func TestControlFramesComeBetweenFrames(t *testing.T) {
	first, second := wsframe.AppendFrame(nil, wsframe.Text, []byte("first")), wsframe.AppendFrame(nil, wsframe.Text, []byte("second"))
	for n := 0; n <= len(first)+len(second); n++ {
		f := dial(new(transport.Config))
		f.queue(first, second)
		p := f.ws.Next()
		f.output = append(f.output, p[:n]...)
		f.ws.Wrote(n)
		f.read(ping("p"), whole)
		f.write(1)
		want := `> text "first" | > pong "p" | > text "second"`
		switch {
		case n == 0:
			want = `> pong "p" | > text "first" | > text "second"`
		case n > len(first):
			want = `> text "first" | > text "second" | > pong "p"`
		}
		equal(t, fmt.Sprintf("after %d bytes", n), f.transcript(), want)
	}
}

// Each ping is answered, in order, unless too many wait. Then the newest counts.
func TestPongsThatWaitAreBounded(t *testing.T) {
	f := dial(&transport.Config{ControlRate: -1})
	f.read(ping("first"), whole)
	p := f.ws.Next()
	f.output = append(f.output, p[:3]...)
	f.ws.Wrote(3)
	for i := range 10_000 {
		f.read(ping(fmt.Sprint(i)), whole)
	}
	f.write(1 << 20)
	want := []string{`> pong "first"`}
	for i := range 98 {
		want = append(want, fmt.Sprintf(`> pong "%d"`, i))
	}
	equal(t, "frames sent", sent(f.output), append(want, `> pong "9999"`))
	f.read(cat(ping("a"), ping("b")), whole)
	f.output = nil
	f.write(1 << 20)
	equal(t, "frames sent", sent(f.output), []string{`> pong "a"`, `> pong "b"`})
}

// Queued pongs are charged to the unread bytes of all clients. Without room, each client's
// newest ping is still answered.
func TestPongsThatWaitAreCharged(t *testing.T) {
	for name, end := range map[string]func(f *fake){
		"written":          func(f *fake) { f.write(1 << 20) },
		"written bytewise": func(f *fake) { f.write(1) },
		"gone":             func(f *fake) { f.ws.Gone() },
		"closed":           func(f *fake) { f.read(closing(1000, ""), whole); f.write(100) },
		"closed, gone":     func(f *fake) { f.ws.Close(nil, 1012, ""); f.ws.Gone() },
		"gone in between":  func(f *fake) { f.ws.Wrote(len(f.ws.Next()) - 1); f.read(repeat(3, ping("y")), whole); f.ws.Gone() },
	} {
		budget := transport.NewBudget(10 * 127)
		cfg := &transport.Config{Unread: budget}
		f, other := dial(cfg), dial(cfg)
		f.read(repeat(20, ping("x")), whole)
		equal(t, name+": bytes charged", budget.Used(), 10*127)
		other.read(cat(ping("a"), ping("b")), whole)
		other.write(1 << 20)
		equal(t, name+": frames of another client", sent(other.output), []string{`> pong "b"`})
		end(f)
		equal(t, name+": bytes charged in the end", budget.Used(), 0)
	}
}

// The result of Next does not change until Wrote, whatever comes in meanwhile.
func TestNextIsStable(t *testing.T) {
	f := dial(new(transport.Config))
	f.read(ping("one"), whole)
	p := f.ws.Next()
	f.read(cat(ping("two"), text("a"), ping("six"), closing(1000, "")), whole)
	f.output = append(f.output, p...)
	f.ws.Wrote(len(p))
	f.write(1 << 20)
	equal(t, "transcript", f.transcript(), `text "a" | end | > pong "one" | > pong "two" | > pong "six" | > close 1000`)
}

func TestDirtyTellsTheSocket(t *testing.T) {
	for name, do := range map[string]func(f *fake){
		"ping":  func(f *fake) { f.read(ping(""), whole) },
		"close": func(f *fake) { f.ws.Close(nil, 1012, "") },
		"bad":   func(f *fake) { f.read(raw("ffff"), whole) },
		"app":   func(f *fake) { f.ws.Dirty() },
		"time":  func(f *fake) { f.wait(transport.DefaultPingEvery) },
	} {
		f := dial(new(transport.Config))
		if f.dirty {
			t.Fatal("dirty from the start")
		}
		if do(f); !f.dirty {
			t.Errorf("%s: the socket is not dirty", name)
		}
	}
}

// An echo of any messages, split in any way on both sides, is those messages. Pongs are in
// order, and between them.
func TestEcho(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := dial(&transport.Config{ControlRate: -1, MaxFragments: -1})
		f.echo = true
		var in []byte
		var want []string
		for range rapid.IntRange(0, 8).Draw(t, "messages") {
			op := rapid.SampledFrom([]wsframe.Opcode{wsframe.Text, wsframe.Binary}).Draw(t, "op")
			payload := drawPayload(t, op)
			want = append(want, describe(op, []byte(payload)))
			in = append(in, drawFragments(t, op, payload)...)
		}
		cut := random(rapid.Uint64().Draw(t, "cut"))
		for len(in) > 0 {
			n := cut(len(in))
			f.read(in[:n], whole)
			in = in[n:]
			if p := f.ws.Next(); len(p) > 0 {
				p = p[:rapid.IntRange(0, len(p)).Draw(t, "taken")]
				f.output = append(f.output, p...)
				f.ws.Wrote(len(p))
			}
		}
		f.write(rapid.IntRange(1, 100).Draw(t, "most"))
		got := slices.DeleteFunc(sent(f.output), func(s string) bool { return strings.HasPrefix(s, "> pong") })
		if !slices.Equal(got, want) {
			t.Fatalf("echo = %q, want %q", got, want)
		}
	})
}

func drawPayload(t *rapid.T, op wsframe.Opcode) string {
	if op == wsframe.Text {
		return rapid.StringN(0, 100, -1).Draw(t, "text")
	}
	return string(rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "binary"))
}

// drawFragments returns a message in fragments, with pings and pongs between.
func drawFragments(t *rapid.T, op wsframe.Opcode, payload string) (in []byte) {
	first := byte(op)
	for rapid.Bool().Draw(t, "fragment") {
		n := rapid.IntRange(0, len(payload)).Draw(t, "bytes")
		in = append(in, frame(first, payload[:n])...)
		payload, first = payload[n:], 0
		control := rapid.SampledFrom([][]byte{nil, ping("p"), frame(0x8a, "q")}).Draw(t, "control")
		in = append(in, control...)
	}
	return append(in, frame(0x80|first, payload)...)
}
