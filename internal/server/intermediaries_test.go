package server_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/internaltest/servertest"
)

// converse sends bytes on a new connection, and returns all answers. It fails the test if
// the connection does not end.
func converse(t *testing.T, s *servertest.Server, request string) (answers []*http.Response, bodies []string) {
	t.Helper()
	conn := dialRaw(t, s.URL)
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	for {
		answer, err := http.ReadResponse(conn.R, nil)
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return answers, bodies
		}
		if err != nil {
			t.Fatalf("%.80q: answer %d: %v", request, len(answers)+1, err)
		}
		body, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatalf("%.80q: body %d: %v", request, len(answers)+1, err)
		}
		answers, bodies = append(answers, answer), append(bodies, string(body))
	}
}

// A proxy that uses the Content-Length of a request and net/http, which uses its
// Transfer-Encoding, disagree on where the next request begins. So the server accepts none.
func TestNoRequestFollowsAChunkedOne(t *testing.T) {
	s := servertest.Start(t, nil)
	bearer := "Authorization: Bearer " + s.Token(auth.Broadcast, "t") + "\r\n"
	const message = `{"topic":"t","message":1}`
	chunked := fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(message), message)
	const health = "GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
	post := func(protocol, headers string) string {
		return "POST /broadcast " + protocol + "\r\nHost: x\r\n" + bearer + headers + "\r\n"
	}
	for _, c := range []struct {
		name, request string
		answers       int
	}{
		{"chunked", post("HTTP/1.1", "Transfer-Encoding: chunked\r\n") + chunked + health, 1},
		{"chunked with a length", post("HTTP/1.1", fmt.Sprintf("Content-Length: %d\r\nTransfer-Encoding: chunked\r\n", len(chunked)+len(health))) + chunked + health, 1},
		{"a GET", "GET /health HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + health, 1},
		{"nothing there", "GET /nothing HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + health, 1},
		{"HTTP/1.0, where both hide", post("HTTP/1.0", fmt.Sprintf("Connection: keep-alive\r\nContent-Length: %d\r\nTransfer-Encoding: chunked\r\n", len(message))) + message + health, 1},
		{"a length", post("HTTP/1.1", fmt.Sprintf("Content-Length: %d\r\n", len(message))) + message + "GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 2},
	} {
		answers, bodies := converse(t, s, c.request)
		if len(answers) != c.answers || answers[0].StatusCode != 200 && c.name != "nothing there" {
			t.Errorf("%s: %d answers %q, want %d", c.name, len(answers), bodies, c.answers)
		}
		if !answers[len(answers)-1].Close {
			t.Errorf("%s: the last answer does not say that the connection closes", c.name)
		}
	}
}

// Answers that net/http gives without a handler are as in docs/protocol.md.
func TestAnswersOfNetHTTP(t *testing.T) {
	s := servertest.Start(t, nil)
	for _, c := range []struct {
		request string
		status  int
	}{
		{"GET /health\r\n\r\n", 400},
		{"GET /health HTTP/1.1\r\n\r\n", 400},
		{"GET /health HTTP/1.1\r\nHost: x\r\nExpect: something\r\n\r\n", 417},
		{"GET /health HTTP/1.1\r\nHost: x\r\nX-Long: " + strings.Repeat("x", 21<<10) + "\r\n\r\n", 431},
		{"POST /broadcast HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501},
		{"GET /health HTTP/3.0\r\nHost: x\r\n\r\n", 505},
	} {
		answers, bodies := converse(t, s, c.request)
		if len(answers) != 1 || answers[0].StatusCode != c.status || !answers[0].Close {
			t.Errorf("%.60q: %v %q, want %d and the end of the connection", c.request, answers, bodies, c.status)
		} else if kind := answers[0].Header.Get("Content-Type"); kind != "" && !strings.HasPrefix(kind, "text/plain") {
			t.Errorf("%.60q: %d as %q", c.request, c.status, kind)
		}
	}
}

// The error names the right path if a base address or a proxy added slashes.
func TestExtraSlashes(t *testing.T) {
	s := servertest.Start(t, nil)
	for path, want := range map[string]string{
		"//ws": "the right path is /ws:", "/ws/": "the right path is /ws:", "//ws//?x=1": "the right path is /ws:", "//broadcast": "the right path is /broadcast:",
		"/": "nothing at this path", "//": "nothing at this path", "/x/ws": "nothing at this path", "/ws/x": "nothing at this path",
	} {
		_, bodies := converse(t, s, "GET "+path+" HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"+
			"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\nGET / HTTP/1.0\r\n\r\n")
		if len(bodies) != 2 || !strings.Contains(bodies[0], `"not_found"`) || !strings.Contains(bodies[0], want) {
			t.Errorf("GET %s: %q, want not_found and %q", path, bodies, want)
		}
	}
}
