package transport_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"
	"unsafe"

	"pgregory.net/rapid"

	"github.com/ikornaselur/notiflux/internal/transport"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// beat is the heartbeat of server-sent events.
const beat = ":\n\n"

func events() *transport.Config { return &transport.Config{Heartbeat: []byte(beat)} }

// told returns what happened to a stream, and what was written.
func told(f *fake) string {
	return strings.Join(append(f.events[:len(f.events):len(f.events)], string(f.output)), " | ")
}

func TestStreamBeginsWithItsHead(t *testing.T) {
	for _, most := range []int{1, 3, 1 << 20} {
		f := stream(events(), "head,")
		equal(t, "dirty from the start", f.dirty, true)
		f.queue([]byte("one,"), []byte("two,"))
		f.write(most)
		f.queue([]byte("three"))
		f.write(most)
		equal(t, "written", told(f), "head,one,two,three")
	}
	f := stream(events(), "")
	equal(t, "Next() without a head", len(f.conn.Next()), 0)
}

func TestStreamHeartbeats(t *testing.T) {
	f := stream(events(), "")
	f.wait(15*second - 1)
	f.write(1)
	equal(t, "written", told(f), "")
	for n := 1; n <= 4; n++ {
		f.wait(1)
		equal(t, "the socket is dirty", f.dirty, true)
		f.write(1)
		equal(t, "written", told(f), strings.Repeat(beat, n))
		f.wait(15*second - 1)
	}
}

func TestStreamHeartbeatsAreNotQueued(t *testing.T) {
	f := stream(events(), "head,")
	f.wait(1000 * second)
	f.write(1)
	equal(t, "written by a stream whose head was not taken", told(f), "head,")
	f.wait(1000 * second)
	f.write(1)
	equal(t, "written", told(f), "head,"+beat)
}

func TestStreamHeartbeatsCanBeOffOrOfAnotherRate(t *testing.T) {
	for want, cfg := range map[string]*transport.Config{
		"":                 {Heartbeat: []byte(beat), HeartbeatEvery: -1},
		beat + beat + beat: {Heartbeat: []byte(beat), HeartbeatEvery: 10 * second},
		"ping":             {Heartbeat: []byte("ping"), HeartbeatEvery: 30 * second},
		"pp":               {Heartbeat: []byte("p")},
	} {
		f := stream(cfg, "")
		for range 30 {
			f.wait(second)
			f.write(1)
		}
		equal(t, "written in 30 s", told(f), want)
	}
}

func TestStreamHeartbeatsComeBetweenFrames(t *testing.T) {
	for n := 0; n <= len("first,second,"); n++ {
		f := stream(events(), "")
		f.queue([]byte("first,"), []byte("second,"))
		p := f.conn.Next()
		f.output = append(f.output, p[:n]...)
		f.conn.Wrote(n)
		f.wait(15 * second)
		f.write(1)
		want := "first," + beat + "second,"
		switch {
		case n == 0:
			want = beat + "first,second,"
		case n > len("first,"):
			want = "first,second," + beat
		}
		equal(t, fmt.Sprintf("after %d bytes", n), told(f), want)
	}
}

// The result of Next does not change until Wrote, and memory that all streams share is
// never written to.
func TestStreamNextIsStable(t *testing.T) {
	cfg := &transport.Config{Heartbeat: append(make([]byte, 0, 100), beat...)}
	head := append(make([]byte, 0, 100), "head,"...)
	for _, first := range []string{"head,", beat} {
		f := stream(cfg, "")
		if first == beat {
			f.wait(15 * second)
		} else {
			f.conn = transport.NewStream(cfg, f, head, 0)
			f.conn.Serve(f)
		}
		p := f.conn.Next()
		f.conn.Close([]byte("bye"), 1012, "")
		equal(t, "Next() after the close", string(p), first)
		f.output = append(f.output, p...)
		f.conn.Wrote(len(p))
		f.write(1)
		equal(t, "written", told(f), "end | "+first+"bye")
	}
	equal(t, "behind the heartbeat", string(cfg.Heartbeat[:6]), beat+"\x00\x00\x00")
	equal(t, "behind the head", string(head[:8]), "head,\x00\x00\x00")
}

