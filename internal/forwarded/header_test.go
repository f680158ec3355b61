package forwarded_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"net/netip"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/ikornaselur/notiflux/internal/forwarded"
)

const signature = "\r\n\r\n\x00\r\nQUIT\n"

// binaryHeader returns a header of version 2.
func binaryHeader(versionAndCommand, family byte, rest string) string {
	return signature + string([]byte{versionAndCommand, family}) + string(binary.BigEndian.AppendUint16(nil, uint16(len(rest)))) + rest
}

const (
	addresses4 = "\xc0\x00\x02\x09\x0a\x00\x00\x01\x30\x39\x1f\x90"
	addresses6 = "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x09" + "\xfd\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01" + "\x30\x39\x1f\x90"
)

func TestHeaders(t *testing.T) {
	const none = "invalid AddrPort"
	for name, test := range map[string]struct{ header, want string }{
		"line":                         {"PROXY TCP4 192.0.2.9 10.0.0.1 12345 8080\r\n", "192.0.2.9:12345"},
		"shortest line with addresses": {"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\n", "1.1.1.1:1"},
		"line with IPv6":               {"PROXY TCP6 2001:db8::9 fd00::1 12345 8080\r\n", "[2001:db8::9]:12345"},
		"longest line":                 {"PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n", none},
		"nginx with two families":      {"PROXY TCP6 2001:db8::9 10.0.0.1 12345 8080\r\n", "[2001:db8::9]:12345"},
		"IPv4 in IPv6":                 {"PROXY TCP6 ::ffff:192.0.2.9 ::ffff:10.0.0.1 1 2\r\n", "192.0.2.9:1"},
		"shortest line":                {"PROXY UNKNOWN\r\n", none},
		"line without addresses":       {"PROXY UNKNOWN anything goes here\r\n", none},
		"binary":                       {binaryHeader(0x21, 0x11, addresses4), "192.0.2.9:12345"},
		"binary with IPv6":             {binaryHeader(0x21, 0x21, addresses6), "[2001:db8::9]:12345"},
		"binary with extensions":       {binaryHeader(0x21, 0x11, addresses4+"\x04\x00\x03abc"), "192.0.2.9:12345"},
		"binary with many extensions":  {binaryHeader(0x21, 0x21, addresses6+strings.Repeat("x", 4<<10-36)), "[2001:db8::9]:12345"},
		"a check of the proxy":         {binaryHeader(0x20, 0x00, ""), none},
		"a check with addresses":       {binaryHeader(0x20, 0x11, addresses4), none},
		"no family":                    {binaryHeader(0x20, 0x00, "extensions"), none},
		"UDP":                          {binaryHeader(0x21, 0x12, addresses4), none},
		"a Unix socket":                {binaryHeader(0x21, 0x31, strings.Repeat("/", 216)), none},
	} {
		for kind, r := range map[string]io.Reader{
			"at once":      strings.NewReader(test.header + "GET /"),
			"byte by byte": iotest.OneByteReader(strings.NewReader(test.header + "GET /")),
		} {
			client, err := forwarded.ReadHeader(r)
			if err != nil || client.String() != test.want {
				t.Errorf("%s, %s: %v, %v; want %s", name, kind, client, err, test.want)
			}
			if rest, _ := io.ReadAll(r); string(rest) != "GET /" {
				t.Errorf("%s, %s: %q is left", name, kind, rest)
			}
		}
		if !forwarded.BeginsHeader([]byte(test.header)) {
			t.Errorf("%s is not recognized", name)
		}
		for n := range len(test.header) {
			if client, err := forwarded.ReadHeader(strings.NewReader(test.header[:n])); err == nil {
				t.Errorf("%s: %d bytes of it are %v", name, n, client)
			}
		}
	}
}

func TestBadHeaders(t *testing.T) {
	for name, header := range map[string]string{
		"a request":                   "GET / HTTP/1.1\r\n\r\n",
		"TLS":                         "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03abcdefghi",
		"another beginning":           "PROXYjunk TCP4 192.0.2.9 10.0.0.1 1 2\r\n",
		"lower case":                  "proxy TCP4 192.0.2.9 10.0.0.1 1 2\r\n",
		"another protocol":            "PROXY UDP4 192.0.2.9 10.0.0.1 1 2\r\n",
		"two spaces":                  "PROXY TCP4  192.0.2.9 10.0.0.1 1 2\r\n",
		"a field too many":            "PROXY TCP4 192.0.2.9 10.0.0.1 1 2 3\r\n",
		"a field too few":             "PROXY TCP4 192.0.2.9 10.0.0.1 1\r\n",
		"a port that is too large":    "PROXY TCP4 192.0.2.9 10.0.0.1 65536 2\r\n",
		"a negative port":             "PROXY TCP4 192.0.2.9 10.0.0.1 -1 2\r\n",
		"a name":                      "PROXY TCP4 localhost 10.0.0.1 1 2\r\n",
		"no destination":              "PROXY TCP4 192.0.2.9 - 1 2\r\n",
		"a zone":                      "PROXY TCP6 fe80::1%eth0 fd00::1 1 2\r\n",
		"IPv6 in TCP4":                "PROXY TCP4 2001:db8::9 fd00::1 1 2\r\n",
		"no line break":               "PROXY TCP4 192.0.2.9 10.0.0.1 1 2" + strings.Repeat(" ", 100),
		"another line break":          "PROXY TCP4 192.0.2.9 10.0.0.1 1 2\n" + strings.Repeat(" ", 100),
		"a line that is too long":     "PROXY UNKNOWN " + strings.Repeat("x", 92) + "\r\n",
		"binary of another version":   binaryHeader(0x11, 0x11, addresses4),
		"binary with another command": binaryHeader(0x22, 0x11, addresses4),
		"binary without a family":     binaryHeader(0x21, 0x00, ""),
		"binary with half a family":   binaryHeader(0x21, 0x13, addresses4),
		"binary that is too short":    binaryHeader(0x21, 0x11, addresses4[:11]),
		"binary IPv6 too short":       binaryHeader(0x21, 0x21, addresses4),
		"binary that is too long":     binaryHeader(0x21, 0x11, addresses4+strings.Repeat("x", 4<<10)),
		"nothing":                     "",
	} {
		if client, err := forwarded.ReadHeader(strings.NewReader(header)); err == nil {
			t.Errorf("%s: %v", name, client)
		}
	}
}

// A header has an address that can be written again, and nothing beyond it is read.
func FuzzReadHeader(f *testing.F) {
	f.Add([]byte("PROXY TCP4 192.0.2.9 10.0.0.1 12345 8080\r\nGET /"))
	f.Add([]byte("PROXY UNKNOWN\r\n"))
	f.Add([]byte(binaryHeader(0x21, 0x11, addresses4) + "x"))
	f.Add([]byte(binaryHeader(0x21, 0x21, addresses6)))
	f.Fuzz(func(t *testing.T, p []byte) {
		r := bytes.NewReader(p)
		client, err := forwarded.ReadHeader(r)
		header := p[:len(p)-r.Len()]
		if len(header) > 16+4<<10 {
			t.Errorf("%d bytes were read", len(header))
		}
		if err != nil {
			return
		}
		again, err := forwarded.ReadHeader(bytes.NewReader(header))
		if err != nil || again != client {
			t.Errorf("%q is %v, and without what follows %v, %v", header, client, again, err)
		}
		if client.IsValid() && client != netip.MustParseAddrPort(client.String()) {
			t.Errorf("%q is %v", header, client)
		}
		if !forwarded.BeginsHeader(p) {
			t.Errorf("%q is not recognized", p)
		}
	})
}
