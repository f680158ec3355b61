package server_test

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux"
	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/internaltest/servertest"
)

// dialStream asks for a stream in a version of HTTP, and returns the connection behind
// the head of the answer, and the length of the body.
func dialStream(t *testing.T, s *servertest.Server, proto, path string, topics ...notiflux.Topic) (*wire, int) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	w := &wire{Conn: conn, in: math.MaxInt, out: math.MaxInt}
	w.r = bufio.NewReader(w)
	query := "?"
	for _, topic := range topics {
		query += "topic=" + string(topic) + "&"
	}
	if _, err := fmt.Fprintf(w, "GET %s HTTP/%s\r\nHost: x\r\n\r\n", path+query+"token="+s.Token(auth.Subscribe, topics...), proto); err != nil {
		t.Fatal(err)
	}
	length, err := header(w, http.StatusOK)
	if err != nil {
		t.Fatal(err)
	}
	return w, length
}

// A raw is a stream that is read byte by byte.
type raw struct {
	*wire
	name    string
	chunked bool
	end     string // of an event, or a line
}

// expect fails the test unless the next event or line has that in it, and is a chunk
// of its own if the stream has chunks.
func (r raw) expect(t *testing.T, want string) {
	t.Helper()
	var got string
	var err error
	if r.chunked {
		got, err = nextChunk(r.wire)
	} else {
		got, err = upTo(r.wire, r.end)
	}
	if err != nil || !strings.Contains(got, want) || strings.Index(got, r.end) != len(got)-len(r.end) {
		t.Fatalf("%s: got %q, %v; want one frame with %s", r.name, got, err, want)
	}
}

// Each event and each line is a chunk for a client of HTTP/1.1, as soon as it is there,
// and the last chunk comes behind bye. A client of HTTP/1.0 gets the same without.
func TestStreamsInChunks(t *testing.T) {
	onBothLoops(t, func(t *testing.T, start starter) {
		s := start(nil)
		var all []raw
		for path, end := range map[string]string{"/events": "\n\n", "/stream": "\n"} {
			for _, topics := range [][]notiflux.Topic{{"a"}, {"a", "b"}} {
				for proto, want := range map[string]int{"1.1": inChunks, "1.0": -1} {
					name := fmt.Sprintf("HTTP/%s %s %v", proto, path, topics)
					w, length := dialStream(t, s, proto, path, topics...)
					if length != want {
						t.Fatalf("%s: the length of the body is %d, want %d", name, length, want)
					}
					all = append(all, raw{w, name, want == inChunks, end})
				}
			}
		}
		for _, r := range all {
			r.expect(t, `"type":"hello"`)
		}
		for i := range 3 {
			s.Broadcast("a", i)
			for _, r := range all {
				r.expect(t, fmt.Sprintf(`"data":%d`, i))
			}
		}
		if err := s.Stop(); err != nil {
			t.Fatal(err)
		}
		for _, r := range all {
			r.expect(t, `"code":"draining"`)
			want := ""
			if r.chunked {
				want = "0\r\n\r\n"
			}
			if got, err := io.ReadAll(r.r); err != nil || string(got) != want {
				t.Errorf("%s: behind bye came %q, %v; want %q", r.name, got, err, want)
			}
		}
	})
}
