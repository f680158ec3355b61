// Package frametest is what the tests of WebSockets share: how clients write
// frames, tables of what they may and may not send, and a client of raw bytes
// that plays those tables against a running server.
//
// The same tables hold for the state machine alone, cut into reads in every
// way, and for servers on both kinds of loop.
package frametest

import (
	"bufio"
	"bytes"
	"compress/flate"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/gobwas/ws"
)

const rsv1 = 4 // of a header: the message is compressed

// Frame returns a masked frame with a first byte and the shortest length.
func Frame(first byte, payload string) []byte {
	return Masked(ws.Header{
		Fin: first&0x80 != 0, Rsv: first >> 4 & 7, OpCode: ws.OpCode(first & 0x0f), Length: int64(len(payload)),
	}, payload)
}

// Masked returns a header that may announce anything, and a payload.
func Masked(h ws.Header, payload string) []byte {
	h.Masked, h.Mask = true, [4]byte{0x5a, 0xc3, 0x00, 0xff}
	var b bytes.Buffer
	if err := ws.WriteHeader(&b, h); err != nil {
		panic(err)
	}
	p := []byte(payload)
	ws.Cipher(p, h.Mask, 0)
	return append(b.Bytes(), p...)
}

// Text returns a message of text in one frame.
func Text(s string) []byte { return Frame(0x81, s) }

// Binary returns a binary message in one frame.
func Binary(s string) []byte { return Frame(0x82, s) }

// Ping returns a ping.
func Ping(s string) []byte { return Frame(0x89, s) }

// Closing returns a close frame.
func Closing(code uint16, reason string) []byte {
	return Frame(0x88, string(binary.BigEndian.AppendUint16(nil, code))+reason)
}

// Raw returns bytes given in hexadecimal, with spaces anywhere.
func Raw(s string) []byte {
	p, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		panic(err)
	}
	return p
}

// Deflate returns what a client that compresses sends of a message's payload
// (RFC 7692 section 7.2.1).
func Deflate(s string) string {
	var b bytes.Buffer
	w, _ := flate.NewWriter(&b, flate.BestCompression) // the level is one of the package's own
	io.WriteString(w, s)
	w.Flush()
	return strings.TrimSuffix(b.String(), "\x00\x00\xff\xff")
}

// Inflate returns what Deflate was given, or an error.
func Inflate(p []byte) ([]byte, error) {
	s, err := io.ReadAll(flate.NewReader(io.MultiReader(bytes.NewReader(p), strings.NewReader("\x00\x00\xff\xff"))))
	if !errors.Is(err, io.ErrUnexpectedEOF) { // what was flushed has no end
		return nil, fmt.Errorf("inflate: %v", err)
	}
	return s, nil
}

// Sent describes the frames that a server wrote. It is strict: what it does not
// understand is shown.
func Sent(p []byte) (frames []string) {
	r := bufio.NewReader(bytes.NewReader(p))
	for {
		frame, err := readFrame(r, false)
		switch {
		case err == io.EOF:
			return frames
		case err != nil:
			return append(frames, err.Error())
		}
		frames = append(frames, frame)
	}
}

// readFrame reads and describes one frame of a server; io.EOF when there is
// none. Only where compression was agreed on, it may be compressed.
func readFrame(r *bufio.Reader, deflate bool) (string, error) {
	h, err := ws.ReadHeader(r)
	if err == io.EOF {
		return "", err
	}
	deflated := deflate && h.Rsv == rsv1 && h.OpCode.IsData()
	if err != nil || h.Masked || h.Rsv != 0 && !deflated || !h.Fin {
		return "", fmt.Errorf("broken frame %+v: %v", h, err)
	}
	payload := make([]byte, h.Length)
	if _, err := io.ReadFull(r, payload); err != nil {
		return "", fmt.Errorf("broken frame %+v: %v", h, err)
	}
	if deflated {
		if payload, err = Inflate(payload); err != nil {
			return "", err
		}
	}
	return Describe(h.OpCode, payload), nil
}

// Describe returns how a frame from a server is shown.
func Describe(op ws.OpCode, payload []byte) string {
	switch op {
	case ws.OpText:
		return "> text " + Brief(payload)
	case ws.OpBinary:
		return "> binary " + Brief(payload)
	case ws.OpPing:
		return "> ping"
	case ws.OpPong:
		return "> pong " + Brief(payload)
	case ws.OpClose:
		if len(payload) == 0 {
			return "> close"
		}
		return fmt.Sprintf("> close %d", binary.BigEndian.Uint16(payload))
	}
	return fmt.Sprintf("> opcode %d", op)
}

// Brief returns a payload as it is shown, or only how long it is.
func Brief(p []byte) string {
	if len(p) > 200 {
		return fmt.Sprintf("of %d bytes", len(p))
	}
	return fmt.Sprintf("%+q", p)
}
