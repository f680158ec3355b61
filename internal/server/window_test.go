package server_test

import (
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/internaltest/servertest"
)

// HTTP/2 (RFC 9113): types of frames, and flags.
const (
	frameData     = 0x0
	frameHeaders  = 0x1
	frameSettings = 0x4
	endStream     = 0x1
	endHeaders    = 0x4
	flagAck       = 0x1
)

// appendFrame appends an HTTP/2 frame.
func appendFrame(dst []byte, kind, flags byte, stream uint32, payload []byte) []byte {
	dst = append(dst, byte(len(payload)>>16), byte(len(payload)>>8), byte(len(payload)), kind, flags)
	return append(binary.BigEndian.AppendUint32(dst, stream), payload...)
}

// headers returns headers as literals without an index (RFC 7541, section 6.2.2). Each has
// less than 127 bytes, or a value of 8 KiB.
func headers(pairs ...string) (block []byte) {
	length := func(n int) {
		if n < 127 {
			block = append(block, byte(n))
			return
		}
		n -= 127
		block = append(block, 127)
		for ; n >= 128; n >>= 7 {
			block = append(block, byte(n)|128)
		}
		block = append(block, byte(n))
	}
	for i := 0; i < len(pairs); i += 2 {
		block = append(block, 0)
		for _, text := range pairs[i : i+2] {
			length(len(text))
			block = append(block, text...)
		}
	}
	return block
}

// An HTTP/2 client that does not let answers flow does not delay a shutdown.
func TestShutdownWithAnswersThatMayNotFlow(t *testing.T) {
	s := servertest.Start(t, nil)
	s.Broadcast("a", "x")
	publisher, reader := "Bearer "+s.Token(auth.Broadcast, "a"), "Bearer "+s.Token(auth.Subscribe, "a")
	conn := dialRaw(t, s.URL)
	windows := []byte{0, 4, 0, 0, 0, 0} // SETTINGS_INITIAL_WINDOW_SIZE is 0
	out := appendFrame([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), frameSettings, 0, 0, windows)
	waiting := make(map[uint32]string)
	for i, c := range []struct{ method, path, bearer, body string }{
		{"POST", "/broadcast", publisher, `{"topic":"a","message":1}`},
		{"POST", "/broadcast", publisher, `[{"topic":"a","message":1}]`},
		{"POST", "/broadcast", reader, `{"topic":"a","message":1}`},
		{"POST", "/broadcast", reader, `[{"topic":"a","message":1}]`},
		{"GET", "/broadcast", "", ""},
		{"GET", "/nothing", "", ""},
		{"GET", "/history?topic=a", reader, ""},
		{"GET", "/history?topic=b", reader, ""},
		{"GET", "/poll?topic=a", reader, ""},
		{"GET", "/presence?topic=a", reader, ""},
		{"GET", "/openapi.json", "", ""},
		{"GET", "/events?topic=b", reader, ""},
		{"GET", "/events?topic=a", reader, ""},
		{"GET", "/ws", reader, ""},
	} {
		stream := uint32(2*i + 1)
		waiting[stream] = c.method + " " + c.path
		block := headers(":method", c.method, ":scheme", "http", ":authority", "x", ":path", c.path)
		if c.bearer != "" {
			block = append(block, headers("authorization", c.bearer)...)
		}
		if c.body == "" {
			out = appendFrame(out, frameHeaders, endHeaders|endStream, stream, block)
		} else {
			out = appendFrame(out, frameHeaders, endHeaders, stream, block)
			out = appendFrame(out, frameData, endStream, stream, []byte(c.body))
		}
	}
	if _, err := conn.Write(out); err != nil {
		t.Fatal(err)
	}
	for len(waiting) > 0 { // for the headers of an answer
		var head [9]byte
		if _, err := io.ReadFull(conn, head[:]); err != nil {
			t.Fatalf("no answer to %v: %v", waiting, err)
		}
		payload := make([]byte, int(head[0])<<16|int(head[1])<<8|int(head[2]))
		if _, err := io.ReadFull(conn, payload); err != nil {
			t.Fatal(err)
		}
		switch stream := binary.BigEndian.Uint32(head[5:]); {
		case head[3] == frameSettings && head[4]&flagAck == 0:
			if _, err := conn.Write(appendFrame(nil, frameSettings, flagAck, 0, nil)); err != nil {
				t.Fatal(err)
			}
		case head[3] == frameHeaders:
			if head[4]&endStream != 0 {
				t.Errorf("%s has no body", waiting[stream])
			}
			delete(waiting, stream)
		case head[3] == frameData && len(payload) > 0:
			t.Fatalf("%d bytes of stream %d flowed", len(payload), stream)
		}
	}
	go func() { _, _ = io.Copy(io.Discard, conn) }()
	if err := s.Stop(); err != nil {
		t.Error(err)
	}
	if log := s.Log(); strings.Contains(log, "requests did not finish in time") {
		t.Error(fmt.Sprint("the shutdown took all of its time:\n", log))
	}
}
