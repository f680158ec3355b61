package transport_test

import (
	"slices"
	"testing"

	"github.com/ikornaselur/notiflux/internal/internaltest/frametest"
	"github.com/ikornaselur/notiflux/internal/transport"
)

// FuzzRead feeds bytes whole, byte by byte and randomly split, to an application that is
// never busy and to one that is busy after each message. All of them see and send the same,
// and own no more than the maximum message size.
func FuzzRead(f *testing.F) {
	for _, c := range slices.Concat(frametest.Good, frametest.Bad, frametest.Deflated()) {
		if len(c.In) < 10_000 {
			f.Add(c.In, uint64(len(c.Name)))
		}
	}
	for _, c := range frametest.Closes() {
		f.Add(c.In, uint64(len(c.Name)))
	}
	f.Fuzz(func(t *testing.T, in []byte, seed uint64) {
		want := play(t, in, whole, false)
		for _, busy := range []bool{false, true} {
			for _, cut := range []cutter{whole, bytewise, random(seed)} {
				if got := play(t, in, cut, busy); got != want {
					t.Fatalf("busy=%v: transcript = %s, want %s", busy, got, want)
				}
			}
		}
	})
}

// play returns the transcript of a connection that received in.
func play(t *testing.T, in []byte, cut cutter, busy bool) string {
	const limit = 2000
	cfg := &transport.Config{MaxMessageBytes: limit, Budget: transport.NewBudget(0)}
	f := dial(cfg)
	f.busyAfter = busy
	for len(in) > 0 {
		n := cut(len(in))
		f.read(in[:n], whole)
		in = in[n:]
		for f.busy {
			f.busy = false
			f.ws.Resume()
		}
		if used := cfg.Budget.Used(); used > limit {
			t.Fatalf("an incomplete message owns %d bytes, want at most %d", used, limit)
		}
	}
	f.write(1 << 20)
	f.ws.ReadEnd()
	f.ws.Gone()
	if used := cfg.Budget.Used(); used != 0 {
		t.Fatalf("a closed connection owns %d bytes", used)
	}
	return f.transcript()
}
