package server_test

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/internaltest/rawclient"
	"github.com/ikornaselur/notiflux/internal/internaltest/servertest"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// openStream requests a stream over HTTP/1.minor, and returns its reader. In HTTP/1.1, each
// event or line is a chunk.
func openStream(t *testing.T, s *servertest.Server, minor int, path, end string, topics ...pubsub.Topic) raw {
	t.Helper()
	name := fmt.Sprintf("HTTP/1.%d %s %v", minor, path, topics)
	w := dialRaw(t, s.URL)
	query := "?"
	for _, topic := range topics {
		query += "topic=" + string(topic) + "&"
	}
	next, err := w.Frames(path+query+"token="+s.Token(auth.Subscribe, topics...), minor, "", "", end)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return raw{w, name, minor == 1, end, next}
}

// A raw is a stream that is read byte by byte.
type raw struct {
	*rawclient.Conn
	name    string
	chunked bool
	end     string // of an event or a line
	next    func() (string, error)
}

// expect fails the test unless the next event or line contains want and, if the stream has
// chunks, is exactly one chunk.
func (r raw) expect(t *testing.T, want string) {
	t.Helper()
	got, err := r.next()
	if err != nil || !strings.Contains(got, want) || strings.Index(got, r.end) != len(got)-len(r.end) {
		t.Fatalf("%s: got %q, %v; want one frame with %s", r.name, got, err, want)
	}
}

// A client of HTTP/1.1 gets each event and each line as a chunk, at once, and the last
// chunk after bye. A client of HTTP/1.0 gets the same without chunks.
func TestStreamsInChunks(t *testing.T) {
	onBothLoops(t, func(t *testing.T, start starter) {
		s := start(nil)
		var all []raw
		for path, end := range map[string]string{"/events": "\n\n", "/stream": "\n"} {
			for _, topics := range [][]pubsub.Topic{{"a"}, {"a", "b"}} {
				for minor := range 2 {
					all = append(all, openStream(t, s, minor, path, end, topics...))
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
			if got, err := io.ReadAll(r.R); err != nil || string(got) != want {
				t.Errorf("%s: after bye came %q, %v; want %q", r.name, got, err, want)
			}
		}
	})
}

// A stream that is requested by POST is the same as one that is requested by GET, whatever the
// version of HTTP, and if the client sends the body late or more after it.
func TestPostedStreams(t *testing.T) {
	onBothLoops(t, func(t *testing.T, start starter) {
		s := start(nil)
		since := s.Broadcast("a", "first")
		s.Broadcast("a", "second")
		body := fmt.Sprintf(`{"topics":["a","b"],"since":{"a":%q},"token":%q}`, since, s.Token(auth.Subscribe, "a", "b"))
		for path, end := range map[string]string{"/events": "\n\n", "/stream": "\n"} {
			for minor := range 2 {
				name := fmt.Sprintf("HTTP/1.%d POST %s", minor, path)
				w := dialRaw(t, s.URL)
				head := fmt.Sprintf("POST %s HTTP/1.%d\r\nHost: h\r\nContent-Length: %d\r\n\r\n", path, minor, len(body))
				for _, part := range []string{head, body[:9], body[9:], "GET /health HTTP/1.1\r\n\r\n"} {
					if _, err := io.WriteString(w, part); err != nil {
						t.Fatal(err)
					}
				}
				if _, err := w.Head(200); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				next := w.Chunk
				if minor == 0 {
					next = func() (string, error) { return w.UpTo(end) }
				}
				r := raw{w, name, minor == 1, end, next}
				r.expect(t, `"a":{"position":"`+since+`","recovered":true,"replay":1}`)
				r.expect(t, `"data":"second"`)
			}
		}
	})
}
