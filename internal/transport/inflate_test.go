package transport_test

import (
	"encoding/binary"
	"runtime"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ikornaselur/notiflux/internal/internaltest/frametest"
	"github.com/ikornaselur/notiflux/internal/transport"
	"github.com/ikornaselur/notiflux/internal/wsframe"
)

func TestFramesWithCompression(t *testing.T) {
	inflaters := new(transport.Inflaters)
	for _, c := range frametest.Agreed() {
		t.Run(c.Name, func(t *testing.T) {
			everyCut(t, func(t *testing.T, cut cutter) {
				budget := transport.NewBudget(0)
				f := dial(&transport.Config{Budget: budget, Inflaters: inflaters})
				f.read(c.In, cut)
				f.write(1 << 20)
				equal(t, "transcript", f.transcript(), c.Want)
				equal(t, "bytes owned", budget.Used(), 0)
			})
		})
	}
}

func TestInflatesDeflatedMessages(t *testing.T) {
	inflaters := new(transport.Inflaters)
	rapid.Check(t, func(t *rapid.T) {
		f := dial(&transport.Config{Inflaters: inflaters, MaxFragments: -1, ControlRate: -1})
		var want []string
		for range rapid.IntRange(1, 4).Draw(t, "messages") {
			op := rapid.SampledFrom([]wsframe.Opcode{wsframe.Text, wsframe.Binary}).Draw(t, "op")
			payload := strings.Repeat(drawPayload(t, op), rapid.IntRange(1, 50).Draw(t, "times"))
			want = append(want, strings.TrimPrefix(describe(op, []byte(payload)), "> "))
			in := drawFragments(t, op, frametest.Deflate(payload))
			in[0] |= 0x40
			f.read(in, random(rapid.Uint64().Draw(t, "cut")))
		}
		if got := strings.Join(f.events, " | "); got != strings.Join(want, " | ") {
			t.Fatalf("messages = %s, want %q", got, want)
		}
	})
}

// FuzzInflate inflates any bytes, whole and split. Each way has the same result, and no
// message exceeds the maximum size.
func FuzzInflate(f *testing.F) {
	for _, c := range frametest.Deflated() {
		if len(c.In) > 6 && len(c.In) < 1000 {
			payload := append([]byte{}, c.In[6:]...)
			wsframe.Mask(payload, binary.LittleEndian.Uint32(c.In[2:]))
			f.Add(payload, true, uint64(len(c.Name)))
		}
	}
	inflaters := new(transport.Inflaters)
	f.Fuzz(func(t *testing.T, in []byte, text bool, seed uint64) {
		const limit = 5000
		first := byte(0xc2)
		if text {
			first = 0xc1
		}
		message := frame(first, string(in))
		var want string
		for _, cut := range []cutter{whole, bytewise, random(seed)} {
			app := &longest{}
			cfg := &transport.Config{MaxMessageBytes: limit, Inflaters: inflaters, Budget: transport.NewBudget(0)}
			f := dial(cfg)
			f.ws.Serve(app)
			app.fake = f
			f.read(message, cut)
			f.write(1 << 20)
			if app.bytes > limit || cfg.Budget.Used() != 0 {
				t.Fatalf("a message of %d bytes, %d owned; want at most %d, and 0", app.bytes, cfg.Budget.Used(), limit)
			}
			if got := f.transcript(); want == "" {
				want = got
			} else if got != want {
				t.Fatalf("transcript = %s, want %s", got, want)
			}
		}
	})
}

// longest is a fake that records the sizes of messages.
type longest struct {
	*fake
	bytes int
}

func (l *longest) Receive(message []byte, binary bool) {
	l.bytes = max(l.bytes, len(message))
	l.fake.Receive(message, binary)
}

// However large a message would become, it costs no more memory than the maximum size.
func TestABombIsCheap(t *testing.T) {
	bomb := frame(0xc2, frametest.Deflate(strings.Repeat("\x00", 64<<20)))
	cfg := &transport.Config{Inflaters: new(transport.Inflaters)}
	const bombs = 50
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range bombs {
		w := dialNull(cfg)
		w.Read(append([]byte{}, bomb...), 0)
		equal(t, "Closing()", w.Closing(), true)
	}
	runtime.ReadMemStats(&after)
	if got := int(after.TotalAlloc-before.TotalAlloc)/bombs - len(bomb); got > 5*maxMessage {
		t.Errorf("a bomb of %d bytes takes %d bytes of memory, want at most %d", len(bomb), got, 5*maxMessage)
	}
}

