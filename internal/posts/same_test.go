package posts_test

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
)

// A sameCase is what a client sends. What this package answers of it, and what it leaves to
// net/http, must get the same answer from both, and the handler must see the same requests.
type sameCase struct {
	name   string
	inside int // how many requests this package answers
	parts  []string
}

func testSame(t *testing.T, cases []sameCase) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if inside := compare(t, c.parts...); inside != c.inside {
				t.Errorf("this package answered %d requests, want %d", inside, c.inside)
			}
		})
	}
}

const (
	startLine = "POST /broadcast HTTP/1.1\r\n"
	health    = "GET /health HTTP/1.1\r\nHost: example.com\r\n\r\n"
)

// http2Preface begins a connection over HTTP/2.
const http2Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

var small = post("hello")

func TestSameAsNetHTTP(t *testing.T) {
	testSame(t, []sameCase{
		{"a post", 1, []string{small}},
		{"usual headers", 1, []string{post("hello", "User-Agent: curl/8.0", "accept: */*", "CONTENT-type: application/json", "Authorization: Bearer a.b.c", "Connection: Keep-Alive", "X_Y-1:z", "Idempotency-Key: \"k\"", "Empty:")}},
		{"a header twice", 1, []string{post("hello", "Authorization: Bearer a", "Authorization:   Bearer b  ")}},
		{"one after the other", 3, []string{small, post("status 404"), post("empty")}},
		{"other headers", 5, []string{post("hello", "X: a"), post("world", "X: a"), post("hello", "X: b", "Y: c"), post("hello", "X: a"), small}},
		{"the same headers, then one that is wrong", 2, []string{small, small, post("hello", "X: \x00"), small}},
		{"pipelined", 3, []string{small + post("status 503") + post("large")}},
		{"head and body apart", 2, []string{small[:len(small)-5], "hello", small[:20], small[20:60], small[60:]}},
		{"byte by byte", 1, strings.Split(small, "")},
		{"the answer closes", 1, []string{post("close") + small}},
		{"odd answer headers", 2, []string{post("headers") + small}},
		{"a large answer", 2, []string{post("large"), small}},
		{"a short answer", 1, []string{post("short") + small}},
		{"a long answer", 1, []string{post("long") + small}},
		{"the handler aborts", 2, []string{small + post("abort") + small}},
		{"empty lines between", 3, []string{small + "\r\n" + small + "\n\r\n\r" + small}},
		{"too many empty lines", 1, []string{small + "\r\n\r\n\r\n" + small}},
		{"an empty line first", 0, []string{"\r\n" + small}},
		{"only empty lines after", 1, []string{small, "\r\n"}},
		{"then another path", 1, []string{small + health + small}},
		{"another path first", 0, []string{health, small}},
		{"then nonsense", 1, []string{small, "nonsense\r\n\r\n" + small}},
		{"nothing", 0, nil},
		{"part of a line", 0, []string{"POST /bro"}},
		{"part of a head", 1, []string{small, small[:40]}},
		{"a body that is too short", 0, []string{small[:len(small)-1]}},
		{"a body that is too long", 1, []string{small + "x"}},
		{"a little after a body", 1, []string{small, "xyz"}},
		{"more after a body", 1, []string{small, "wxyz"}},
		{"a little after an empty line", 1, []string{small, "\r\nx"}},
		{"more after an empty line", 1, []string{small, "\r\nxy"}},
		{"HTTP/2", 0, []string{http2Preface}},

		{"many headers", 1, []string{post("hello", strings.Split(strings.Repeat("X: a\n", 29)+"X: a", "\n")...)}},
		{"too many headers", 0, []string{post("hello", strings.Split(strings.Repeat("X: a\n", 31)+"X: a", "\n")...) + small}},
		{"the largest post", 1, []string{post(strings.Repeat("x", 4096-len(post("1000"))+1))}},
		{"a post that is too large", 0, []string{post(strings.Repeat("x", 4096-len(post("1000"))+2)), small}},
		{"a head that is too large", 1, []string{small, post("hello", "X: "+strings.Repeat("x", 5000))}},
		{"a huge head", 1, []string{small, post("hello", "X: "+strings.Repeat("x", 50000))}},
		{"a large body", 1, []string{small, post(strings.Repeat("x", 100000)), small}},
	})
}

// HTTP/2 begins only at the beginning of a connection. After a post, net/http gets none of it,
// to which it would be the beginning.
func TestHTTP2AfterPosts(t *testing.T) {
	for _, parts := range [][]string{{small + http2Preface}, {small, http2Preface[:10], http2Preface[10:]}} {
		synctest.Test(t, func(t *testing.T) {
			want, _ := converse(t, true, small)
			got, s := converse(t, true, parts...)
			if got != want || len(s.seen) != 1 {
				t.Errorf("%q: the answer is\n%q, want\n%q, and the handler sees %s", parts, got, want, s.seen)
			}
		})
	}
}

