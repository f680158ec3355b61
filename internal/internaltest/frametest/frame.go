// Package frametest is what tests of WebSockets share: how clients write frames, tables of valid
// and invalid input, and a client of raw bytes that sends this input to a running server.
//
// The same tables hold for the state machine of package transport alone, with input split
// into reads in every possible way, and for whole servers over sockets.
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

	"github.com/ikornaselur/notiflux/internal/wsframe"
)

const key = 0xff00c35a // masks every frame

// Frame returns a masked frame with a first byte and the shortest length.
func Frame(first byte, payload string) []byte {
	return Masked(wsframe.Header{First: first}, payload)
}

// Masked returns a masked frame. Its header may announce another Length than that of
// payload; 0 means that of payload.
func Masked(h wsframe.Header, payload string) []byte {
	h.Masked, h.Key = true, key
	if h.Length == 0 {
		return h.AppendFrame(nil, []byte(payload))
	}
	p := []byte(payload)
	wsframe.Mask(p, key)
	return append(h.Append(nil), p...)
}

// Text returns a message of text in one frame.
func Text(s string) []byte { return Frame(0x81, s) }

// Binary returns a binary message in one frame.
func Binary(s string) []byte { return Frame(0x82, s) }

// Ping returns a ping.
func Ping(s string) []byte { return Frame(0x89, s) }

// Closing returns a close frame, also with a reason that is too long.
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

// Inflate reverses Deflate.
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
	f, err := ReadFrame(r)
	if err == io.EOF {
		return "", err
	}
	deflated := deflate && f.RSV() == wsframe.RSV1 && !f.Opcode().IsControl()
	if err != nil || f.Masked || f.RSV() != 0 && !deflated || !f.Fin() {
		return "", fmt.Errorf("broken frame %+v: %v", f.Header, err)
	}
	if deflated {
		if f.Payload, err = Inflate(f.Payload); err != nil {
			return "", err
		}
	}
	return Describe(f.Opcode(), f.Payload), nil
}

// Describe returns how a frame from a server is shown.
func Describe(op wsframe.Opcode, payload []byte) string {
	switch op {
	case wsframe.Text:
		return "> text " + Brief(payload)
	case wsframe.Binary:
		return "> binary " + Brief(payload)
	case wsframe.Ping:
		return "> ping"
	case wsframe.Pong:
		return "> pong " + Brief(payload)
	case wsframe.Close:
		if len(payload) == 0 {
			return "> close"
		}
		code, _ := wsframe.ParseClose(payload)
		return fmt.Sprintf("> close %d", code)
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
