package main

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"pgregory.net/rapid"

	"github.com/ikornaselur/notiflux/internal/internaltest/frametest"
	"github.com/ikornaselur/notiflux/internal/transport"
)

// serve starts an echo that lives as long as the test, and returns its address.
func serve(t *testing.T, limits transport.Config, portable, compression bool) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- newServer(limits, portable, compression, slog.New(slog.DiscardHandler)).run(ctx, listener)
	}()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("run = %v", err)
		}
	})
	return listener.Addr().String()
}

// everyLoop runs a test on both kinds of loop, with and without compression.
func everyLoop(t *testing.T, limits transport.Config, test func(t *testing.T, address string, compression bool)) {
	for _, portable := range []bool{false, true} {
		for _, compression := range []bool{false, true} {
			t.Run(fmt.Sprintf("portable=%v/compression=%v", portable, compression), func(t *testing.T) {
				test(t, serve(t, limits, portable, compression), compression)
			})
		}
	}
}

// The tables that the state machine is tested with hold over sockets as well.
func TestFramesOverSockets(t *testing.T) {
	everyLoop(t, transport.Config{}, func(t *testing.T, address string, compression bool) {
		s := frametest.Server{Address: address, Path: "/", Echoes: true, Deflate: compression}
		cases := frametest.Plain()
		if compression {
			cases = frametest.Agreed()
		}
		for _, c := range cases {
			t.Run(c.Name, func(t *testing.T) { s.Play(t, c) })
		}
	})
}

// A client that cannot, or will not, compress is served all the same.
func TestFramesOfClientsWithoutCompression(t *testing.T) {
	for _, portable := range []bool{false, true} {
		s := frametest.Server{Address: serve(t, transport.Config{}, portable, true), Path: "/", Echoes: true}
		for _, c := range frametest.Bad {
			t.Run(c.Name, func(t *testing.T) { s.Play(t, c) })
		}
	}
}

// modes are what github.com/coder/websocket offers.
var modes = map[string]websocket.CompressionMode{
	"none":     websocket.CompressionDisabled,
	"each":     websocket.CompressionNoContextTakeover,
	"over all": websocket.CompressionContextTakeover, // which is not granted
}

func dial(t *testing.T, address string, mode websocket.CompressionMode) *websocket.Conn {
	t.Helper()
	c, _, err := websocket.Dial(t.Context(), "ws://"+address, &websocket.DialOptions{CompressionMode: mode, CompressionThreshold: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.CloseNow() })
	c.SetReadLimit(-1)
	return c
}

// tb is what testing and rapid have in common.
type tb interface {
	Helper()
	Fatalf(string, ...any)
}

// expect fails the test unless the next message is this one.
func expect(t tb, c *websocket.Conn, kind websocket.MessageType, want []byte) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	gotKind, got, err := c.Read(ctx)
	if err != nil || gotKind != kind || !bytes.Equal(got, want) {
		t.Fatalf("got %v, %d bytes, %v; want %v, %d bytes", gotKind, len(got), err, kind, len(want))
	}
}

func TestCoderClient(t *testing.T) {
	everyLoop(t, wide(), func(t *testing.T, address string, compression bool) {
		for name, mode := range modes {
			if !compression && mode == websocket.CompressionNoContextTakeover {
				continue // one offer that is declined is enough
			}
			t.Run(name, func(t *testing.T) {
				c := dial(t, address, mode)
				rapid.Check(t, func(t *rapid.T) { echoSome(t, c) })
				large := make([]byte, 1<<20)
				if mode == websocket.CompressionDisabled {
					large = make([]byte, maxMessage)
				}
				rand.NewChaCha8([32]byte{1}).Read(large[:len(large)/2])
				for _, m := range [][]byte{large, nil, large[:1]} {
					if err := c.Write(t.Context(), websocket.MessageBinary, m); err != nil {
						t.Fatal(err)
					}
					expect(t, c, websocket.MessageBinary, m)
				}
				pingAndClose(t, c)
			})
		}
	})
}

// echoSome writes messages, whole and in pieces, and reads them again.
func echoSome(t *rapid.T, c *websocket.Conn) {
	ctx := context.Background()
	var sent [][]byte
	for range rapid.IntRange(1, 5).Draw(t, "messages") {
		text := strings.Repeat(rapid.String().Draw(t, "text"), rapid.IntRange(1, 200).Draw(t, "times"))
		w, err := c.Writer(ctx, websocket.MessageText)
		if err != nil {
			t.Fatalf("Writer: %v", err)
		}
		for rest := text; len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "piece")
			if _, err := w.Write([]byte(rest[:n])); err != nil {
				t.Fatalf("Write: %v", err)
			}
			rest = rest[n:]
		}
		if err := w.Close(); err != nil {
			t.Fatalf("Close: %v", err)
		}
		sent = append(sent, []byte(text))
	}
	for _, text := range sent {
		expect(t, c, websocket.MessageText, text)
	}
}

func pingAndClose(t *testing.T, c *websocket.Conn) {
	t.Helper()
	ctx := c.CloseRead(t.Context())
	if err := c.Ping(ctx); err != nil {
		t.Errorf("Ping = %v", err)
	}
	if err := c.Close(4321, "enough"); err != nil {
		t.Errorf("Close = %v", err)
	}
}

func TestCoderClientIsRefused(t *testing.T) {
	everyLoop(t, wide(), func(t *testing.T, address string, _ bool) {
		for _, mode := range modes {
			for _, m := range []struct {
				kind websocket.MessageType
				data []byte
				want websocket.StatusCode
			}{
				{websocket.MessageBinary, make([]byte, maxMessage+1), websocket.StatusMessageTooBig},
				{websocket.MessageText, []byte("a\xff"), websocket.StatusInvalidFramePayloadData},
				{websocket.MessageText, []byte(strings.Repeat("a", 100_000) + "\xe2\x82"), websocket.StatusInvalidFramePayloadData},
			} {
				c := dial(t, address, mode)
				_ = c.Write(t.Context(), m.kind, m.data) // may be closed while it writes
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				_, _, err := c.Read(ctx)
				cancel()
				if got := websocket.CloseStatus(err); got != m.want {
					t.Errorf("mode %v: a message of %d bytes: %v, want close code %d", mode, len(m.data), err, m.want)
				}
			}
		}
	})
}

// What a client does not read, it is not read from either; nothing is lost.
func TestAClientThatWritesFirst(t *testing.T) {
	everyLoop(t, wide(), func(t *testing.T, address string, _ bool) {
		const messages = 12
		c := dial(t, address, websocket.CompressionDisabled)
		large := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
		wrote := make(chan error, 1)
		go func() {
			for range messages {
				if err := c.Write(context.Background(), websocket.MessageBinary, large); err != nil {
					wrote <- err
					return
				}
			}
			wrote <- nil
		}()
		for range messages {
			expect(t, c, websocket.MessageBinary, large)
		}
		if err := <-wrote; err != nil {
			t.Error(err)
		}
	})
}

func TestRunTellsWhereItListens(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	stop()
	var log strings.Builder
	if err := run(ctx, []string{"-addr", "127.0.0.1:0", "-portable", "-compression"}, &log); err != nil {
		t.Errorf("run = %v", err)
	}
	if !strings.Contains(log.String(), "url=http://127.0.0.1:") {
		t.Errorf("log = %q", log.String())
	}
	if err := run(ctx, []string{"-addr", "127.0.0.1:99999"}, &log); err == nil {
		t.Error("run on a bad port = nil")
	}
}
