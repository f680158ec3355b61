package wsframe_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"github.com/ikornaselur/notiflux/internal/wsframe"
)

// The examples of RFC 6455 section 5.7, and the boundaries of each form of length.
func TestHeaders(t *testing.T) {
	for _, c := range []struct {
		name, bytes string
		want        wsframe.Header
	}{
		{"text", "8105", wsframe.Header{First: 0x81, Length: 5}},
		{"masked text", "818537fa213d", wsframe.Header{First: 0x81, Masked: true, Key: 0x3d21fa37, Length: 5}},
		{"first fragment", "0103", wsframe.Header{First: 0x01, Length: 3}},
		{"last fragment", "8002", wsframe.Header{First: 0x80, Length: 2}},
		{"ping", "8905", wsframe.Header{First: 0x89, Length: 5}},
		{"masked pong", "8a8537fa213d", wsframe.Header{First: 0x8a, Masked: true, Key: 0x3d21fa37, Length: 5}},
		{"256 bytes", "827e0100", wsframe.Header{First: 0x82, Length: 256}},
		{"64 KiB", "827f0000000000010000", wsframe.Header{First: 0x82, Length: 64 << 10}},
		{"nothing", "8800", wsframe.Header{First: 0x88}},
		{"125 bytes", "827d", wsframe.Header{First: 0x82, Length: 125}},
		{"126 bytes", "827e007e", wsframe.Header{First: 0x82, Length: 126}},
		{"65535 bytes, masked", "82feffff01020304", wsframe.Header{First: 0x82, Masked: true, Key: 0x04030201, Length: 65535}},
		{"2^63-1 bytes, masked", "82ff7fffffffffffffff01020304", wsframe.Header{First: 0x82, Masked: true, Key: 0x04030201, Length: math.MaxInt64}},
		{"compressed", "c107", wsframe.Header{First: 0xc1, Length: 7}},
		{"all bits", "ffff7fffffffffffffffffffffff", wsframe.Header{First: 0xff, Masked: true, Key: math.MaxUint32, Length: math.MaxInt64}},
	} {
		p, err := hex.DecodeString(c.bytes)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.want.Append([]byte("x")); string(got) != "x"+string(p) {
			t.Errorf("%s: Append = %x, want %x", c.name, got[1:], p)
		}
		got, n, ok := wsframe.ParseHeader(append(p, "payload"...))
		if got != c.want || n != len(p) || !ok {
			t.Errorf("%s: ParseHeader = %+v, %d, %v, want %+v, %d", c.name, got, n, ok, c.want, len(p))
		}
		for have := range p {
			got, need, ok := wsframe.ParseHeader(p[:have])
			if ok || need <= have || need > len(p) {
				t.Errorf("%s: ParseHeader of %d bytes needs %d, %v, want from %d to %d, false", c.name, have, need, ok, have+1, len(p))
			}
			if have >= 2 && (got.First != c.want.First || got.Masked != c.want.Masked) {
				t.Errorf("%s: ParseHeader of %d bytes = %+v, want the first bits of %+v", c.name, have, got, c.want)
			}
		}
	}
}

func TestLengthsThatAreNotAllowed(t *testing.T) {
	for _, header := range []string{"827e0000", "827e007d", "827f0000000000000000", "827f000000000000007d", "827f000000000000ffff", "827f8000000000000000", "827fffffffffffffffff"} {
		p, err := hex.DecodeString(header)
		if err != nil {
			t.Fatal(err)
		}
		if h, n, ok := wsframe.ParseHeader(p); h.Length != -1 || n != len(p) || !ok {
			t.Errorf("ParseHeader(%s) = %+v, %d, %v, want a length of -1", header, h, n, ok)
		}
		if _, err := wsframe.Read(bytes.NewReader(p), math.MaxInt64); !errors.Is(err, wsframe.ErrLength) {
			t.Errorf("Read(%s) = %v, want %v", header, err, wsframe.ErrLength)
		}
	}
}

func TestFirstByte(t *testing.T) {
	for _, c := range []struct {
		first byte
		fin   bool
		rsv   byte
		op    wsframe.Opcode
	}{
		{0x00, false, 0, wsframe.Continuation},
		{0x81, true, 0, wsframe.Text},
		{0xc2, true, wsframe.RSV1, wsframe.Binary},
		{0x28, false, 0x20, wsframe.Close},
		{0x99, true, 0x10, wsframe.Ping},
		{0x7a, false, 0x70, wsframe.Pong},
	} {
		h := wsframe.Header{First: c.first}
		if h.Fin() != c.fin || h.RSV() != c.rsv || h.Opcode() != c.op {
			t.Errorf("first byte %#x: %v, %#x, %d, want %v, %#x, %d", c.first, h.Fin(), h.RSV(), h.Opcode(), c.fin, c.rsv, c.op)
		}
	}
}