func TestStreamCloseFinishesTheFrameUnderWay(t *testing.T) {
	for _, goodbye := range []string{"bye", ""} {
		for n := 0; n <= len("first,"); n++ {
			f := stream(events(), "")
			f.queue([]byte("first,"), []byte("second,"))
			p := f.conn.Next()
			f.output = append(f.output, p[:n]...)
			f.conn.Wrote(n)
			f.conn.Close([]byte(goodbye), 4202, "too slow")
			f.write(1)
			want := "end | first," + goodbye
			if n == 0 {
				want = "end | " + goodbye
			}
			equal(t, fmt.Sprintf("after %d bytes", n), told(f), want)
		}
	}
}

func TestStreamCloseFinishesItsOwnBytes(t *testing.T) {
	for n := range len(beat) + 1 {
		f := stream(events(), "")
		f.queue([]byte("never"))
		f.wait(15 * second)
		p := f.conn.Next()
		f.output = append(f.output, p[:n]...)
		f.conn.Wrote(n)
		f.conn.Close([]byte("bye"), 1012, "")
		f.wait(second)
		f.write(1)
		equal(t, fmt.Sprintf("after %d bytes", n), told(f), "end | "+beat+"bye")
	}
}

func TestStreamCloseInsideNext(t *testing.T) {
	for want, goodbye := range map[string][]byte{"end | bye": []byte("bye"), "end | ": nil} {
		f := stream(events(), "")
		f.onNext = func() { f.conn.Close(goodbye, 1012, "") }
		f.write(1)
		equal(t, "written", told(f), want)
	}
}

func TestStreamCloseInsideTick(t *testing.T) {
	app := &ticked{fake: stream(events(), "")}
	app.onTick = func() { app.conn.Close([]byte("bye"), 4202, "") }
	app.conn.Serve(app)
	app.conn.Arm(3 * second)
	app.wait(7 * second)
	app.write(1)
	equal(t, "ticks", app.at, []time.Duration{3 * second})
	equal(t, "written", told(app.fake), "end | bye")
}

func TestStreamFirstCloseCounts(t *testing.T) {
	f := stream(events(), "")
	f.conn.Close([]byte("one"), 1012, "")
	f.conn.Close([]byte("two"), 1011, "")
	f.write(1)
	f.conn.Close([]byte("three"), 1011, "")
	f.write(1)
	equal(t, "written", told(f), "end | one")
}

func TestStreamLingersUntilThePeerEnds(t *testing.T) {
	f := stream(events(), "")
	f.conn.Close([]byte("bye"), 1012, "")
	f.wait(3 * second)
	f.write(1)
	f.read([]byte("anything"), whole)
	f.wait(second - 1)
	equal(t, "told", told(f), "end | bye")
	other := stream(events(), "")
	other.conn.Close(nil, 1012, "")
	other.write(1)
	other.conn.ReadEnd()
	equal(t, "told when the peer ends", told(other), "end | drop | gone | ")
	f.wait(1)
	equal(t, "told when it does not", told(f), "end | drop | gone | bye")
}

func TestStreamCloseThatTheSocketDoesNotTake(t *testing.T) {
	f := stream(events(), "head,")
	f.wait(10 * second)
	f.conn.Close([]byte("bye"), 4202, "")
	f.wait(5*second - 1)
	equal(t, "told", told(f), "")
	f.wait(1)
	equal(t, "told", told(f), "drop | gone | ")
	equal(t, "written after the drop", len(f.conn.Next()), 0)
	equal(t, "next tick after the drop", f.conn.Tick(f.now), transport.Never)
}

func TestStreamIgnoresInput(t *testing.T) {
	everyCut(t, func(t *testing.T, cut cutter) {
		f := stream(events(), "head,")
		f.busy = true
		f.read(cat(text("a"), []byte("GET / HTTP/1.1\r\n\r\n"), closing(1000, "")), cut)
		f.write(1)
		equal(t, "told", told(f), "head,")
		f.conn.ReadEnd()
		f.conn.Gone()
		equal(t, "told at the end", told(f), "drop | gone | head,")
	})
}

