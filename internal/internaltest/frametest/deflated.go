package frametest

import (
	"bytes"
	"slices"
	"strings"

	"github.com/ikornaselur/notiflux/internal/wsframe"
)

// hello is "Hello" as RFC 7692 section 7.2.3.1 compresses it.
const hello = "\xf2\x48\xcd\xc9\xc9\x07\x00"

// Agreed returns all cases for connections that negotiated permessage-deflate.
func Agreed() []Case {
	without := func(c Case) bool { return c.Name == "RSV1" } // which is no violation then
	return slices.Concat(Good, slices.DeleteFunc(slices.Clone(Bad), without), Closes(), Deflated())
}

// Plain returns all cases for connections that did not.
func Plain() []Case { return slices.Concat(Good, Bad, Closes()) }

// Deflated returns the cases that need permessage-deflate.
func Deflated() []Case { return slices.Concat(goodDeflated(), badDeflated()) }

func goodDeflated() []Case {
	return []Case{
		{"one block", Frame(0xc1, hello), `text "Hello"`},
		{"binary", Frame(0xc2, hello), `binary "Hello"`},
		{"in fragments", slices.Concat(Frame(0x41, hello[:3]), Frame(0x80, hello[3:])), `text "Hello"`},
		{"byte by byte", slices.Concat(Frame(0x41, "\xf2"), Frame(0, "\x48"), Frame(0, ""), Frame(0, "\xcd\xc9\xc9"), Frame(0x80, "\x07\x00")), `text "Hello"`},
		{"ping between fragments", slices.Concat(Frame(0x41, hello[:3]), Ping("p"), Frame(0x80, hello[3:])), `text "Hello" | > pong "p"`},
		{"block without compression", Frame(0xc1, "\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00"), `text "Hello"`},
		{"final block", Frame(0xc1, "\xf3\x48\xcd\xc9\xc9\x07\x00\x00"), `text "Hello"`},
		{"final block alone", Frame(0xc1, "\xf3\x48\xcd\xc9\xc9\x07\x00"), `text "Hello"`},
		{"two blocks", Frame(0xc1, "\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00"), `text "Hello"`},
		{"two final blocks", Frame(0xc1, "\xf3\x48\xcd\xc9\xc9\x07\x00\xf3\x48\xcd\xc9\xc9\x07\x00\x00"), `text "HelloHello"`},
		{"window over a final block", Frame(0xc1, "\xf3\x48\xcd\xc9\xc9\x07\x00\xf2\x00\x11\x00\x00"), `text "HelloHello"`},
		{"empty", Frame(0xc1, "\x00"), `text ""`},
		{"two messages", slices.Concat(Frame(0xc1, hello), Frame(0xc1, hello)), `text "Hello" | text "Hello"`},
		{"one of two compressed", slices.Concat(Text("a"), Frame(0xc1, hello), Text("b")), `text "a" | text "Hello" | text "b"`},
		{"long", Frame(0xc1, Deflate(strings.Repeat("0123456789", 5000))), `text of 50000 bytes`},
		{"at the limit", Frame(0xc1, Deflate(strings.Repeat("x", MaxMessage))), `text of 81920 bytes`},
		{"at the limit, longer by compression", Frame(0xc2, stored(MaxMessage)), `binary of 81920 bytes`},
		{"character over fragments", slices.Concat(Frame(0x41, Deflate("κόσμε")[:4]), Frame(0x80, Deflate("κόσμε")[4:])), `text "\u03ba\u03cc\u03c3\u03bc\u03b5"`},
	}
}

func badDeflated() []Case {
	return []Case{
		{"RSV1 on a continuation", slices.Concat(Frame(0x41, hello[:3]), Frame(0xc0, hello[3:])), Violation},
		{"RSV1 on a continuation alone", slices.Concat(Frame(0x01, "x"), Frame(0xc0, "y")), Violation},
		{"RSV1 on a ping", Frame(0xc9, "x"), Violation},
		{"RSV1 on a close", Frame(0xc8, ""), Violation},
		{"RSV2", Frame(0xa1, "x"), Violation},
		{"RSV1 and RSV2", Frame(0xe1, hello), Violation},
		{"RSV1 and RSV3", Frame(0xd1, hello), Violation},

		{"no data", Frame(0xc1, ""), NotText},
		{"reserved kind of block", Frame(0xc1, "\x06"), NotText},
		{"length that does not match", Frame(0xc1, "\x00\x05\x00\xff\xff\x48"), NotText},
		{"cut", Frame(0xc1, hello[:4]), NotText},
		{"cut inside a block without compression", Frame(0xc2, "\x00\x05\x00\xfa\xff\x48\x65\x6c"), NotText},
		{"text that was not compressed", Frame(0xc1, "Hello"), NotText},
		{"pointing into the message before", slices.Concat(Frame(0xc1, hello), Frame(0xc1, "\xf2\x00\x11\x00\x00")), `text "Hello" | ` + NotText},
		{"too many streams", Frame(0xc1, strings.Repeat("\x03\x00", 65)), NotText},
		{"invalid text", Frame(0xc1, Deflate("a\xff")), NotText},
		{"cut character", Frame(0xc1, Deflate("a\xe2\x82")), NotText},
		{"message after broken data", slices.Concat(Frame(0xc1, "\x06"), Text("a"), Ping("p")), NotText},

		{"a byte too long", Frame(0xc1, Deflate(strings.Repeat("x", MaxMessage+1))), TooBig},
		{"bomb", Frame(0xc2, Deflate(strings.Repeat("\x00", 16<<20))), TooBig},
		{"bomb in fragments", slices.Concat(Frame(0x41, Deflate(strings.Repeat("x", 1<<20))[:10]), Frame(0x80, Deflate(strings.Repeat("x", 1<<20))[10:])), TooBig},
		{"bomb of many streams", Frame(0xc1, strings.Repeat("\xf3\x48\xcd\xc9\xc9\x07\x00", 60)+Deflate(strings.Repeat("x", MaxMessage))), TooBig},
		{"announced too long", Masked(wsframe.Header{First: 0xc2, Length: 1<<63 - 1}, ""), TooBig},
		{"compressed data too long", Masked(wsframe.Header{First: 0xc2, Length: 2 * MaxMessage}, ""), TooBig},
	}
}

// stored returns n zeros, compressed by a client that does not.
func stored(n int) string {
	var b bytes.Buffer
	for n > 0 {
		k := min(n, 16<<10)
		b.Write([]byte{0, byte(k), byte(k >> 8), ^byte(k), ^byte(k >> 8)})
		b.Write(make([]byte, k))
		n -= k
	}
	return b.String() + "\x00"
}
