package transport_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/internal/internaltest/frametest"
	"github.com/ikornaselur/notiflux/internal/transport"
	"github.com/ikornaselur/notiflux/internal/wire"
	"github.com/ikornaselur/notiflux/internal/wsframe"
)

// A fake is the loop, the socket and the application of one connection.
type fake struct {
	conn    machine
	ws      *transport.WebSocket // the machine, if it is a WebSocket
	now     time.Duration
	tick    time.Duration // when the next tick is due
	events  []string      // calls of the application and the socket, in order
	output  []byte        // bytes written
	left    []byte        // bytes that Read left
	again   bool          // the left bytes must be offered again
	dirty   bool
	stalled time.Duration // how long the socket has taken nothing

	// As the application.
	frames    [][]byte // to be written
	cut       int      // bytes of frames[0] that were written
	busy      bool
	busyAfter bool // busy after each message
	echo      bool
	answers   bool // frames are answers
	onReceive func()
	onNext    func()
}

// A machine is a WebSocket or a Stream.
type machine interface {
	Read(p []byte, now time.Duration) int
	ReadEnd()
	Next() []byte
	Wrote(n int)
	Tick(now time.Duration) time.Duration
	Gone()

	Serve(app transport.App)
	Close(goodbye []byte, code wire.CloseCode, reason string)
	Closing() bool
	Dirty()
	Resume()
	WillClose()
	Arm(at time.Duration)
}

var (
	_ transport.Socket = (*fake)(nil)
	_ transport.App    = (*fake)(nil)
)

// dial returns a connection that was opened at time 0.
func dial(cfg *transport.Config) *fake {
	f := &fake{tick: transport.Never}
	f.ws = transport.NewWebSocket(cfg, f, 0)
	f.conn = f.ws
	f.ws.Serve(f)
	return f
}

// stream returns a stream that begins with head at time 0.
func stream(cfg *transport.Config, head string) *fake {
	f := &fake{tick: transport.Never}
	f.conn = transport.NewStream(cfg, f, []byte(head), 0)
	f.conn.Serve(f)
	return f
}

// read passes p to the connection in pieces, split by cut, and keeps the rest.
func (f *fake) read(p []byte, cut cutter) {
	if f.left != nil {
		f.left = append(f.left, p...)
		return
	}
	for len(p) > 0 {
		piece := bytes.Clone(p[:cut(len(p))])
		p = p[len(piece):]
		f.again = false
		if n := f.conn.Read(piece, f.now); n < len(piece) {
			p = slices.Concat(piece[n:], p)
			if !f.again {
				f.left = p
				return
			}
		}
	}
}

// write takes everything that the connection has to write, up to most bytes at a time.
func (f *fake) write(most int) {
	for {
		p := f.conn.Next()
		if len(p) == 0 {
			f.dirty = false
			return
		}
		p = p[:min(len(p), most)]
		f.output = append(f.output, p...)
		f.conn.Wrote(len(p))
	}
}

// wait lets time pass, with all ticks in it.
func (f *fake) wait(d time.Duration) {
	for end := f.now + d; ; {
		if f.tick > end {
			f.now = end
			return
		}
		f.now, f.tick = max(f.now, f.tick), transport.Never
		f.Arm(f.conn.Tick(f.now))
	}
}

func (f *fake) log(format string, args ...any) {
	f.events = append(f.events, fmt.Sprintf(format, args...))
}

// transcript returns everything that happened, and the frames that were written.
func (f *fake) transcript() string {
	return strings.Join(append(slices.Clone(f.events), sent(f.output)...), " | ")
}

func (f *fake) Dirty()                 { f.dirty = true }
func (f *fake) CloseWrite()            { f.log("end") }
func (f *fake) Arm(at time.Duration)   { f.tick = min(f.tick, at) }
func (f *fake) Post(func()) bool       { return false }
func (f *fake) Remote() string         { return "192.0.2.1:1234" }
func (f *fake) Busy() bool             { return f.busy }
func (f *fake) Tick(_ time.Duration)   {}
func (f *fake) Gone()                  { f.log("gone") }
func (f *fake) Stuck()                 { f.log("stuck"); f.conn.Close(nil, 4202, "") }
func (f *fake) Stalled() time.Duration { return f.stalled }
func (f *fake) Blocked() bool          { return f.stalled > 0 }
func (f *fake) queue(frames ...[]byte) { f.frames = append(f.frames, frames...) }

func (f *fake) Drop() {
	f.log("drop")
	f.conn.Gone()
}

func (f *fake) Resume() {
	f.again = true
	p := f.left
	f.left = nil
	f.read(p, whole)
}

func (f *fake) Receive(message []byte, binary bool) {
	op, kind := wsframe.Text, "text"
	if binary {
		op, kind = wsframe.Binary, "binary"
	}
	f.log("%s %s", kind, frametest.Brief(message))
	if f.echo {
		f.queue(wsframe.AppendFrame(nil, op, message))
		f.ws.Dirty()
	}
	f.busy = f.busyAfter
	if f.onReceive != nil {
		f.onReceive()
	}
}

func (f *fake) Next() []byte {
	if f.onNext != nil {
		f.onNext()
	}
	if f.conn.Closing() {
		return nil
	}
	return bytes.Join(f.frames, nil)
}

func (f *fake) Answers() []byte {
	if !f.answers {
		return nil
	}
	return bytes.Join(f.frames, nil)
}

func (f *fake) Wrote(n int) {
	for n > 0 {
		k := min(n, len(f.frames[0])-f.cut)
		n, f.cut = n-k, f.cut+k
		if f.cut == len(f.frames[0]) {
			f.frames, f.cut = f.frames[1:], 0
		}
	}
}

func (f *fake) Rest() []byte {
	if f.cut == 0 {
		return nil
	}
	return f.frames[0][f.cut:]
}

// A cutter says how many of the next n bytes come in one read.
type cutter func(n int) int

func whole(n int) int  { return n }
func bytewise(int) int { return 1 }

func random(seed uint64) cutter {
	r := rand.New(rand.NewPCG(seed, 0))
	return func(n int) int { return 1 + r.IntN(min(n, 1+r.IntN(2000))) }
}

// everyCut runs a test with each way of splitting the input.
func everyCut(t *testing.T, test func(t *testing.T, cut cutter)) {
	t.Helper()
	t.Run("whole", func(t *testing.T) { test(t, whole) })
	t.Run("bytewise", func(t *testing.T) { test(t, bytewise) })
	for seed := range uint64(5) {
		t.Run(fmt.Sprintf("cut=%d", seed), func(t *testing.T) { test(t, random(seed)) })
	}
}

// The tables use these functions to write frames.
func frame(first byte, payload string) []byte           { return frametest.Frame(first, payload) }
func masked(h wsframe.Header, payload string) []byte    { return frametest.Masked(h, payload) }
func text(s string) []byte                              { return frametest.Text(s) }
func binaryOf(s string) []byte                          { return frametest.Binary(s) }
func ping(s string) []byte                              { return frametest.Ping(s) }
func closing(code uint16, reason string) []byte         { return frametest.Closing(code, reason) }
func raw(s string) []byte                               { return frametest.Raw(s) }
func sent(p []byte) []string                            { return frametest.Sent(p) }
func describe(op wsframe.Opcode, payload []byte) string { return frametest.Describe(op, payload) }

func cat(parts ...[]byte) []byte { return slices.Concat(parts...) }

// repeat returns n times p.
func repeat(n int, p []byte) []byte { return bytes.Repeat(p, n) }

func equal(t *testing.T, what string, got, want any) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s = %v, want %v", what, got, want)
	}
}
