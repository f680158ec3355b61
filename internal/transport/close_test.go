package transport_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/internal/internaltest/frametest"
	"github.com/ikornaselur/notiflux/internal/transport"
	"github.com/ikornaselur/notiflux/internal/wire"
	"github.com/ikornaselur/notiflux/internal/wsframe"
)

func TestCloseByClient(t *testing.T) {
	cases := frametest.Closes()
	if len(cases) < 30 {
		t.Fatalf("%d cases, want at least 30", len(cases))
	}
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			everyCut(t, func(t *testing.T, cut cutter) {
				f := dial(new(transport.Config))
				f.read(c.In, cut)
				f.write(1 << 20)
				equal(t, "transcript", f.transcript(), c.Want)
				f.ws.ReadEnd()
				f.ws.Gone()
				equal(t, "last events", strings.Join(f.events[len(f.events)-3:], " "), "end drop gone")
			})
		})
	}
}

func TestCloseFinishesTheFrameUnderWay(t *testing.T) {
	first, second := wsframe.AppendFrame(nil, wsframe.Text, []byte("first")), wsframe.AppendFrame(nil, wsframe.Text, []byte("second"))
	for n := 0; n <= len(first); n++ {
		f := dial(new(transport.Config))
		f.queue(first, second)
		p := f.ws.Next()
		f.output = append(f.output, p[:n]...)
		f.ws.Wrote(n)

		f.ws.Close(nil, 4202, "too slow")
		f.write(1)
		want := `end | > text "first" | > close 4202`
		if n == 0 {
			want = "end | > close 4202"
		}
		equal(t, fmt.Sprintf("after %d bytes", n), f.transcript(), want)
	}
}

// Queued answers are written before the close frame, whoever starts closing and however the
// socket takes them.
func TestAnswersGoOutBeforeTheClose(t *testing.T) {
	for name, in := range map[string][]byte{
		"close 1000": closing(1000, ""),
		"close 1002": frame(0x83, ""),
		"close 1007": text("\xff"),
		"close 1008": cat(frame(0x02, ""), repeat(64, frame(0, ""))),
		"close 1009": text(strings.Repeat("x", maxMessage+1)),
	} {
		everyCut(t, func(t *testing.T, cut cutter) {
			f := dial(new(transport.Config))
			f.echo, f.answers = true, true
			f.read(cat(text("one"), text("two"), in, text("not taken")), cut)
			f.write(cut(10))
			equal(t, "transcript", f.transcript(), `text "one" | text "two" | end | > text "one" | > text "two" | > `+name)
		})
	}
}

// Closing does not wait for an answer that is still pending, even after a frame that could
// be data.
func TestPendingAnswersDoNotHoldTheClose(t *testing.T) {
	for _, in := range [][]byte{
		frame(0x83, ""),            // reserved
		raw("81 02 6869"),          // not masked
		raw("81 02"),               // the same, and no more comes
		frame(0xa1, "x"),           // RSV2
		frame(0x80, "x"),           // no message to continue
		raw("81 fe 007d 00000000"), // not the shortest form of the length
		cat(frame(0x01, "")[:1], raw("00")),
	} {
		f := dial(new(transport.Config))
		f.busyAfter = true
		f.read(cat(text("waits"), in), whole)
		f.write(1 << 20)
		equal(t, fmt.Sprintf("transcript of % x", in), f.transcript(), `text "waits" | end | > close 1002`)
	}
}

func TestCloseFinishesAPongUnderWay(t *testing.T) {
	for n := 1; n < 4; n++ {
		f := dial(new(transport.Config))
		f.read(ping("xy"), whole)
		p := f.ws.Next()
		f.output = append(f.output, p[:n]...)
		f.ws.Wrote(n)
		f.ws.Close(nil, 1012, "")
		f.write(1)
		equal(t, "transcript", f.transcript(), `end | > pong "xy" | > close 1012`)
	}
}

func TestCloseInsideNext(t *testing.T) {
	f := dial(new(transport.Config))
	f.onNext = func() { f.ws.Close(nil, 4202, "") }
	f.write(1 << 20)
	equal(t, "transcript", f.transcript(), "end | > close 4202")
}

func TestCloseInsideReceive(t *testing.T) {
	for _, in := range [][]byte{text("a"), cat(frame(0x01, ""), frame(0x80, "a"))} {
		everyCut(t, func(t *testing.T, cut cutter) {
			f := dial(new(transport.Config))
			f.onReceive = func() { f.ws.Close(nil, 4108, "") }
			f.read(cat(in, text("b"), ping("p")), cut)
			f.write(1 << 20)
			equal(t, "transcript", f.transcript(), `text "a" | end | > close 4108`)
		})
	}
}