func TestOpcodes(t *testing.T) {
	for op := range wsframe.Opcode(16) {
		control, reserved := op >= 8, op > wsframe.Binary && op < wsframe.Close || op > wsframe.Pong
		if op.IsControl() != control || op.IsReserved() != reserved {
			t.Errorf("opcode %d: IsControl = %v, IsReserved = %v, want %v, %v", op, op.IsControl(), op.IsReserved(), control, reserved)
		}
	}
}

// A written frame is read back, for each size and mask, in one piece and byte by byte.
func TestRoundTrip(t *testing.T) {
	for _, size := range []int{0, 1, 7, 8, 31, 32, 33, 125, 126, 127, 65535, 65536, 100_000} {
		payload := bytes.Repeat([]byte("0123456789abcdefg"), size/17+1)[:size]
		for _, h := range []wsframe.Header{
			{First: 0x81},
			{First: 0x00, Masked: true, Key: 0x12345678},
			{First: 0xc2, Masked: true},
		} {
			frame := h.AppendFrame(nil, payload)
			if extra := cap(frame) - len(frame); extra > 2*wsframe.MaxHeader+size/4 {
				t.Errorf("%+v: a frame of %d bytes has room for %d more", h, len(frame), extra)
			}
			want := h
			want.Length = int64(size)
			for name, r := range map[string]io.Reader{"whole": bytes.NewReader(frame), "bytewise": iotest.OneByteReader(bytes.NewReader(frame))} {
				got, err := wsframe.Read(io.MultiReader(r, strings.NewReader("rest")), int64(size))
				if err != nil || got.Header != want || !bytes.Equal(got.Payload, payload) {
					t.Errorf("%s: Read of %d bytes = %+v, %d bytes, %v, want %+v", name, size, got.Header, len(got.Payload), err, want)
				}
			}
		}
	}
}

func TestReadEnds(t *testing.T) {
	frame := wsframe.AppendFrame(nil, wsframe.Text, bytes.Repeat([]byte("x"), 200))
	for n := range frame {
		want := io.ErrUnexpectedEOF
		if n == 0 {
			want = io.EOF
		}
		if _, err := wsframe.Read(bytes.NewReader(frame[:n]), 200); err != want {
			t.Errorf("Read of %d bytes of %d = %v, want %v", n, len(frame), err, want)
		}
	}
	broken := errors.New("broken")
	for _, n := range []int{0, 1, 100} {
		if _, err := wsframe.Read(io.MultiReader(bytes.NewReader(frame[:n]), iotest.ErrReader(broken)), 200); err != broken {
			t.Errorf("Read of a connection that breaks after %d bytes = %v, want %v", n, err, broken)
		}
	}
	if f, err := wsframe.Read(bytes.NewReader(frame), 199); err == nil || f.Payload != nil {
		t.Errorf("Read of 200 bytes with a limit of 199 = %d bytes, %v", len(f.Payload), err)
	}
}

// Masking in parts equals masking as a whole, and masking again undoes it.
func TestMask(t *testing.T) {
	key := [4]byte{0x37, 0xfa, 0x21, 0x3d}
	word := binary.LittleEndian.Uint32(key[:])
	hello := []byte("Hello") // RFC 6455 section 5.7
	if wsframe.Mask(hello, word); hex.EncodeToString(hello) != "7f9f4d5158" {
		t.Errorf("Mask(Hello) = %x, want 7f9f4d5158", hello)
	}
	for size := range 100 {
		plain := bytes.Repeat([]byte("abcdefg"), 20)[:size]
		want := bytes.Clone(plain)
		for i := range want {
			want[i] ^= key[i%4]
		}
		for cut := range size + 1 {
			got := bytes.Clone(plain)
			wsframe.Mask(got[cut:], wsframe.Mask(got[:cut], word))
			if !bytes.Equal(got, want) {
				t.Fatalf("Mask of %d bytes cut at %d = %x, want %x", size, cut, got, want)
			}
		}
		if wsframe.Mask(want, word); !bytes.Equal(want, plain) {
			t.Errorf("Mask of %d bytes twice = %x, want %x", size, want, plain)
		}
	}
}

