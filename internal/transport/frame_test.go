package transport_test

import (
	"strings"
	"testing"

	"github.com/gobwas/ws"

	"github.com/ikornaselur/notiflux/internal/transport"
)

// A frameCase is bytes from a client, and what comes of them: first what the
// application and the socket are told, then (with >) what the client is sent.
type frameCase struct {
	name string
	in   []byte
	want string
}

const (
	maxMessage = transport.DefaultMaxMessageBytes

	violation = "end | > close 1002"
	notText   = "end | > close 1007"
	policy    = "end | > close 1008"
	tooBig    = "end | > close 1009"
)

var a125 = strings.Repeat("a", 125)

var goodFrames = []frameCase{
	{"text", text("hello"), `text "hello"`},
	{"empty text", text(""), `text ""`},
	{"binary", binaryOf("\x00\xff"), `binary "\x00\xff"`},
	{"empty binary", binaryOf(""), `binary ""`},
	{"two messages", cat(text("a"), text("b")), `text "a" | text "b"`},
	{"125 bytes", text(a125), `text "` + a125 + `"`},
	{"126 bytes", text(strings.Repeat("b", 126)), `text "` + strings.Repeat("b", 126) + `"`},
	{"65535 bytes", text(strings.Repeat("c", 65535)), `text of 65535 bytes`},
	{"65536 bytes", text(strings.Repeat("d", 65536)), `text of 65536 bytes`},
	{"limit", text(strings.Repeat("e", maxMessage)), `text of 81920 bytes`},
	{"binary at limit", binaryOf(strings.Repeat("\xff", maxMessage)), `binary of 81920 bytes`},
	{"zero mask", raw("81 82 00000000 6869"), `text "hi"`},
	{"two fragments", cat(frame(0x01, "he"), frame(0x80, "llo")), `text "hello"`},
	{"binary fragments", cat(frame(0x02, "\xff"), frame(0x80, "\xfe")), `binary "\xff\xfe"`},
	{"empty fragments", cat(frame(0x01, ""), frame(0x00, ""), frame(0x80, "")), `text ""`},
	{"empty last fragment", cat(frame(0x01, "x"), frame(0x80, "")), `text "x"`},
	{"64 fragments", cat(frame(0x01, "x"), repeat(62, frame(0x00, "y")), frame(0x80, "z")), `text "x` + strings.Repeat("y", 62) + `z"`},
	{"fragments at limit", cat(frame(0x01, strings.Repeat("x", 80000)), frame(0x80, strings.Repeat("x", 1920))), `text of 81920 bytes`},
	{"fragments, then a message", cat(frame(0x01, "a"), frame(0x80, "b"), text("c")), `text "ab" | text "c"`},
	{"character over fragments", cat(frame(0x01, "\xf0\x9f"), frame(0x00, "\x98"), frame(0x80, "\x80")), `text "\U0001f600"`},
	{"long character over fragments", cat(frame(0x01, strings.Repeat("ß", 1000)+"\xe2"), frame(0x80, "\x82\xac")), `text of 2003 bytes`},
	{"edges of UTF-8", text("\x00\x7f\u0080\u07ff\u0800\ud7ff\ue000\uffff\U00010000\U0010ffff"), `text "\x00\x7f\u0080\u07ff\u0800\ud7ff\ue000\uffff\U00010000\U0010ffff"`},
	{"ping", ping("x"), `> pong "x"`},
	{"empty ping", ping(""), `> pong ""`},
	{"ping of 125 bytes", ping(a125), `> pong "` + a125 + `"`},
	{"ping with a long header", raw("89 fd 00000000" + strings.Repeat("61", 125)), `> pong "` + a125 + `"`},
	{"newest ping", cat(ping("a"), ping("b"), ping("c")), `> pong "c"`},
	{"pong", frame(0x8a, "x"), ``},
	{"ping between fragments", cat(frame(0x01, "a"), ping("p"), frame(0x80, "b")), `text "ab" | > pong "p"`},
	{"pong between fragments", cat(frame(0x01, "a"), frame(0x8a, ""), frame(0x80, "b")), `text "ab"`},
	{"ping inside a character", cat(frame(0x01, "\xc3"), ping("p"), frame(0x80, "\xa9")), `text "\u00e9" | > pong "p"`},
	{"control frames at the burst", repeat(100, ping("x")), `> pong "x"`},
}