// A client that ends its side after the frame it is closed for still reads the goodbye.
func TestStreamEndBeforeTheGoodbye(t *testing.T) {
	f := stream(events(), "")
	f.conn.Close([]byte("bye"), 1012, "")
	f.conn.ReadEnd()
	f.write(1)
	equal(t, "told", told(f), "drop | gone | bye")
}

func TestStreamTicksReachTheApp(t *testing.T) {
	app := &ticked{fake: stream(events(), "")}
	app.conn.Serve(app)
	app.conn.Arm(4 * second)
	app.wait(16 * second)
	app.write(1)
	equal(t, "ticks", app.at, []time.Duration{4 * second, 7 * second, 10 * second, 13 * second, 15 * second})
	equal(t, "written", told(app.fake), beat)
}

func TestStreamStats(t *testing.T) {
	stats := new(transport.Stats)
	cfg := &transport.Config{Stats: stats}
	end := map[string]func(m machine){
		"left":   func(m machine) { m.ReadEnd() },
		"broken": func(m machine) { m.Gone() },
		"sent":   func(m machine) { m.Close(nil, 1012, ""); m.Close(nil, 1011, ""); m.ReadEnd() },
	}
	for _, end := range end {
		f := stream(cfg, "head")
		end(f.conn)
		f.conn.Gone()
	}
	equal(t, "Opened", stats.Opened.Load(), 3)
	equal(t, "Closes()", stats.Closes(), map[wire.CloseCode]uint64{
		wire.CloseNormal: 1, wire.CloseRestart: 1, wire.CloseAbnormal: 1,
	})
}

// Whatever the socket takes and whenever time passes, the output is the head, then complete
// frames in order with heartbeats between them, then the goodbye.
func TestStreamOfAnyCut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := stream(events(), "<head>")
		sent := 0
		for range rapid.IntRange(0, 40).Draw(t, "steps") {
			switch rapid.IntRange(0, 3).Draw(t, "step") {
			case 0:
				f.queue(fmt.Appendf(nil, "<%d>", sent))
				sent++
			case 1:
				f.wait(time.Duration(rapid.IntRange(1, 20).Draw(t, "seconds")) * second)
			default:
				if p := f.conn.Next(); len(p) > 0 {
					p = p[:rapid.IntRange(0, len(p)).Draw(t, "taken")]
					f.output = append(f.output, p...)
					f.conn.Wrote(len(p))
				}
			}
		}
		f.conn.Close([]byte("<bye>"), 1012, "")
		f.write(rapid.IntRange(1, 10).Draw(t, "most"))

		rest, ok := strings.CutPrefix(string(f.output), "<head>")
		for n := 0; ok && rest != "<bye>"; {
			var frame bool
			if rest, frame = strings.CutPrefix(rest, fmt.Sprintf("<%d>", n)); frame {
				n++
				continue
			}
			rest, ok = strings.CutPrefix(rest, beat)
		}
		if !ok {
			t.Fatalf("written %q", f.output)
		}
	})
}

func TestSizeOfAStream(t *testing.T) {
	if got := unsafe.Sizeof(transport.Stream{}); got > 96 {
		t.Errorf("a Stream owns %d bytes, want at most 96", got)
	}
}

// A stream that has written its head and heartbeats keeps none of their memory.
func TestIdleStreamOwnsNothing(t *testing.T) {
	const streams = 2000
	cfg := events()
	var all [streams]*transport.Stream
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range all {
		s := transport.NewStream(cfg, null{}, make([]byte, 300), 0)
		s.Serve(null{})
		s.Wrote(len(s.Next()))
		s.Tick(transport.DefaultHeartbeatEvery)
		s.Wrote(len(s.Next()))
		all[i] = s
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if got := (int64(after.HeapAlloc) - int64(before.HeapAlloc)) / streams; got > 120 {
		t.Errorf("an idle stream owns %d bytes, want at most 120", got)
	}
	runtime.KeepAlive(&all)
}
