package transport_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/ikornaselur/notiflux/internal/internaltest/frametest"
	"github.com/ikornaselur/notiflux/internal/transport"
)

const (
	maxMessage = transport.DefaultMaxMessageBytes

	violation = frametest.Violation
	policy    = frametest.Policy
	tooBig    = frametest.TooBig
)

// a125 is as long as the payload of a control frame may be.
var a125 = strings.Repeat("a", 125)

func TestFrames(t *testing.T) {
	cases := slices.Concat(frametest.Good, frametest.Bad)
	if len(cases) < 60 {
		t.Fatalf("%d cases, want at least 60", len(cases))
	}
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			everyCut(t, func(t *testing.T, cut cutter) {
				budget := transport.NewBudget(0)
				f := dial(&transport.Config{Budget: budget})
				f.read(c.In, cut)
				f.write(1 << 20)
				equal(t, "transcript", f.transcript(), c.Want)
				equal(t, "Closing()", f.ws.Closing(), strings.Contains(c.Want, "close"))
				equal(t, "bytes owned", budget.Used(), 0)
			})
		})
	}
}

func TestLimitsAreSettings(t *testing.T) {
	generous := &transport.Config{MaxMessageBytes: 16 << 20, MaxFragments: -1, MessageTimeout: -1, ControlRate: -1}
	strict := &transport.Config{MaxMessageBytes: 4, MaxFragments: 2, ControlRate: 1, ControlBurst: 2}
	cases := []struct {
		name string
		cfg  *transport.Config
		in   []byte
		want string
	}{
		{"16 MiB", generous, binaryOf(strings.Repeat("x", 16<<20)), "binary of 16777216 bytes"},
		{"16 MiB in a 64-bit length", generous, text(strings.Repeat("x", 16<<20+1)), tooBig},
		{"10,000 fragments", generous, cat(frame(0x02, "x"), repeat(9998, frame(0x00, "x")), frame(0x80, "x")), "binary of 10000 bytes"},
		{"1,000 pings", generous, repeat(1000, ping("x")), frametest.Pongs(99, "x", `> pong "x"`)},
		{"4 bytes", strict, text("abcd"), `text "abcd"`},
		{"5 bytes", strict, text("abcde"), tooBig},
		{"5 bytes in fragments", strict, cat(frame(0x01, "abc"), frame(0x80, "de")), tooBig},
		{"2 fragments", strict, cat(frame(0x01, "a"), frame(0x80, "b")), `text "ab"`},
		{"3 fragments", strict, cat(frame(0x01, "a"), frame(0x00, "b"), frame(0x80, "c")), policy},
		{"3 pings", strict, repeat(3, ping("")), "end | " + frametest.Pongs(2, "", "> close 1008")},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			for _, cut := range []cutter{whole, random(1)} {
				f := dial(c.cfg)
				f.read(c.in, cut)
				f.write(1 << 20)
				equal(t, "transcript", f.transcript(), c.want)
			}
		})
	}
}

func TestBusyAppIsOfferedNoMessage(t *testing.T) {
	in := cat(ping("1"), text("a"), ping("2"), frame(0x01, "b"), ping("3"), frame(0x80, "c"), text("d"))
	everyCut(t, func(t *testing.T, cut cutter) {
		f := dial(new(transport.Config))
		f.busyAfter = true
		f.read(in, cut)
		f.write(1 << 20)
		equal(t, "transcript", f.transcript(), `text "a" | > pong "1" | > pong "2"`)

		f.busy, f.output = false, nil
		f.ws.Resume()
		f.write(1 << 20)
		equal(t, "transcript", f.transcript(), `text "a" | text "bc" | > pong "3"`)
		equal(t, "left", len(f.left), len(text("d")))

		f.busy, f.output = false, nil
		f.ws.Resume()
		equal(t, "transcript", f.transcript(), `text "a" | text "bc" | text "d"`)
	})
}

func TestBusyInTheMiddleOfAMessage(t *testing.T) {
	for _, in := range [][]byte{text("hello"), cat(frame(0x01, "hel"), frame(0x80, "lo"))} {
		for n := 1; n < len(in); n++ {
			f := dial(new(transport.Config))
			f.read(in[:n], whole)
			f.busy = true
			f.read(in[n:], whole)
			f.wait(20 * transport.DefaultMessageTimeout)
			equal(t, "transcript while busy", f.transcript(), "")
			f.busy = false
			f.ws.Resume()
			equal(t, "transcript", f.transcript(), `text "hello"`)
		}
	}
}

func TestCloseResumesWhatWasLeft(t *testing.T) {
	f := dial(new(transport.Config))
	f.busy = true
	f.read(cat(text("a"), text("b")), whole)
	f.ws.Close(nil, 1012, "")
	equal(t, "left", len(f.left), 0)
	f.write(1 << 20)
	equal(t, "transcript", f.transcript(), "end | > close 1012")
}