// Requests that a proxy and a server may understand differently belong to net/http.
func TestDoubtfulRequests(t *testing.T) {
	head := func(lines string) string { return startLine + lines + "\r\n" }
	testSame(t, []sameCase{
		{"no Host", 0, []string{head("Content-Length: 5\r\n") + "hello"}},
		{"two Hosts", 0, []string{post("hello", "Host: example.com")}},
		{"an empty Host", 0, []string{head("Host:\r\nContent-Length: 5\r\n") + "hello"}},
		{"a Host that is wrong", 0, []string{head("Host: a b\r\nContent-Length: 5\r\n") + "hello"}},
		{"an IPv6 Host", 1, []string{head("Host: [::1]:80\r\nContent-Length: 5\r\n") + "hello"}},

		{"no Content-Length", 0, []string{head("Host: x\r\n") + small}},
		{"Content-Length: 0", 0, []string{head("Host: x\r\nContent-Length: 0\r\n") + small}},
		{"an empty Content-Length", 0, []string{head("Host: x\r\nContent-Length:\r\n") + small}},
		{"two Content-Lengths", 0, []string{post("hello", "Content-Length: 4")}},
		{"the same Content-Length twice", 0, []string{post("hello", "Content-Length: 5") + small}},
		{"zero and a Content-Length", 0, []string{post("hello", "Content-Length: 0") + small}},
		{"a list of Content-Lengths", 0, []string{head("Host: x\r\nContent-Length: 5, 5\r\n") + "hello"}},
		{"a Content-Length with a sign", 0, []string{head("Host: x\r\nContent-Length: +5\r\n") + "hello"}},
		{"a negative Content-Length", 0, []string{head("Host: x\r\nContent-Length: -5\r\n") + "hello"}},
		{"a Content-Length in hexadecimal", 0, []string{head("Host: x\r\nContent-Length: 0x5\r\n") + "hello"}},
		{"a Content-Length with zeros", 1, []string{head("Host: x\r\nContent-Length: 0005\r\n") + "hello"}},
		{"a huge Content-Length", 0, []string{head("Host: x\r\nContent-Length: 99999999999999999999\r\n") + "hello"}},
		{"a space before the colon", 0, []string{head("Host: x\r\nContent-Length : 5\r\n") + "hello"}},

		{"chunked", 0, []string{head("Host: x\r\nTransfer-Encoding: chunked\r\n") + "5\r\nhello\r\n0\r\n\r\n" + small}},
		{"chunked with a length", 0, []string{post("5\r\nhello\r\n0\r\n\r\n", "Transfer-Encoding: chunked") + small}},
		{"chunked with an odd name", 0, []string{post("5\r\nhello\r\n0\r\n\r\n", "Transfer-Encoding : chunked") + small}},
		{"an odd encoding", 0, []string{post("hello", "Transfer-Encoding: xchunked") + small}},
		{"chunked with an underscore", 2, []string{post("hello", "Transfer_Encoding: chunked") + small}},

		{"lines with LF alone", 0, []string{strings.ReplaceAll(small, "\r\n", "\n")}},
		{"one line with LF alone", 0, []string{startLine + "Host: x\nContent-Length: 5\r\n\r\nhello"}},
		{"the end with LF alone", 0, []string{startLine + "Host: x\r\nContent-Length: 5\r\n\nhello" + small}},
		{"two ends of a head", 0, []string{startLine + "Host: x\r\nContent-Length: 5\n\n" + small}},
		{"CR alone in a value", 0, []string{post("hello", "X: a\rTransfer-Encoding: chunked")}},
		{"CR CR LF", 0, []string{post("hello", "X: a\r")}},
		{"a folded line", 0, []string{post("hello", "X: a", " b")}},
		{"a folded first line", 0, []string{head(" X: a\r\nHost: x\r\nContent-Length: 5\r\n") + "hello"}},
		{"a line without a colon", 0, []string{post("hello", "nonsense")}},
		{"an empty name", 0, []string{post("hello", ": x")}},
		{"NUL in a value", 0, []string{post("hello", "X: a\x00b")}},
		{"NUL in a name", 0, []string{post("hello", "X\x00: a")}},
		{"a tab", 0, []string{post("hello", "X:\ta")}},
		{"UTF-8 in a value", 0, []string{post("hello", "X: é")}},

		{"Expect", 0, []string{post("hello", "Expect: 100-continue") + small}},
		{"an odd Expect", 0, []string{post("hello", "Expect: more")}},
		{"Upgrade", 0, []string{post("hello", "Connection: Upgrade", "Upgrade: h2c")}},
		{"Connection: close", 0, []string{post("hello", "Connection: close") + small}},
		{"two Connections", 0, []string{post("hello", "Connection: keep-alive", "Connection: close") + small}},
		{"Trailer", 0, []string{post("hello", "Trailer: X")}},
		{"Pragma", 0, []string{post("hello", "Pragma: no-cache")}},

		{"HTTP/1.0", 0, []string{strings.Replace(small, "1.1", "1.0", 1) + small}},
		{"HTTP/1.0, kept", 0, []string{strings.Replace(post("hello", "Connection: keep-alive"), "1.1", "1.0", 1) + small}},
		{"HTTP/1.2", 0, []string{strings.Replace(small, "1.1", "1.2", 1) + small}},
		{"an absolute target", 0, []string{strings.Replace(small, "/broadcast", "http://example.com/broadcast", 1)}},
		{"an encoded path", 0, []string{strings.Replace(small, "/broadcast", "/%62roadcast", 1)}},
		{"a query", 0, []string{strings.Replace(small, "/broadcast", "/broadcast?x=1", 1)}},
		{"a fragment", 0, []string{strings.Replace(small, "/broadcast", "/broadcast#x", 1)}},
		{"a longer path", 0, []string{strings.Replace(small, "/broadcast", "/broadcasts", 1)}},
		{"two slashes", 0, []string{strings.Replace(small, "/broadcast", "//broadcast", 1)}},
		{"two spaces", 0, []string{strings.Replace(small, " /", "  /", 1)}},
		{"lower case", 0, []string{strings.Replace(small, "POST", "post", 1)}},
		{"GET with a body", 0, []string{strings.Replace(small, "POST", "GET", 1) + small}},
	})
}