func TestClose(t *testing.T) {
	for _, reason := range []string{"", "bye", strings.Repeat("x", 123), strings.Repeat("x", 124), strings.Repeat("é", 100)} {
		frame, err := wsframe.Read(bytes.NewReader(wsframe.AppendClose(nil, 4202, reason)), wsframe.MaxControl)
		if err != nil {
			t.Fatal(err)
		}
		code, said := wsframe.ParseClose(frame.Payload)
		got := string(said)
		if code != 4202 || !strings.HasPrefix(reason, got) || !utf8.ValidString(got) || len(reason)-len(got) > max(0, len(reason)-122) {
			t.Errorf("close with a reason of %d bytes: %d, %q", len(reason), code, got)
		}
	}
	for _, payload := range []string{"", "\x03"} {
		if code, reason := wsframe.ParseClose([]byte(payload)); code != wsframe.NoStatus || reason != nil {
			t.Errorf("ParseClose(%q) = %d, %q, want %d", payload, code, reason, wsframe.NoStatus)
		}
	}
}

func TestMaySend(t *testing.T) {
	for code := range uint16(6000) {
		want := code >= 1000 && code <= 1014 && code != 1004 && code != 1005 && code != 1006 || code >= 3000 && code <= 4999
		if got := wsframe.MaySend(code); got != want {
			t.Errorf("MaySend(%d) = %v, want %v", code, got, want)
		}
	}
}

// The example of RFC 6455 section 1.3.
func TestAccept(t *testing.T) {
	if got, want := wsframe.Accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="; got != want {
		t.Errorf("Accept = %q, want %q", got, want)
	}
}

// FuzzHeader parses any bytes. A complete valid header is written back as the same bytes.
func FuzzHeader(f *testing.F) {
	for _, p := range []string{"", "\x81", "\x81\x05Hello", "\x81\x857\xfa!=", "\x82\x7e\x00\x05", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"} {
		f.Add([]byte(p))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		h, n, ok := wsframe.ParseHeader(p)
		if ok != (n <= len(p)) || n < 2 || n > wsframe.MaxHeader {
			t.Fatalf("ParseHeader(%x) = %+v, %d, %v", p, h, n, ok)
		}
		if ok && h.Length >= 0 {
			if got := h.Append(nil); !bytes.Equal(got, p[:n]) {
				t.Fatalf("%+v is written as %x, and was read from %x", h, got, p[:n])
			}
		}
		frame, err := wsframe.Read(bytes.NewReader(p), 1<<10)
		if err == nil {
			if got := frame.AppendFrame(nil, frame.Payload); !bytes.Equal(got, p[:len(got)]) {
				t.Fatalf("a frame is written as %x, and was read from %x", got, p)
			}
		}
	})
}

func TestAppendingDoesNotAllocate(t *testing.T) {
	dst, payload := make([]byte, 0, 1<<10), make([]byte, 500)
	if n := testing.AllocsPerRun(100, func() { wsframe.AppendFrame(dst, wsframe.Text, payload) }); n != 0 {
		t.Errorf("AppendFrame into a buffer: %v allocations, want 0", n)
	}
	if n := testing.AllocsPerRun(100, func() { wsframe.AppendClose(dst, 1012, "restart") }); n != 0 {
		t.Errorf("AppendClose into a buffer: %v allocations, want 0", n)
	}
	if n := testing.AllocsPerRun(100, func() { wsframe.AppendFrame(nil, wsframe.Text, payload) }); n != 1 {
		t.Errorf("AppendFrame into nil: %v allocations, want 1", n)
	}
}

func BenchmarkAppendFrame(b *testing.B) {
	for _, size := range []int{100, 1000} {
		b.Run(fmt.Sprintf("size=%d", size), func(b *testing.B) {
			dst, payload := make([]byte, 0, 2<<10), make([]byte, size)
			b.ReportAllocs()
			for b.Loop() {
				wsframe.AppendFrame(dst, wsframe.Text, payload)
			}
		})
	}
}

func BenchmarkParseHeader(b *testing.B) {
	p := wsframe.Header{First: 0x81, Masked: true, Key: 0x12345678}.AppendFrame(nil, make([]byte, 300))
	b.ReportAllocs()
	for b.Loop() {
		wsframe.ParseHeader(p)
	}
}

func BenchmarkMask(b *testing.B) {
	for _, size := range []int{6, 100, 1000, 80_000} {
		b.Run(fmt.Sprintf("size=%d", size), func(b *testing.B) {
			p := make([]byte, size)
			b.SetBytes(int64(size))
			for b.Loop() {
				wsframe.Mask(p, 0x12345678)
			}
		})
	}
}
