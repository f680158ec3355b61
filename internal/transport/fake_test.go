package transport_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/ikornaselur/notiflux/internal/transport"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// A fake is the loop, the socket and the application of one connection.
type fake struct {
	ws     *transport.WebSocket
	now    time.Duration
	tick   time.Duration // when the next one is due
	events []string      // what the application and the socket were told, in order
	output []byte        // what was written
	left   []byte        // what Read left
	dirty  bool

	// As the application.
	frames    [][]byte // to be written
	cut       int      // bytes of frames[0] that are written
	busy      bool
	busyAfter bool // busy after each message
	echo      bool
	onReceive func()
	onNext    func()
}

var (
	_ transport.Socket = (*fake)(nil)
	_ transport.App    = (*fake)(nil)
)

// dial returns a connection that was opened at time 0.
func dial(cfg *transport.Config) *fake {
	f := &fake{tick: transport.Never}
	f.ws = transport.NewWebSocket(cfg, f, 0)
	f.ws.Serve(f)
	return f
}

// read gives p to the connection in pieces, as cut says, and keeps what is left.
func (f *fake) read(p []byte, cut cutter) {
	if f.left != nil {
		f.left = append(f.left, p...)
		return
	}
	for len(p) > 0 {
		piece := bytes.Clone(p[:cut(len(p))])
		p = p[len(piece):]
		if n := f.ws.Read(piece, f.now); n < len(piece) {
			f.left = slices.Concat(piece[n:], p)
			return
		}
	}
}

// write takes everything that the connection wants to write, most bytes at a time.
func (f *fake) write(most int) {
	for {
		p := f.ws.Next()
		if len(p) == 0 {
			f.dirty = false
			return
		}
		p = p[:min(len(p), most)]
		f.output = append(f.output, p...)
		f.ws.Wrote(len(p))
	}
}

// wait lets time pass, with all the ticks in it.
func (f *fake) wait(d time.Duration) {
	for end := f.now + d; ; {
		if f.tick > end {
			f.now = end
			return
		}
		f.now, f.tick = max(f.now, f.tick), transport.Never
		f.Arm(f.ws.Tick(f.now))
	}
}

func (f *fake) log(format string, args ...any) {
	f.events = append(f.events, fmt.Sprintf(format, args...))
}

// transcript is everything that happened, and the frames that were written.
func (f *fake) transcript() string {
	return strings.Join(append(slices.Clone(f.events), sent(f.output)...), " | ")
}

func (f *fake) Dirty()                 { f.dirty = true }
func (f *fake) CloseWrite()            { f.log("end") }
func (f *fake) Arm(at time.Duration)   { f.tick = min(f.tick, at) }
func (f *fake) Busy() bool             { return f.busy }
func (f *fake) Tick(_ time.Duration)   {}
func (f *fake) Gone()                  { f.log("gone") }
func (f *fake) queue(frames ...[]byte) { f.frames = append(f.frames, frames...) }

func (f *fake) Drop() {
	f.log("drop")
	f.ws.Gone()
}

func (f *fake) Resume() {
	p := f.left
	f.left = nil
	f.read(p, whole)
}

func (f *fake) Receive(message []byte, binary bool) {
	op, kind := ws.OpText, "text"
	if binary {
		op, kind = ws.OpBinary, "binary"
	}
	f.log("%s %s", kind, brief(message))
	if f.echo {
		f.queue(wire.AppendFrame(nil, op, message))
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
	if f.ws.Closing() {
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

// everyCut runs a test with each way of cutting the input.
func everyCut(t *testing.T, test func(t *testing.T, cut cutter)) {
	t.Helper()
	t.Run("whole", func(t *testing.T) { test(t, whole) })
	t.Run("bytewise", func(t *testing.T) { test(t, bytewise) })
	for seed := range uint64(5) {
		t.Run(fmt.Sprintf("cut=%d", seed), func(t *testing.T) { test(t, random(seed)) })
	}
}

var mask = [4]byte{0x5a, 0xc3, 0x00, 0xff}

// frame returns a masked frame with a first byte and the shortest length.
func frame(first byte, payload string) []byte {
	return masked(ws.Header{
		Fin: first&0x80 != 0, Rsv: first >> 4 & 7, OpCode: ws.OpCode(first & 0x0f), Length: int64(len(payload)),
	}, payload)
}

// masked returns a header that may announce anything, and a payload.
func masked(h ws.Header, payload string) []byte {
	h.Masked, h.Mask = true, mask
	var b bytes.Buffer
	if err := ws.WriteHeader(&b, h); err != nil {
		panic(err)
	}
	p := []byte(payload)
	ws.Cipher(p, mask, 0)
	return append(b.Bytes(), p...)
}

func text(s string) []byte     { return frame(0x81, s) }
func ping(s string) []byte     { return frame(0x89, s) }
func binaryOf(s string) []byte { return frame(0x82, s) }

// closing returns a close frame.
func closing(code uint16, reason string) []byte {
	return frame(0x88, string(binary.BigEndian.AppendUint16(nil, code))+reason)
}

// raw returns bytes given in hexadecimal.
func raw(s string) []byte {
	p, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		panic(err)
	}
	return p
}

func cat(parts ...[]byte) []byte { return slices.Concat(parts...) }

// repeat returns n times p.
func repeat(n int, p []byte) []byte { return bytes.Repeat(p, n) }

func brief(p []byte) string {
	if len(p) > 200 {
		return fmt.Sprintf("of %d bytes", len(p))
	}
	return fmt.Sprintf("%+q", p)
}

// sent returns the frames that a server wrote. It is strict: what it does not
// understand is shown.
func sent(p []byte) (frames []string) {
	r := bytes.NewReader(p)
	for r.Len() > 0 {
		h, err := ws.ReadHeader(r)
		if err != nil || h.Masked || h.Rsv != 0 || !h.Fin || h.Length > int64(r.Len()) {
			return append(frames, fmt.Sprintf("broken frame %+v: %v", h, err))
		}
		payload := make([]byte, h.Length)
		if _, err := io.ReadFull(r, payload); err != nil {
			panic(err)
		}
		frames = append(frames, describe(h.OpCode, payload))
	}
	return frames
}

func describe(op ws.OpCode, payload []byte) string {
	switch op {
	case ws.OpText:
		return "> text " + brief(payload)
	case ws.OpBinary:
		return "> binary " + brief(payload)
	case ws.OpPing:
		return "> ping"
	case ws.OpPong:
		return "> pong " + brief(payload)
	case ws.OpClose:
		if len(payload) == 0 {
			return "> close"
		}
		return fmt.Sprintf("> close %d", binary.BigEndian.Uint16(payload))
	}
	return fmt.Sprintf("> opcode %d", op)
}

func equal(t *testing.T, what string, got, want any) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s = %v, want %v", what, got, want)
	}
}
