package server_test

import (
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/config"
	"github.com/ikornaselur/notiflux/internal/internaltest/frametest"
	"github.com/ikornaselur/notiflux/internal/internaltest/rawclient"
	"github.com/ikornaselur/notiflux/internal/internaltest/servertest"
)

const (
	livez    = "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
	goodbye  = "GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
	postHead = "POST /broadcast HTTP/1.1\r\nHost: x\r\n"
)

// volatile matches what differs between two answers to the same post.
var volatile = regexp.MustCompile(`Date: [^\r]*|"position":"[^"]*"`)

// allAnswers sends requests on a new connection, and returns all that the server answers,
// without what is volatile.
func allAnswers(t *testing.T, s *servertest.Server, requests ...string) string {
	t.Helper()
	c := dialRaw(t, s.URL)
	if _, err := io.WriteString(c, strings.Join(requests, "")); err != nil {
		t.Fatal(err)
	}
	read, err := io.ReadAll(c.R)
	if err != nil {
		t.Fatal(err)
	}
	return volatile.ReplaceAllString(string(read), "")
}

// A small post gets the same answer as one on a connection that net/http has taken over.
func TestSmallPostsAreAnsweredAlike(t *testing.T) {
	s := servertest.Start(t, func(c *config.Serve) {
		c.AllowedOrigins = []string{"https://example.com"}
		c.MaxBodyBytes = 2000
		c.MaxMessageBytes = 1000
	})
	for range 100 { // Then all positions have three digits, with the memory broker.
		s.Broadcast("t", "hello")
	}
	bearer := "Authorization: Bearer " + s.Token(auth.Broadcast, "t") + "\r\n"
	const message = `{"topic":"t","message":"hello"}`
	array := "[" + strings.Repeat(message+",", 20) + message + "]"
	for _, c := range []struct {
		name, headers, body string
		status              int
	}{
		{"a message", bearer, message, 200},
		{"as curl -d sends it", bearer + "Content-Type: application/x-www-form-urlencoded\r\n", message, 200},
		{"the token in the body", "", `{"topic":"t","message":1,"token":"` + s.Token(auth.Broadcast, "t") + `"}`, 200},
		{"a key", bearer + "Idempotency-Key: k\r\n", message, 200},
		{"two keys", bearer + "Idempotency-Key: k\r\nIdempotency-Key: k\r\n", message, 400},
		{"an array", bearer, array, 200},
		{"an array with errors", bearer, `[{"topic":"t","message":1},{"topic":"other","message":1},1]`, 207},
		{"several topics", bearer, `{"topics":["t","t"],"message":1}`, 200},
		{"a page", bearer + "Origin: https://example.com\r\n", message, 200},
		{"a foreign page", bearer + "Origin: https://example.org\r\n", message, 403},
		{"no token", "", message, 401},
		{"a wrong token", "Authorization: Bearer x\r\n", message, 401},
		{"a foreign topic", bearer, `{"topic":"other","message":1}`, 403},
		{"not JSON", bearer, "hello", 400},
		{"another type", bearer + "Content-Type: text/plain\r\n", message, 415},
		{"compressed", bearer + "Content-Encoding: gzip\r\n", message, 415},
		{"a message that is too large", bearer, `{"topic":"t","message":"` + strings.Repeat("x", 1001) + `"}`, 413},
		{"a body that is too large", bearer, strings.Repeat("x", 2001), 413},
	} {
		request := fmt.Sprintf("%s%sContent-Length: %d\r\n\r\n%s", postHead, c.headers, len(c.body), c.body)
		got, want := allAnswers(t, s, request, goodbye), allAnswers(t, s, livez, request, goodbye)
		alive := allAnswers(t, s, livez, goodbye)
		if len(alive) < 2 || !strings.HasPrefix(got, fmt.Sprintf("HTTP/1.1 %d ", c.status)) {
			t.Errorf("%s: answer %.80q, want status %d", c.name, got, c.status)
		}
		if !strings.HasSuffix(want, got) || !strings.HasPrefix(alive, want[:len(want)-len(got)]) {
			t.Errorf("%s: the answer is\n%q, that of net/http\n%q", c.name, got, want)
		}
	}
}

// A connection can open a WebSocket after posts, also with commands that arrive together with
// the request for it.
func TestWebSocketAfterPosts(t *testing.T) {
	onBothLoops(t, func(t *testing.T, start starter) {
		s := start(nil)
		c := dialRaw(t, s.URL)
		body := `{"topic":"t","message":1,"token":"` + s.Token(auth.Broadcast, "t") + `"}`
		request := fmt.Sprintf("%sContent-Length: %d\r\n\r\n%s", postHead, len(body), body)
		for range 2 {
			if _, err := io.WriteString(c, request+request); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				answer, err := http.ReadResponse(c.R, nil)
				if err != nil || answer.StatusCode != http.StatusOK {
					t.Fatalf("answer %v, %v", answer, err)
				}
				_, _ = io.Copy(io.Discard, answer.Body)
			}
		}
		subscribe := frametest.Text("/subscribe t " + s.Token(auth.Subscribe, "t"))
		if _, err := io.WriteString(c, rawclient.Handshake+"\r\n"+string(subscribe)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Head(http.StatusSwitchingProtocols); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write(frametest.Text("/")); err != nil {
			t.Fatal(err)
		}
		if data, err := frametest.ReadText(c); err != nil || data != "Unknown command" {
			t.Fatalf("got %q, %v", data, err)
		}
		s.Broadcast("t", "hello")
		if data, err := frametest.ReadText(c); err != nil || data != "hello" {
			t.Errorf("got %q, %v", data, err)
		}
	})
}
