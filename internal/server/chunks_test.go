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
	"github.com/ikornaselur/notiflux/internal/server/servertest"
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

// Each event and each line is a chunk for a client of HTTP/1.1, as soon as it is there,
// and the last chunk comes behind bye. A client of HTTP/1.0 gets the same without.
func TestStreamsInChunks(t *testing.T) {
	for _, path := range []string{"/events", "/stream"} {
		for _, topics := range [][]notiflux.Topic{{"a"}, {"a", "b"}} {
			t.Run(fmt.Sprint(path, topics), func(t *testing.T) {
				onBothLoops(t, func(t *testing.T, start starter) {
					s := start(nil)
					w, length := dialStream(t, s, "1.1", path, topics...)
					if length != inChunks {
						t.Fatalf("the body of HTTP/1.1 has the length %d, want chunks", length)
					}
					old, length := dialStream(t, s, "1.0", path, topics...)
					if length != -1 {
						t.Fatalf("the body of HTTP/1.0 has the length %d, want none", length)
					}
					end := "\n"
					if path == "/events" {
						end = "\n\n"
					}
					expect := func(want string) {
						t.Helper()
						chunk, err := nextChunk(w)
						if err != nil || !strings.Contains(chunk, want) || strings.Index(chunk, end) != len(chunk)-len(end) {
							t.Fatalf("HTTP/1.1: got %q, %v; want one chunk with %s", chunk, err, want)
						}
						if got, err := upTo(old, end); err != nil || !strings.Contains(got, want) {
							t.Fatalf("HTTP/1.0: got %q, %v; want %s", got, err, want)
						}
					}
					expect(`"type":"hello"`)
					for i := range 3 {
						s.Broadcast("a", i)
						expect(fmt.Sprintf(`"data":%d`, i))
					}
					if err := s.Stop(); err != nil {
						t.Fatal(err)
					}
					expect(`"code":"draining"`)
					if got, err := io.ReadAll(w.r); err != nil || string(got) != "0\r\n\r\n" {
						t.Errorf("HTTP/1.1: behind bye came %q, %v; want the last chunk", got, err)
					}
					if got, err := io.ReadAll(old.r); err != nil || len(got) > 0 {
						t.Errorf("HTTP/1.0: behind bye came %q, %v; want nothing", got, err)
					}
				})
			})
		}
	}
}