// If a client exceeds its allowance of inflated bytes, it is not read from until the
// allowance covers them. The connection stays open, and no message is lost.
func TestInflatingPausesReading(t *testing.T) {
	const size, second = 64 << 10, 1 << 20 // of a message; of inflated bytes per second
	for name, first := range map[string]byte{"text": 0xc1, "binary": 0xc2} {
		t.Run(name, func(t *testing.T) {
			f := dial(&transport.Config{Inflaters: new(transport.Inflaters), PingEvery: -1})
			f.wait(30 * time.Second)
			messages := repeat(200, frame(first, frametest.Deflate(strings.Repeat("x", size))))
			f.read(cat(messages, ping("behind"), text("the last")), whole)
			for _, want := range []int{transport.DefaultInflateBurst, transport.DefaultInflateBurst + second, transport.DefaultInflateBurst + 2*second} {
				if got := len(f.events) * size; got < want || got > want+size {
					t.Errorf("at %v %d bytes were inflated, want %d and at most a message more", f.now-30*time.Second, got, want)
				}
				f.wait(time.Second)
			}
			f.wait(10 * time.Second)
			f.write(1 << 20)
			if last := f.events[len(f.events)-1]; len(f.events) != 201 || last != `text "the last"` {
				t.Errorf("%d messages, the last %s; want 201, and the last one", len(f.events), last)
			}
			equal(t, "frames sent", sent(f.output), []string{`> pong "behind"`})
		})
	}
}

// emptyBlock is a block with its own code (RFC 1951 section 3.2.7) and no data, and an
// empty stored block that ends at a byte boundary.
const emptyBlock = "\x04\xc0\x81\x00\x00\x00\x00\x00\x90\xff\x6b\x00\x00\x00\xff\xff"

// Input that inflates to next to nothing is charged for its work: a block with its own
// code, or another sequence.
func TestInflatingCountsWork(t *testing.T) {
	for name, message := range map[string]string{
		"blocks":    strings.Repeat(emptyBlock, 2000) + "\x00",
		"sequences": strings.Repeat("\x03\x00", 60),
	} {
		t.Run(name, func(t *testing.T) {
			f := dial(&transport.Config{Inflaters: new(transport.Inflaters), InflateBurst: 100_000})
			f.read(cat(frame(0xc2, message), text("behind")), whole)
			equal(t, "events at once", len(f.events), 1)
			f.wait(10 * time.Second)
			equal(t, "events", len(f.events), 2)
		})
	}
}

// Frames that are not compressed are read while inflating pauses.
func TestControlFramesWhileInflatingPauses(t *testing.T) {
	f := dial(&transport.Config{Inflaters: new(transport.Inflaters), InflateBurst: 1000})
	f.read(frame(0xc1, frametest.Deflate(strings.Repeat("x", 2000))), whole)
	f.read(cat(ping("a"), text("b"), closing(1000, "")), whole)
	f.write(1 << 20)
	equal(t, "transcript", f.transcript(), `text of 2000 bytes | > pong "a"`)
	f.wait(time.Second)
	f.write(1 << 20)
	equal(t, "transcript", f.transcript(), `text of 2000 bytes | text "b" | end | > pong "a" | > close 1000`)
}

// Inflaters are reused. (Under the race detector, pools drop some.)
func TestInflatingAllocatesLittle(t *testing.T) {
	w := dialNull(&transport.Config{Inflaters: new(transport.Inflaters)})
	in := frame(0xc1, frametest.Deflate("hello, hello, hello"))
	p := make([]byte, len(in))
	got := testing.AllocsPerRun(100, func() {
		copy(p, in)
		w.Read(p, 0)
	})
	equal(t, "Closing()", w.Closing(), false)
	if got > 4 {
		t.Errorf("%v allocations, want at most 4", got)
	}
}

func BenchmarkInflate(b *testing.B) {
	w := dialNull(&transport.Config{Inflaters: new(transport.Inflaters), InflateRate: -1})
	message := strings.Repeat(`{"price":1234,"name":"example"}`, 30)
	in := frame(0xc1, frametest.Deflate(message))
	p := make([]byte, len(in))
	b.SetBytes(int64(len(message)))
	b.ReportAllocs()
	for b.Loop() {
		copy(p, in)
		w.Read(p, 0)
	}
}
