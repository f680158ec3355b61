package server_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/config"
	"github.com/ikornaselur/notiflux/internal/internaltest/frametest"
	"github.com/ikornaselur/notiflux/internal/internaltest/servertest"
	"github.com/ikornaselur/notiflux/internal/server"
	"github.com/ikornaselur/notiflux/internal/wsframe"
)

// elsewhere are the codes that no request to a healthy server causes, with the tests that
// find them in the log.
var elsewhere = map[string]string{
	"internal":        "httpapi.TestPublisherFails",
	"unavailable":     "httpapi.TestPublisherFails",
	"outcome_unknown": "httpapi.TestPublisherFails",
	"idle":            "session.TestEndsAreLogged",
	"too_slow":        "session.TestEndsAreLogged",
}

// codesOfTheTable returns the codes of docs/protocol.md, section 5, except those that this
// server does not send yet.
func codesOfTheTable(t *testing.T) (codes []string) {
	t.Helper()
	text, err := os.ReadFile("../../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(text), "| code | HTTP | when | retry? |")
	table, _, _ = strings.Cut(table, "\n\n")
	for row := range strings.Lines(table) {
		first, rest, _ := strings.Cut(strings.TrimPrefix(row, "|"), "|")
		if strings.Contains(rest, "reserved") {
			continue
		}
		for _, code := range regexp.MustCompile("`([a-z_]+)`").FindAllStringSubmatch(first, -1) {
			codes = append(codes, code[1])
		}
	}
	if len(codes) < 20 {
		t.Fatalf("the table has %q", codes)
	}
	return codes
}

// logged returns the lines of a log that contain a text.
func logged(log, text string) (lines []string) {
	for line := range strings.Lines(log) {
		if strings.Contains(line, text) {
			lines = append(lines, line)
		}
	}
	return lines
}

// Each refusal is logged once, at debug, with the client and the details. Each code of the
// error table occurs.
func TestEveryRefusalIsLogged(t *testing.T) {
	servertest.NeedsMemory(t, "it refuses to publish to a topic for which there is no room")
	s := servertest.StartIn(t, server.Environment{Revoked: revokedFor("ann")}, func(c *config.Serve) {
		c.AllowedOrigins, c.MaxTopics = []string{"https://app.example"}, 1
		c.Sections = []config.Section{{Topic: "t", Presence: new(config.Switch), MaxMessageBytes: new(config.KiB)}}
	})
	s.Subscribe("t") // the limit of topics
	publish, listen := s.Token(auth.Broadcast, "t", "u"), s.Token(auth.Subscribe, "t", "u")
	revoked := tokenOf(s, "ann", "t")
	expired := s.TokenUntil(time.Now().Add(-time.Hour), auth.Subscribe, "t")
	post := func(body string, headers ...string) func() {
		return func() { broadcast(t, s, body, append(headers, "Authorization", "Bearer "+publish)...) }
	}
	get := func(path string, headers ...string) func() {
		return func() { read(s.HTTP, s.URL, "GET", path, headers...) }
	}
	c := connectJSON(t, s, listen)
	say := func(command string) func() {
		return func() {
			c.Say(command)
			c.Next()
		}
	}
	if status, answer := broadcast(t, s, `{"topic":"t","message":1,"key":"k"}`, "Authorization", "Bearer "+publish); status != 200 {
		t.Fatal(answer)
	}
	seen := make(map[string]bool)
	for _, r := range []struct {
		code   string
		cause  func()
		detail string // a regular expression
	}{
		{"malformed", post(`{"topic":"t"}`), `method=POST path=/broadcast .*topic=t`},
		{"malformed", get("/events?topic=t&since=x"), `path=/events`},
		{"malformed", say(`{"type":"subscribe"}`), `subject=test`},
		{"malformed", post(`[{"topic":"t"}]`), `path=/broadcast .*topic=t`},
		{"topic_invalid", get("/history?topic="), `path=/history`},
		{"topic_invalid", say(`{"type":"subscribe","topics":["a\nb"]}`), `topic="a\\nb"`},
		{"unknown_type", say(`{"type":"dance"}`), ``},
		{"token_missing", get("/poll?topic=t&topic=u"), `topic="t u"`},
		{"token_invalid", get("/history?topic=t&token=x.y.z"), `topic=t`},
		{"token_invalid", say(`{"type":"auth","token":"x.y.z"}`), ``},
		{"token_expired", get("/history?topic=t&token=" + expired), `topic=t`},
		{"token_revoked", get("/poll?topic=t&wait=0&token=" + revoked), `path=/poll .*topic=t .*subject=ann`},
		{"token_revoked", say(`{"type":"history","topic":"t","token":"` + revoked + `"}`), `subject=ann topic=t`},
		{"scope_denied", get("/history?topic=t&token=" + publish), `topic=t .*subject=test`},
		{"scope_denied", say(`{"type":"broadcast","topic":"t","message":1}`), `subject=test topic=t`},
		{"topic_denied", get("/stream?topic=t&topic=v&token=" + listen), `topic=v .*subject=test`},
		{"topic_denied", say(`{"type":"history","topic":"v"}`), `subject=test topic=v`},
		{"topic_denied", say(`{"type":"subscribe","topics":["v"]}`), `subject=test topic=v`},
		{"topic_denied", post(`{"topic":"v","message":1}`), `topic=v .*subject=test`},
		{"topic_denied", post(`{"topics":["t","v"],"message":1}`), `topic=v .*subject=test`},
		{"presence_off", get("/presence?topic=t&token=" + listen), `path=/presence .*topic=t .*subject=test`},
		{"presence_off", say(`{"type":"presence","topic":"t"}`), `subject=test topic=t`},
		{"presence_off", say(`{"type":"subscribe","topics":["t"],"presence":true}`), `subject=test topic=t`},
		{"origin_denied", get("/health", "Origin", "https://other.example"), `origin=https://other.example`},
		{"origin_denied", get("/ws", "Origin", "https://other.example"), `path=/ws .*origin=https://other.example`},
		{"not_found", get("/some/where"), `path=/some/where`},
		{"method_not_allowed", get("/broadcast"), `method=GET path=/broadcast`},
		{"key_reused", post(`{"topic":"t","message":2,"key":"k"}`), `topic=t .*subject=test`},
		{"too_large", post(`{"topic":"t","message":"` + strings.Repeat("x", 64<<10+1) + `"}`), `topic=t`},
		{"too_large", post(`{"topic":"t","message":"` + strings.Repeat("x", 1<<10+1) + `"}`), `topic=t .*subject=test`},
		{"unsupported_media_type", post(`{}`, "Content-Type", "text/plain"), ``},
		{"upgrade_required", get("/ws"), `path=/ws`},
		{"too_many", say(`{"type":"subscribe","topics":["t"` + strings.Repeat(`,"t"`, 100) + `]}`), ``},
		{"over_capacity", post(`{"topic":"u","message":1}`), `topic=u .*subject=test`},
		{"over_capacity", get("/events?topic=u&token=" + listen), `path=/events .*topic=u .*subject=test`},
	} {
		want := regexp.MustCompile(`level=DEBUG .*` + r.detail)
		before := len(logged(s.Log(), "code="+r.code+" "))
		r.cause()
		lines := logged(s.Log(), "code="+r.code+" ")[before:]
		if len(lines) != 1 || !want.MatchString(lines[0]) || !strings.Contains(lines[0], "remote=127.0.0.1:") {
			t.Errorf("%s: logged %q, want one line like %v, and the address", r.code, lines, want)
		}
		seen[r.code] = true
	}
	seen["draining"] = logsDraining(t)
	for _, code := range codesOfTheTable(t) {
		if _, exception := elsewhere[code]; seen[code] == exception {
			t.Errorf("%s: seen: %t, want %t", code, seen[code], !exception)
		}
	}
}

// logsDraining reports whether a server logs refusals during shutdown.
func logsDraining(t *testing.T) bool {
	t.Helper()
	var log bytes.Buffer
	s, err := server.Open(withKey(t), server.Environment{}, slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	if err != nil {
		t.Fatal(err)
	}
	server.Drained(s).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/readyz", nil))
	return len(logged(log.String(), "code=draining ")) == 1
}

// Mistakes of WebSocket clients are logged with their address, on each kind of loop:
// refusals of the text protocol, commands that it ignores by contract, and invalid frames.
func TestWebSocketRefusalsAreLogged(t *testing.T) {
	onBothLoops(t, func(t *testing.T, start starter) {
		s := start(nil)
		want := func(text, detail string) {
			t.Helper()
			lines := logged(s.Log(), text)
			if len(lines) != 1 || !strings.Contains(lines[0], detail) || !strings.Contains(lines[0], "level=DEBUG") || !strings.Contains(lines[0], "remote=127.0.0.1:") {
				t.Errorf("logged %q, want one line with %q, %q and the address", lines, text, detail)
			}
		}
		c := s.Connect()
		c.Say("/subscribe v " + s.Token(auth.Subscribe, "t"))
		c.Next()
		want("code=topic_denied", "subject=test topic=v")
		c.Say("/dance")
		c.Next()
		want("code=malformed", "Unknown command")
		for range 2 { // it is logged once
			if err := c.Write(t.Context(), websocket.MessageBinary, []byte("/subscribe t "+s.Token(auth.Subscribe, "t"))); err != nil {
				t.Fatal(err)
			}
			c.Sync()
		}
		want("message ignored", "in a binary message")

		conn := dialWebSocket(t, s)
		conn.Write([]byte{0x81, 1, 'x'}) // not masked
		if f, err := frametest.ReadFrame(conn); err != nil || f.Opcode() != wsframe.Close {
			t.Fatalf("%v, %v; want a close frame", f, err)
		}
		want("closing connection", fmt.Sprint("close=", 1002, " reason="))

		s = start(nil)
		c = s.Connect()
		for range 2 {
			c.Say(`{"type":"subscribe","topics":["t"],"token":"` + s.Token(auth.Subscribe, "t") + `"}`)
			c.Sync()
		}
		want("message ignored", "notiflux.v1.json")
	})
}

// Published messages are logged at debug, whoever publishes them.
func TestMessagesAreLogged(t *testing.T) {
	s := servertest.Start(t, nil)
	want := func(position string) {
		t.Helper()
		lines := logged(s.Log(), "position="+position)
		if len(lines) != 1 || !strings.Contains(lines[0], "topic=t") || !strings.Contains(lines[0], "level=DEBUG") {
			t.Errorf("logged %q, want one line with the position %s and the topic", lines, position)
		}
	}
	want(s.Broadcast("t", "secret"))
	c := connectJSON(t, s, both(s, "u", "t"))
	c.Say(`{"type":"broadcast","topic":"t","message":"secret"}`)
	want(regexp.MustCompile(`[A-Z0-9]{12}:\d+`).FindString(c.Next()))
	if strings.Contains(s.Log(), "secret") {
		t.Error("a message is in the log")
	}
}

// An unknown path is logged as it was sent, up to a limit. A token in a path, a topic or an
// origin is not logged: servertest looks for one.
func TestForeignTextInTheLog(t *testing.T) {
	s := servertest.Start(t, func(c *config.Serve) { c.AllowedOrigins = []string{"https://app.example"} })
	token := s.Token(auth.Subscribe, "t")
	for path, want := range map[string]string{
		"/nothing/%2e%2e/at?all=1":     `path=/nothing/%2e%2e/at code`,
		"/" + strings.Repeat("x", 300): `path=/` + strings.Repeat("x", 255) + "…",
		"/a=b":                         `path="/a=b"`,
		"/" + token + "/x":             `path=/REDACTED/x`,
		"/%65" + token[1:]:             `path=/REDACTED`,
		"/history?topic=" + token + "&token=" + token: `topic=REDACTED`,
	} {
		read(s.HTTP, s.URL, "GET", path)
		if !strings.Contains(s.Log(), want) {
			t.Errorf("GET %.40s: the log has no %s:\n%s", path, want, s.Log())
		}
	}
	read(s.HTTP, s.URL, "GET", "/health", "Origin", "https://"+token)
	if want := "origin=https://REDACTED"; !strings.Contains(s.Log(), want) {
		t.Errorf("the log has no %s:\n%s", want, s.Log())
	}
	r, err := http.NewRequest(http.MethodGet, s.AdminURL+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = "evil.example"
	a, err := s.HTTP.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	a.Body.Close()
	if want := "path=/metrics code=origin_denied"; len(logged(s.Log(), want)) != 1 {
		t.Errorf("the log has no %s:\n%s", want, s.Log())
	}
}