func TestFirstCloseCounts(t *testing.T) {
	f := dial(new(transport.Config))
	f.ws.Close(nil, 1012, "restart")
	f.ws.Close(nil, 1011, "")
	f.read(closing(1000, ""), whole)
	f.write(1 << 20)
	f.ws.Close(nil, 1011, "")
	equal(t, "transcript", f.transcript(), "end | > close 1012")
}

func TestCloseLingersUntilThePeerEnds(t *testing.T) {
	f := dial(new(transport.Config))
	f.ws.Close(nil, 1012, "")
	f.write(1 << 20)
	f.wait(900 * time.Millisecond)
	f.read(cat(text("a"), []byte("anything")), whole)
	equal(t, "written after the close", len(f.ws.Next()), 0)
	equal(t, "transcript", f.transcript(), "end | > close 1012")
	f.ws.ReadEnd()
	equal(t, "transcript", f.transcript(), "end | drop | gone | > close 1012")
}

func TestCloseLingersASecond(t *testing.T) {
	f := dial(new(transport.Config))
	f.ws.Close(nil, 1012, "")
	f.wait(3 * time.Second)
	f.write(1 << 20)
	f.wait(999 * time.Millisecond)
	equal(t, "transcript", f.transcript(), "end | > close 1012")
	f.wait(time.Millisecond)
	equal(t, "transcript", f.transcript(), "end | drop | gone | > close 1012")
}

func TestCloseThatTheSocketDoesNotTake(t *testing.T) {
	f := dial(new(transport.Config))
	f.wait(10 * time.Second)
	f.ws.Close(nil, 4202, "")
	f.wait(5*time.Second - 1)
	equal(t, "transcript", f.transcript(), "")
	f.wait(1)
	equal(t, "transcript", f.transcript(), "drop | gone")
	equal(t, "written after the drop", len(f.ws.Next()), 0)
	equal(t, "next tick after the drop", f.ws.Tick(f.now), transport.Never)
}

func TestEndOfStream(t *testing.T) {
	f := dial(new(transport.Config))
	f.read(text("a")[:3], whole)
	f.ws.ReadEnd()
	f.ws.Gone()
	equal(t, "transcript", f.transcript(), "drop | gone")
}

// A client may end its sending side directly after a close frame, or after the frame it is
// closed for. It still reads the answer.
func TestEndOfStreamBeforeTheAnswer(t *testing.T) {
	for in, want := range map[string]string{
		string(closing(1000, "")): "drop | gone | > close 1000",
		"\xff\xff":                "drop | gone | > close 1002",
	} {
		f := dial(new(transport.Config))
		f.read([]byte(in), whole)
		f.ws.ReadEnd()
		f.write(1)
		equal(t, "transcript", f.transcript(), want)
	}
	f := dial(new(transport.Config))
	f.read(closing(1000, ""), whole)
	f.ws.ReadEnd()
	f.wait(5 * time.Second)
	equal(t, "transcript of a socket that takes nothing", f.transcript(), "drop | gone")
}

func TestStats(t *testing.T) {
	stats := new(transport.Stats)
	cfg := &transport.Config{Stats: stats}
	end := func(in []byte) {
		f := dial(cfg)
		f.read(in, whole)
		f.write(1 << 20)
		f.ws.ReadEnd()
		f.ws.Gone()
	}
	end(cat(text("a"), text("b"), closing(1000, "")))
	end(closing(3333, ""))
	end(raw("ff"))
	end(text("\xff"))
	end(text("a"))
	dial(cfg).ws.Gone()
	equal(t, "Opened", stats.Opened.Load(), 6)
	equal(t, "Messages", stats.Messages.Load(), 3)
	equal(t, "Closes()", stats.Closes(), map[wire.CloseCode]uint64{
		wire.CloseNormal: 2, wire.CloseInvalidUTF8: 1, wire.CloseAbnormal: 3,
	})
}

func TestCloseSaysGoodbye(t *testing.T) {
	first, second := wsframe.AppendFrame(nil, wsframe.Text, []byte("first")), wsframe.AppendFrame(nil, wsframe.Text, []byte("second"))
	goodbye := append(make([]byte, 0, 100), wsframe.AppendFrame(nil, wsframe.Text, []byte("bye"))...)
	for n := 0; n <= len(first); n++ {
		f := dial(new(transport.Config))
		f.read(ping("p"), whole)
		f.queue(first, second)
		f.conn.Wrote(len(f.conn.Next())) // the pong
		p := f.conn.Next()
		f.output = append(f.output, p[:n]...)
		f.conn.Wrote(n)
		f.read(ping("q"), whole)
		f.conn.Close(goodbye, 1012, "")
		f.write(1)
		want := `end | > text "first" | > pong "q" | > text "bye" | > close 1012`
		if n == 0 {
			want = `end | > pong "q" | > text "bye" | > close 1012`
		}
		equal(t, fmt.Sprintf("after %d bytes", n), f.transcript(), want)
	}
	equal(t, "what stands behind the goodbye", goodbye[:cap(goodbye)][len(goodbye)], 0)
}