var badFrames = []frameCase{
	{"not masked", raw("81 02 6869"), violation},
	{"empty, not masked", raw("81 00"), violation},
	{"ping, not masked", raw("89 00"), violation},
	{"RSV1", frame(0xc1, "x"), violation},
	{"RSV2", frame(0xa1, "x"), violation},
	{"RSV3", frame(0x91, "x"), violation},
	{"RSV1 on a ping", frame(0xc9, "x"), violation},
	{"RSV1 on a continuation", cat(frame(0x01, "x"), frame(0xc0, "y")), violation},
	{"opcode 3", frame(0x83, ""), violation},
	{"opcode 4", frame(0x84, "x"), violation},
	{"opcode 5", frame(0x85, "x"), violation},
	{"opcode 6", frame(0x86, "x"), violation},
	{"opcode 7", frame(0x87, "x"), violation},
	{"opcode 11", frame(0x8b, "x"), violation},
	{"opcode 12", frame(0x8c, "x"), violation},
	{"opcode 13", frame(0x8d, "x"), violation},
	{"opcode 14", frame(0x8e, "x"), violation},
	{"opcode 15", frame(0x8f, "x"), violation},
	{"opcode 3 inside a message", cat(frame(0x01, "x"), frame(0x83, "")), violation},
	{"ping of 126 bytes", frame(0x89, a125+"a"), violation},
	{"pong of 126 bytes", frame(0x8a, a125+"a"), violation},
	{"close of 126 bytes", frame(0x88, a125+"a"), violation},
	{"ping announcing 2^62 bytes", masked(ws.Header{Fin: true, OpCode: ws.OpPing, Length: 1 << 62}, ""), violation},
	{"fragmented ping", frame(0x09, "x"), violation},
	{"fragmented pong", frame(0x0a, "x"), violation},
	{"fragmented close", frame(0x08, ""), violation},
	{"continuation first", frame(0x80, "x"), violation},
	{"open continuation first", frame(0x00, "x"), violation},
	{"continuation after a message", cat(text("a"), frame(0x80, "b")), `text "a" | ` + violation},
	{"continuation after fragments", cat(frame(0x01, "a"), frame(0x80, "b"), frame(0x80, "c")), `text "ab" | ` + violation},
	{"text inside a message", cat(frame(0x01, "a"), text("b")), violation},
	{"binary inside a message", cat(frame(0x01, "a"), binaryOf("b")), violation},
	{"fragment inside a message", cat(frame(0x01, "a"), frame(0x01, "b")), violation},
	{"16-bit length of 0", raw("81 fe 0000 00000000"), violation},
	{"16-bit length of 125", cat(raw("81 fe 007d 00000000"), make([]byte, 125)), violation},
	{"64-bit length of 125", cat(raw("81 ff 000000000000007d 00000000"), make([]byte, 125)), violation},
	{"64-bit length of 65535", raw("81 ff 000000000000ffff 00000000"), violation},
	{"16-bit length on a ping", raw("89 fe 0001 00000000 61"), violation},
	{"top bit of the length", raw("81 ff 8000000000000001 00000000"), violation},
	{"all bits of the length", raw("82 ff ffffffffffffffff 00000000"), violation},
	{"violation after a message", cat(text("a"), frame(0x83, "")), `text "a" | ` + violation},
	{"message after a violation", cat(frame(0x83, ""), text("a"), ping("p")), violation},
	{"HTTP", []byte("GET / HTTP/1.1\r\n\r\n"), violation},
	{"zeros", make([]byte, 20), violation},

	{"announced 1 byte too long", masked(ws.Header{Fin: true, OpCode: ws.OpText, Length: maxMessage + 1}, ""), tooBig},
	{"announced 2^63-1 bytes", masked(ws.Header{Fin: true, OpCode: ws.OpBinary, Length: 1<<63 - 1}, ""), tooBig},
	{"too long in fragments", cat(frame(0x01, strings.Repeat("x", maxMessage)), frame(0x80, "x")), tooBig},
	{"announced too long in fragments", cat(frame(0x01, "x"), masked(ws.Header{OpCode: ws.OpContinuation, Length: 1<<63 - 1}, "")), tooBig},

	{"65 fragments", cat(frame(0x01, "x"), repeat(64, frame(0x00, "x"))), policy},
	{"65th fragment is the last", cat(frame(0x01, "x"), repeat(63, frame(0x00, "x")), frame(0x80, "")), policy},
	{"endless empty fragments", cat(frame(0x02, ""), repeat(1000, frame(0x00, ""))), policy},
	{"ping flood", repeat(101, ping("")), policy},
	{"pong flood", repeat(101, frame(0x8a, "")), policy},
	{"ping flood inside a message", cat(frame(0x01, "x"), repeat(101, ping(""))), policy},

	{"invalid byte", text("\xff"), notText},
	{"lone continuation byte", text("a\x80"), notText},
	{"overlong slash", text("\xc0\xaf"), notText},
	{"overlong in three bytes", text("\xe0\x80\xaf"), notText},
	{"overlong in four bytes", text("\xf0\x80\x80\xaf"), notText},
	{"surrogate", text("\xed\xa0\x80"), notText},
	{"above U+10FFFF", text("\xf4\x90\x80\x80"), notText},
	{"five-byte form", text("\xf8\x88\x80\x80\x80"), notText},
	{"cut character", text("a\xe2\x82"), notText},
	{"cut character in the last fragment", cat(frame(0x01, "a"), frame(0x80, "\xe2\x82")), notText},
	{"invalid in the first fragment", frame(0x01, "a\xff"), notText},
	{"invalid over fragments", cat(frame(0x01, "\xe2"), frame(0x00, "\x28")), notText},
	{"surrogate over fragments", cat(frame(0x01, "\xed"), frame(0x00, "\xa0")), notText},
	{"invalid at the start of a frame", masked(ws.Header{Fin: true, OpCode: ws.OpText, Length: 1000}, "\xff"), notText},
	{"invalid in the middle of a frame", masked(ws.Header{Fin: true, OpCode: ws.OpText, Length: 1000}, "κόσμε\xed\xa0"), notText},
	{"too large a character in the middle of a frame", masked(ws.Header{Fin: true, OpCode: ws.OpText, Length: 1000}, "κ\xf4\x90"), notText},
}

