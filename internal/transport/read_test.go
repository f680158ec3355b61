package transport_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/ikornaselur/notiflux/internal/internaltest/frametest"
	"github.com/ikornaselur/notiflux/internal/transport"
	"github.com/ikornaselur/notiflux/internal/wsframe"
)

// A read that contains much work is processed in parts, so that other connections of the
// loop get their turn, whatever the messages are.
func TestMuchWorkIsTakenInParts(t *testing.T) {
	const most = 200 << 10 // bytes of messages in a part, each counted as 256 more
	for name, message := range map[string][]byte{
		"short messages":      text("x"),
		"empty binary":        binaryOf(""),
		"pongs":               frame(0x8a, ""),
		"fragments":           cat(frame(0x01, "x"), frame(0x80, "y")),
		"compressed":          frame(0xc1, frametest.Deflate(strings.Repeat("x", 64<<10))),
		"short, compressed":   frame(0xc2, frametest.Deflate("x")),
		"compressed, nothing": masked(wsframe.Header{First: 0xc2, Length: 321}, strings.Repeat("\x01\x00\x00\xff\xff", 63)+"\x00\x00\x00\xff\xff\x00"),
	} {
		t.Run(name, func(t *testing.T) {
			f := dial(&transport.Config{Inflaters: new(transport.Inflaters), InflateRate: -1, ControlRate: -1})
			got := 0
			f.onReceive = func() { got++ }
			in := bytes.Repeat(message, 64<<10/len(message))
			parts := 0
			for rest := in; len(rest) > 0; parts++ {
				f.again = false
				n := f.conn.Read(rest, 0)
				if n < len(rest) && !f.again {
					t.Fatalf("it left %d bytes and does not ask for them", len(rest)-n)
				}
				rest = rest[n:]
			}
			least := len(in) / len(message) * 256 / most
			if name == "compressed" {
				least = len(in) / len(message) * (64 << 10) / most
			}
			if f.ws.Closing() || parts < least || parts < 2 {
				t.Errorf("%d messages in %d parts, closing %v; want at least %d parts", got, parts, f.ws.Closing(), least)
			}
		})
	}
}

// A short message does not have to wait for others.
func TestLittleWorkIsTakenAtOnce(t *testing.T) {
	f := dial(&transport.Config{})
	in := cat(text(strings.Repeat("x", 60_000)), repeat(10, text("hello")))
	if n := f.conn.Read(in, 0); n != len(in) {
		t.Errorf("%d of %d bytes are taken", n, len(in))
	}
}
