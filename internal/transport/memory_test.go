package transport_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/ikornaselur/notiflux/internal/internaltest/frametest"
	"github.com/ikornaselur/notiflux/internal/transport"
	"github.com/ikornaselur/notiflux/internal/wsframe"
)

// null is a socket and an application that do nothing.
type null struct{}

func (null) Dirty()                 {}
func (null) Resume()                {}
func (null) CloseWrite()            {}
func (null) Drop()                  {}
func (null) Arm(time.Duration)      {}
func (null) Post(func()) bool       { return false }
func (null) Receive([]byte, bool)   {}
func (null) Busy() bool             { return false }
func (null) Next() []byte           { return nil }
func (null) Answers() []byte        { return nil }
func (null) Wrote(int)              {}
func (null) Rest() []byte           { return nil }
func (null) Tick(time.Duration)     {}
func (null) Gone()                  {}
func (null) Stuck()                 {}
func (null) Stalled() time.Duration { return 0 }
func (null) Blocked() bool          { return false }
func (null) Remote() string         { return "" }

func dialNull(cfg *transport.Config) *transport.WebSocket {
	w := transport.NewWebSocket(cfg, null{}, 0)
	w.Serve(null{})
	return w
}

func TestSizeOfAConnection(t *testing.T) {
	if got := unsafe.Sizeof(transport.WebSocket{}); got > 160 {
		t.Errorf("a WebSocket owns %d bytes, want at most 160", got)
	}
}

func TestAllocations(t *testing.T) {
	for name, c := range map[string]struct {
		in   []byte
		want float64
	}{
		"text":   {text(strings.Repeat("x", 1000)), 0},
		"binary": {binaryOf(strings.Repeat("x", 1000)), 0},
		"many":   {repeat(20, text("hello")), 0},
		"pong":   {frame(0x8a, "x"), 0},
		"ping":   {ping("x"), 1}, // the pong
	} {
		w := dialNull(&transport.Config{Stats: new(transport.Stats), Budget: transport.NewBudget(0), ControlRate: -1})
		p := make([]byte, len(c.in))
		got := testing.AllocsPerRun(100, func() {
			copy(p, c.in)
			w.Read(p, 0)
			if q := w.Next(); q != nil {
				w.Wrote(len(q))
			}
		})
		if got > c.want {
			t.Errorf("%s: %v allocations, want at most %v", name, got, c.want)
		}
	}
}

// A connection that has seen everything owns no more memory than a new one.
func TestIdleOwnsNothing(t *testing.T) {
	const connections = 2000
	var before, after runtime.MemStats
	emptyPools()
	runtime.ReadMemStats(&before)
	cfg := &transport.Config{Budget: transport.NewBudget(0), Inflaters: new(transport.Inflaters)}
	deflated := frametest.Deflate(strings.Repeat("hello", 1000))
	var all [connections]*transport.WebSocket
	for i := range all {
		w := dialNull(cfg)
		for _, b := range cat(frame(0x01, strings.Repeat("x", 500)), ping(a125), frame(0x80, "y"), frame(0xc1, deflated)) {
			w.Read([]byte{b}, 0)
		}
		w.Read(repeat(90, ping(a125)), 0)
		w.Tick(transport.DefaultPingEvery)
		for p := w.Next(); p != nil; p = w.Next() {
			w.Wrote(len(p))
		}
		all[i] = w
	}
	emptyPools()
	runtime.ReadMemStats(&after)
	if got := (int64(after.HeapAlloc) - int64(before.HeapAlloc)) / connections; got > 200 {
		t.Errorf("an idle connection owns %d bytes, want at most 200", got)
	}
	equal(t, "bytes owned by messages", cfg.Budget.Used(), 0)
	runtime.KeepAlive(&all)
}

// emptyPools frees what every sync.Pool holds, which survives one garbage collection.
func emptyPools() {
	runtime.GC()
	runtime.GC()
}

// The memory of a message does not depend on its announced length.
func TestMemoryGrowsWithReceivedBytes(t *testing.T) {
	const limit = 16 << 20
	budget := transport.NewBudget(0)
	w := dialNull(&transport.Config{MaxMessageBytes: limit, Budget: budget, MessageTimeout: -1})
	w.Read(masked(wsframe.Header{First: 0x82, Length: limit}, ""), 0)
	for came := 0; came < limit-(64<<10); {
		if used := budget.Used(); used > int64(max(2*came, 64<<10)) {
			t.Fatalf("a message owns %d bytes after %d came", used, came)
		}
		came += w.Read(make([]byte, 64<<10), 0)
	}
	w.Gone()
	equal(t, "bytes owned after the end", budget.Used(), 0)
}

func TestBudgetIsShared(t *testing.T) {
	cfg := &transport.Config{Budget: transport.NewBudget(100_000)}
	begin := cat(masked(wsframe.Header{First: 0x82, Length: 50_001}, ""), make([]byte, 40_000))
	first, second, third := dial(cfg), dial(cfg), dial(cfg)
	for _, f := range []*fake{first, second, third} {
		f.read(begin, whole)
		f.write(1 << 20)
	}
	equal(t, "first", first.transcript(), "")
	equal(t, "second", second.transcript(), "")
	equal(t, "third", third.transcript(), "end | > close 1013")

	third = dial(cfg)
	third.read(text(strings.Repeat("x", 70_000)), whole)
	equal(t, "a message in one piece", third.transcript(), "text of 70000 bytes")

	first.ws.Gone()
	second.ws.Close(nil, 1012, "")
	equal(t, "Used()", cfg.Budget.Used(), 0)
}

func BenchmarkRead(b *testing.B) {
	for _, size := range []int{16, 1000, 60_000} {
		for _, pieces := range []int{1, 2} {
			b.Run(fmt.Sprintf("size=%d/pieces=%d", size, pieces), func(b *testing.B) {
				w := dialNull(new(transport.Config))
				in := text(strings.Repeat("x", size))
				p := make([]byte, len(in))
				cut := len(in) / pieces
				b.SetBytes(int64(len(in)))
				b.ReportAllocs()
				for b.Loop() {
					copy(p, in)
					w.Read(p[:cut], 0)
					w.Read(p[cut:], 0)
				}
			})
		}
	}
}

func BenchmarkPing(b *testing.B) {
	w := dialNull(&transport.Config{ControlRate: -1})
	in := ping("0123")
	p := make([]byte, len(in))
	b.ReportAllocs()
	for b.Loop() {
		copy(p, in)
		w.Read(p, 0)
		w.Wrote(len(w.Next()))
	}
}

func BenchmarkOpen(b *testing.B) {
	cfg := new(transport.Config)
	b.ReportAllocs()
	for b.Loop() {
		dialNull(cfg)
	}
}
