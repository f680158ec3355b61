package server_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"pgregory.net/rapid"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/config"
	"github.com/ikornaselur/notiflux/internal/internaltest/frametest"
	"github.com/ikornaselur/notiflux/internal/internaltest/servertest"
)

// everyLoop runs a test against a server with each kind of loop, with and without
// compression.
func everyLoop(t *testing.T, test func(t *testing.T, s *servertest.Server, compression bool)) {
	onBothLoops(t, func(t *testing.T, start starter) {
		for _, compression := range []bool{false, true} {
			t.Run(fmt.Sprintf("compression=%v", compression), func(t *testing.T) {
				test(t, start(func(c *config.Serve) { c.Compression = compression }), compression)
			})
		}
	})
}

// Each frame and each close has exactly the effect that the tables say.
func TestFramesOverSockets(t *testing.T) {
	everyLoop(t, func(t *testing.T, s *servertest.Server, compression bool) {
		watcher := s.Subscribe("a")
		raw := frametest.Server{Address: strings.TrimPrefix(s.URL, "http://"), Path: "/ws", Deflate: compression}
		cases := frametest.Plain()
		if compression {
			cases = frametest.Agreed()
		}
		for _, c := range cases {
			t.Run(c.Name, func(t *testing.T) { raw.Play(t, c) })
		}
		s.Broadcast("a", "alive")
		watcher.Expect("alive")
	})
}

// Answers reach the client even if the next bytes in the same read end the connection.
func TestAnswersComeBeforeTheClose(t *testing.T) {
	everyLoop(t, func(t *testing.T, s *servertest.Server, compression bool) {
		// The server does not echo the messages of the cases, but answers them.
		raw := frametest.Server{Address: strings.TrimPrefix(s.URL, "http://"), Path: "/ws", Deflate: compression, Echoes: true}
		command := frametest.Text("/dance")
		const answer = `text "Unknown command" | `
		for _, c := range []frametest.Case{
			{Name: "opcode 3", In: slices.Concat(command, frametest.Frame(0x83, "")), Want: answer + frametest.Violation},
			{Name: "not masked", In: slices.Concat(command, command, frametest.Raw("81 02 6869")), Want: answer + answer + frametest.Violation},
			{Name: "not text", In: slices.Concat(command, frametest.Text("\xff")), Want: answer + frametest.NotText},
			{Name: "too long", In: slices.Concat(command, frametest.Text(strings.Repeat("x", frametest.MaxMessage+1))), Want: answer + frametest.TooBig},
			{Name: "closed by the client", In: slices.Concat(command, frametest.Closing(4321, "")), Want: answer + "end | > close 4321"},
			{Name: "behind pings", In: slices.Concat(frametest.Ping("a"), command, frametest.Ping("b"), frametest.Frame(0x83, "")), Want: answer + `end | > pong "a" | > pong "b" | > close 1002`},
			{Name: "many", In: slices.Concat(bytes.Repeat(command, 500), frametest.Frame(0x83, "")), Want: strings.Repeat(answer, 500) + frametest.Violation},
		} {
			t.Run(c.Name, func(t *testing.T) { raw.Play(t, c) })
		}
	})
}

// connectCompressed opens a WebSocket that offers compression, and subscribes it.
func connectCompressed(t *testing.T, s *servertest.Server, mode websocket.CompressionMode, agreed bool) *websocket.Conn {
	t.Helper()
	c, answer, err := websocket.Dial(t.Context(), s.URL+"/ws", &websocket.DialOptions{CompressionMode: mode, CompressionThreshold: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.CloseNow() })
	if got := answer.Header.Get("Sec-WebSocket-Extensions") != ""; got != agreed {
		t.Errorf("compression negotiated: %v, want %v", got, agreed)
	}
	for _, command := range []string{"/subscribe a " + s.Token(auth.Subscribe, "a"), "/"} {
		if err := c.Write(t.Context(), websocket.MessageText, []byte(command)); err != nil {
			t.Fatal(err)
		}
	}
	if _, got, err := c.Read(t.Context()); err != nil || string(got) != "Unknown command" {
		t.Fatalf("got %q, %v", got, err)
	}
	return c
}

// Published messages arrive unchanged at clients with and without compression.
func TestMessagesOverCompression(t *testing.T) {
	everyLoop(t, func(t *testing.T, s *servertest.Server, compression bool) {
		clients := []*websocket.Conn{
			connectCompressed(t, s, websocket.CompressionNoContextTakeover, compression),
			connectCompressed(t, s, websocket.CompressionContextTakeover, compression),
			connectCompressed(t, s, websocket.CompressionDisabled, false),
		}
		deliver := func(t interface{ Fatalf(string, ...any) }, message string) {
			s.Broadcast("a", message)
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			for i, c := range clients {
				if _, got, err := c.Read(ctx); err != nil || string(got) != message {
					t.Fatalf("client %d got %.100q, %v; want %.100q", i, got, err, message)
				}
			}
		}
		rapid.Check(t, func(t *rapid.T) {
			deliver(t, strings.Repeat(rapid.String().Draw(t, "text"), rapid.IntRange(0, 20).Draw(t, "times")))
		})
		for _, c := range clients {
			c.SetReadLimit(1 << 20)
		}
		deliver(t, strings.Repeat("0123456789abcdef", 4<<10)) // the limit
	})
}
