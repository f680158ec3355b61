package frametest

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// Closes returns close frames of clients and the answers to them.
func Closes() []Case {
	cases := []Case{
		{"no code", Frame(0x88, ""), "end | > close"},
		{"half a code", Frame(0x88, "\x03"), Violation},
		{"reason", Closing(1000, "bye"), "end | > close 1000"},
		{"reason of 123 bytes", Closing(1001, strings.Repeat("x", 123)), "end | > close 1001"},
		{"reason of 124 bytes", Closing(1001, strings.Repeat("x", 124)), Violation},
		{"reason in UTF-8", Closing(3000, "κόσμε"), "end | > close 3000"},
		{"invalid reason", Closing(1000, "\xff"), NotText},
		{"cut character in the reason", Closing(1000, "a\xe2\x82"), NotText},
		{"surrogate in the reason", Closing(4000, "\xed\xa0\x80"), NotText},
		{"invalid code and reason", Closing(999, "\xff"), Violation},
		{"message before", slices.Concat(Text("a"), Closing(1000, "")), `text "a" | end | > close 1000`},
		{"message after", slices.Concat(Closing(1000, ""), Text("a"), Ping("p")), "end | > close 1000"},
		{"garbage after", slices.Concat(Closing(1000, ""), []byte("\xff\xff\xff\xff")), "end | > close 1000"},
		{"close after", slices.Concat(Closing(1000, ""), Closing(1001, "")), "end | > close 1000"},
		{"ping before", slices.Concat(Ping("p"), Closing(1000, "")), `end | > pong "p" | > close 1000`},
		{"inside a message", slices.Concat(Frame(0x01, "a"), Closing(1000, "")), "end | > close 1000"},
		{"inside a character", slices.Concat(Frame(0x01, "\xe2"), Closing(1000, ""), Frame(0x80, "")), "end | > close 1000"},
		{"after the burst of control frames", slices.Concat(bytes.Repeat(Ping(""), 100), Closing(1000, "")), "end | " + Pongs(100, "", "> close 1000")},
	}
	for _, code := range []uint16{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999} {
		cases = append(cases, Case{fmt.Sprint(code), Closing(code, ""), fmt.Sprintf("end | > close %d", code)})
	}
	for _, code := range []uint16{0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535} {
		cases = append(cases, Case{fmt.Sprint(code), Closing(code, ""), Violation})
	}
	return cases
}
