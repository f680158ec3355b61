package frametest

import (
	"bytes"
	"slices"
	"strings"

	"github.com/ikornaselur/notiflux/internal/transport"
	"github.com/ikornaselur/notiflux/internal/wsframe"
)

// A Case is input from a client and its result with default limits: first what the application
// and the socket receive, then, after >, what the client receives.
type Case struct {
	Name string
	In   []byte
	Want string
}

// MaxMessage is the default limit of a message, which some cases reach.
const MaxMessage = transport.DefaultMaxMessageBytes

// Common ends of a Case.
const (
	Violation = "end | > close 1002"
	NotText   = "end | > close 1007"
	Policy    = "end | > close 1008"
	TooBig    = "end | > close 1009"
)

// Pongs returns how n pongs with a payload are shown, and what follows them.
func Pongs(n int, payload, then string) string {
	return strings.Repeat("> pong "+Brief([]byte(payload))+" | ", n) + then
}

const a125 = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

// Good is input that every server must accept.
var Good = []Case{
	{"text", Text("hello"), `text "hello"`},
	{"empty text", Text(""), `text ""`},
	{"binary", Binary("\x00\xff"), `binary "\x00\xff"`},
	{"empty binary", Binary(""), `binary ""`},
	{"two messages", slices.Concat(Text("a"), Text("b")), `text "a" | text "b"`},
	{"125 bytes", Text(a125), `text "` + a125 + `"`},
	{"126 bytes", Text(strings.Repeat("b", 126)), `text "` + strings.Repeat("b", 126) + `"`},
	{"65535 bytes", Text(strings.Repeat("c", 65535)), `text of 65535 bytes`},
	{"65536 bytes", Text(strings.Repeat("d", 65536)), `text of 65536 bytes`},
	{"limit", Text(strings.Repeat("e", MaxMessage)), `text of 81920 bytes`},
	{"binary at limit", Binary(strings.Repeat("\xff", MaxMessage)), `binary of 81920 bytes`},
	{"zero mask", Raw("81 82 00000000 6869"), `text "hi"`},
	{"two fragments", slices.Concat(Frame(0x01, "he"), Frame(0x80, "llo")), `text "hello"`},
	{"binary fragments", slices.Concat(Frame(0x02, "\xff"), Frame(0x80, "\xfe")), `binary "\xff\xfe"`},
	{"empty fragments", slices.Concat(Frame(0x01, ""), Frame(0x00, ""), Frame(0x80, "")), `text ""`},
	{"empty last fragment", slices.Concat(Frame(0x01, "x"), Frame(0x80, "")), `text "x"`},
	{"64 fragments", slices.Concat(Frame(0x01, "x"), bytes.Repeat(Frame(0x00, "y"), 62), Frame(0x80, "z")), `text "x` + strings.Repeat("y", 62) + `z"`},
	{"fragments at limit", slices.Concat(Frame(0x01, strings.Repeat("x", 80000)), Frame(0x80, strings.Repeat("x", 1920))), `text of 81920 bytes`},
	{"fragments, then a message", slices.Concat(Frame(0x01, "a"), Frame(0x80, "b"), Text("c")), `text "ab" | text "c"`},
	{"character over fragments", slices.Concat(Frame(0x01, "\xf0\x9f"), Frame(0x00, "\x98"), Frame(0x80, "\x80")), `text "\U0001f600"`},
	{"long character over fragments", slices.Concat(Frame(0x01, strings.Repeat("ß", 1000)+"\xe2"), Frame(0x80, "\x82\xac")), `text of 2003 bytes`},
	{"edges of UTF-8", Text("\x00\x7f\u0080\u07ff\u0800\ud7ff\ue000\uffff\U00010000\U0010ffff"), `text "\x00\x7f\u0080\u07ff\u0800\ud7ff\ue000\uffff\U00010000\U0010ffff"`},
	{"ping", Ping("x"), `> pong "x"`},
	{"empty ping", Ping(""), `> pong ""`},
	{"ping of 125 bytes", Ping(a125), `> pong "` + a125 + `"`},
	{"ping with a long header", Raw("89 fd 00000000" + strings.Repeat("61", 125)), `> pong "` + a125 + `"`},
	{"three pings", slices.Concat(Ping("a"), Ping("b"), Ping("c")), `> pong "a" | > pong "b" | > pong "c"`},
	{"pong", Frame(0x8a, "x"), ``},
	{"ping between fragments", slices.Concat(Frame(0x01, "a"), Ping("p"), Frame(0x80, "b")), `text "ab" | > pong "p"`},
	{"pong between fragments", slices.Concat(Frame(0x01, "a"), Frame(0x8a, ""), Frame(0x80, "b")), `text "ab"`},
	{"ping inside a character", slices.Concat(Frame(0x01, "\xc3"), Ping("p"), Frame(0x80, "\xa9")), `text "\u00e9" | > pong "p"`},
	{"control frames at the burst", bytes.Repeat(Ping("x"), 100), Pongs(99, "x", `> pong "x"`)},
}