func TestFrames(t *testing.T) {
	cases := append(append([]frameCase{}, goodFrames...), badFrames...)
	if len(cases) < 60 {
		t.Fatalf("%d cases, want at least 60", len(cases))
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			everyCut(t, func(t *testing.T, cut cutter) {
				budget := transport.NewBudget(0)
				f := dial(&transport.Config{Budget: budget})
				f.read(c.in, cut)
				f.write(1 << 20)
				equal(t, "transcript", f.transcript(), c.want)
				equal(t, "Closing()", f.ws.Closing(), strings.Contains(c.want, "close"))
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
		{"1,000 pings", generous, repeat(1000, ping("x")), `> pong "x"`},
		{"4 bytes", strict, text("abcd"), `text "abcd"`},
		{"5 bytes", strict, text("abcde"), tooBig},
		{"5 bytes in fragments", strict, cat(frame(0x01, "abc"), frame(0x80, "de")), tooBig},
		{"2 fragments", strict, cat(frame(0x01, "a"), frame(0x80, "b")), `text "ab"`},
		{"3 fragments", strict, cat(frame(0x01, "a"), frame(0x00, "b"), frame(0x80, "c")), policy},
		{"3 pings", strict, repeat(3, ping("")), policy},
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
		equal(t, "transcript", f.transcript(), `text "a" | > pong "2"`)

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
	f.ws.Close(1012, "")
	equal(t, "left", len(f.left), 0)
	f.write(1 << 20)
	equal(t, "transcript", f.transcript(), "end | > close 1012")
}