// maxSent is the maximum length of what a fuzz test sends. The error of net/http for a larger
// head depends on how many bytes each of its reads returns.
const maxSent = 16 << 10

func FuzzSameAsNetHTTP(f *testing.F) {
	for _, seed := range []string{
		small + post("status 404") + small,
		post("hello", "User-Agent: x", "Authorization: Bearer a", "authorization:b", "Connection: keep-alive") + "\r\n" + small,
		post("5\r\nhello\r\n0\r\n\r\n", "Transfer-Encoding: chunked") + small,
		post("hello", "Content-Length: 4") + small,
		strings.ReplaceAll(small, "\r\n", "\n"),
		startLine + "Host: x\nContent-Length: 5\r\n\r\nhello" + small,
		post("hello", "X: a", " b") + small,
		post("close") + small, post("large") + small, post("empty"),
		strings.Replace(small, "1.1", "1.0", 1) + small,
		post("hello", "Expect: 100-continue") + small,
	} {
		f.Add(seed, uint16(0))
		f.Add(seed, uint16(len(small)+30))
	}
	f.Fuzz(func(t *testing.T, sent string, cut uint16) {
		if len(sent) > maxSent {
			return
		}
		at := min(int(cut), len(sent))
		compare(t, sent[:at], sent[at:])
	})
}

// fragments are parts of requests, of which FuzzFragments makes requests that a proxy and a
// server may understand differently.
var fragments = []string{
	"POST /broadcast HTTP/1.1\r\n", "POST /broadcast HTTP/1.0\r\n", "GET /x HTTP/1.1\r\n", "POST /broadcast HTTP/1.1\n",
	"Host: x\r\n", "Host: x\n", "host:\r\n", "Content-Length: 5\r\n", "content-length:5 \r\n", "Content-Length: 05\r\n", "Content-Length: 0\r\n",
	"Content-Length: 5\n", "Content-Length: 6\r\n", "Content-Length: 5,5\r\n", "Content-Length:\t5\r\n", "Content-Length : 5\r\n", "Content_Length: 6\r\n",
	"Transfer-Encoding: chunked\r\n", "Transfer-Encoding:chunked\n", "transfer-encoding: identity\r\n", "Transfer-Encoding:\r\n chunked\r\n",
	"Connection: keep-alive\r\n", "Connection: close\r\n", "Connection: keep-alive, close\r\n", "Expect: 100-continue\r\n", "Upgrade: h2c\r\n", "TE: trailers\r\n",
	"A: b\r\n", " folded\r\n", "\tfolded\r\n", "A\r\n", ": b\r\n", "A: \x00\r\n", "A: \x7f\r\n", "A: \r \n", "A: b\r\r\n", "Pragma: no-cache\r\n",
	"\r\n", "\n", "\r", "\r\n\r\n", "hello", "empty", "close", "abort", "5\r\nhello\r\n0\r\n\r\n", "0\r\n\r\n",
	post("hello"), post("close"), "x",
}

func FuzzFragments(f *testing.F) {
	f.Add([]byte{0, 4, 7, 37, 41}, uint16(0))
	random := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		// Most begin like a small post, which the rest then spoils.
		chosen := []byte{0, 4, 7}
		for range random.IntN(8) {
			at := 1 + random.IntN(len(chosen))
			chosen = slices.Insert(chosen, at, byte(random.IntN(len(fragments))))
		}
		chosen = append(chosen, 37, 41, byte(random.IntN(len(fragments))), 47)
		f.Add(chosen, uint16(random.IntN(200)))
	}
	f.Fuzz(func(t *testing.T, chosen []byte, cut uint16) {
		var b strings.Builder
		for _, i := range chosen {
			b.WriteString(fragments[int(i)%len(fragments)])
		}
		if b.Len() > maxSent {
			return
		}
		at := min(int(cut), b.Len())
		compare(t, b.String()[:at], b.String()[at:])
	})
}