// Bad is input that every server must refuse.
var Bad = []Case{
	{"not masked", Raw("81 02 6869"), Violation},
	{"empty, not masked", Raw("81 00"), Violation},
	{"ping, not masked", Raw("89 00"), Violation},
	{"RSV1", Frame(0xc1, "x"), Violation},
	{"RSV2", Frame(0xa1, "x"), Violation},
	{"RSV3", Frame(0x91, "x"), Violation},
	{"RSV1 on a ping", Frame(0xc9, "x"), Violation},
	{"RSV1 on a continuation", slices.Concat(Frame(0x01, "x"), Frame(0xc0, "y")), Violation},
	{"opcode 3", Frame(0x83, ""), Violation},
	{"opcode 4", Frame(0x84, "x"), Violation},
	{"opcode 5", Frame(0x85, "x"), Violation},
	{"opcode 6", Frame(0x86, "x"), Violation},
	{"opcode 7", Frame(0x87, "x"), Violation},
	{"opcode 11", Frame(0x8b, "x"), Violation},
	{"opcode 12", Frame(0x8c, "x"), Violation},
	{"opcode 13", Frame(0x8d, "x"), Violation},
	{"opcode 14", Frame(0x8e, "x"), Violation},
	{"opcode 15", Frame(0x8f, "x"), Violation},
	{"opcode 3 inside a message", slices.Concat(Frame(0x01, "x"), Frame(0x83, "")), Violation},
	{"ping of 126 bytes", Frame(0x89, a125+"a"), Violation},
	{"pong of 126 bytes", Frame(0x8a, a125+"a"), Violation},
	{"close of 126 bytes", Frame(0x88, a125+"a"), Violation},
	{"ping announcing 2^62 bytes", Masked(wsframe.Header{First: 0x89, Length: 1 << 62}, ""), Violation},
	{"fragmented ping", Frame(0x09, "x"), Violation},
	{"fragmented pong", Frame(0x0a, "x"), Violation},
	{"fragmented close", Frame(0x08, ""), Violation},
	{"continuation first", Frame(0x80, "x"), Violation},
	{"open continuation first", Frame(0x00, "x"), Violation},
	{"continuation after a message", slices.Concat(Text("a"), Frame(0x80, "b")), `text "a" | ` + Violation},
	{"continuation after fragments", slices.Concat(Frame(0x01, "a"), Frame(0x80, "b"), Frame(0x80, "c")), `text "ab" | ` + Violation},
	{"text inside a message", slices.Concat(Frame(0x01, "a"), Text("b")), Violation},
	{"binary inside a message", slices.Concat(Frame(0x01, "a"), Binary("b")), Violation},
	{"fragment inside a message", slices.Concat(Frame(0x01, "a"), Frame(0x01, "b")), Violation},
	{"16-bit length of 0", Raw("81 fe 0000 00000000"), Violation},
	{"16-bit length of 125", slices.Concat(Raw("81 fe 007d 00000000"), make([]byte, 125)), Violation},
	{"64-bit length of 125", slices.Concat(Raw("81 ff 000000000000007d 00000000"), make([]byte, 125)), Violation},
	{"64-bit length of 65535", Raw("81 ff 000000000000ffff 00000000"), Violation},
	{"16-bit length on a ping", Raw("89 fe 0001 00000000 61"), Violation},
	{"top bit of the length", Raw("81 ff 8000000000000001 00000000"), Violation},
	{"all bits of the length", Raw("82 ff ffffffffffffffff 00000000"), Violation},
	{"violation after a message", slices.Concat(Text("a"), Frame(0x83, "")), `text "a" | ` + Violation},
	{"message after a Violation", slices.Concat(Frame(0x83, ""), Text("a"), Ping("p")), Violation},
	{"HTTP", []byte("GET / HTTP/1.1\r\n\r\n"), Violation},
	{"zeros", make([]byte, 20), Violation},

	{"announced 1 byte too long", Masked(wsframe.Header{First: 0x81, Length: MaxMessage + 1}, ""), TooBig},
	{"announced 2^63-1 bytes", Masked(wsframe.Header{First: 0x82, Length: 1<<63 - 1}, ""), TooBig},
	{"too long in fragments", slices.Concat(Frame(0x01, strings.Repeat("x", MaxMessage)), Frame(0x80, "x")), TooBig},
	{"announced too long in fragments", slices.Concat(Frame(0x01, "x"), Masked(wsframe.Header{First: 0x00, Length: 1<<63 - 1}, "")), TooBig},

	{"65 fragments", slices.Concat(Frame(0x01, "x"), bytes.Repeat(Frame(0x00, "x"), 64)), Policy},
	{"65th fragment is the last", slices.Concat(Frame(0x01, "x"), bytes.Repeat(Frame(0x00, "x"), 63), Frame(0x80, "")), Policy},
	{"endless empty fragments", slices.Concat(Frame(0x02, ""), bytes.Repeat(Frame(0x00, ""), 1000)), Policy},
	{"ping flood", bytes.Repeat(Ping(""), 101), "end | " + Pongs(100, "", "> close 1008")},
	{"pong flood", bytes.Repeat(Frame(0x8a, ""), 101), Policy},
	{"ping flood inside a message", slices.Concat(Frame(0x01, "x"), bytes.Repeat(Ping(""), 101)), "end | " + Pongs(100, "", "> close 1008")},
	{"violation after a ping", slices.Concat(Ping("a"), Frame(0x83, "")), `end | > pong "a" | > close 1002`},

	{"invalid byte", Text("\xff"), NotText},
	{"lone continuation byte", Text("a\x80"), NotText},
	{"overlong slash", Text("\xc0\xaf"), NotText},
	{"overlong in three bytes", Text("\xe0\x80\xaf"), NotText},
	{"overlong in four bytes", Text("\xf0\x80\x80\xaf"), NotText},
	{"surrogate", Text("\xed\xa0\x80"), NotText},
	{"above U+10FFFF", Text("\xf4\x90\x80\x80"), NotText},
	{"five-byte form", Text("\xf8\x88\x80\x80\x80"), NotText},
	{"cut character", Text("a\xe2\x82"), NotText},
	{"cut character in the last fragment", slices.Concat(Frame(0x01, "a"), Frame(0x80, "\xe2\x82")), NotText},
	{"invalid in the first fragment", Frame(0x01, "a\xff"), NotText},
	{"invalid over fragments", slices.Concat(Frame(0x01, "\xe2"), Frame(0x00, "\x28")), NotText},
	{"surrogate over fragments", slices.Concat(Frame(0x01, "\xed"), Frame(0x00, "\xa0")), NotText},
	{"invalid at the start of a frame", Masked(wsframe.Header{First: 0x81, Length: 1000}, "\xff"), NotText},
	{"invalid in the middle of a frame", Masked(wsframe.Header{First: 0x81, Length: 1000}, "κόσμε\xed\xa0"), NotText},
	{"too large a character in the middle of a frame", Masked(wsframe.Header{First: 0x81, Length: 1000}, "κ\xf4\x90"), NotText},
}
