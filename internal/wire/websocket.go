package wire

import (
	"encoding/binary"
	"unicode/utf8"

	"github.com/gobwas/ws"
)

// A CloseCode tells a WebSocket client why its connection ends, and so when to
// come back (RFC 6455 section 7.4, and 4000–4999 for what is ours).
type CloseCode uint16

// The close codes that the server sends.
const (
	CloseNormal        CloseCode = 1000 // the answer to a client's close
	CloseProtocol      CloseCode = 1002 // a frame that RFC 6455 does not allow
	CloseUnsupported   CloseCode = 1003 // a binary message where only text means something
	CloseInvalidUTF8   CloseCode = 1007 // text that is not UTF-8, or compressed data that is broken
	ClosePolicy        CloseCode = 1008 // flooding, or a message begun and not finished in time
	CloseTooBig        CloseCode = 1009 // a message over its limit
	CloseInternal      CloseCode = 1011 // our fault
	CloseRestart       CloseCode = 1012 // this server goes away
	CloseOverCapacity  CloseCode = 1013 // no room for what the client sends
	CloseIdle          CloseCode = 4009 // no valid command within the time for it
	CloseTooMany       CloseCode = 4108 // too many commands
	CloseSilent        CloseCode = 4201 // nothing heard within the ping timeout
	CloseTooSlow       CloseCode = 4202 // further behind than allowed
	maxCloseReason               = 123  // bytes: a control frame holds 125, two are the code
	maxServerHeaderLen           = 10   // bytes of an unmasked header
)

// HeaderRoom is the length of the longest header that servers send, in bytes.
const HeaderRoom = maxServerHeaderLen

// AppendFrame appends to dst one whole WebSocket frame as servers send it:
// final and unmasked.
func AppendFrame(dst []byte, op ws.OpCode, payload []byte) []byte {
	return appendFrame(dst, 0x80|byte(op), payload)
}

// appendFrame appends a frame that begins with the byte first.
func appendFrame(dst []byte, first byte, payload []byte) []byte {
	if dst == nil {
		dst = make([]byte, 0, maxServerHeaderLen+len(payload))
	}
	return append(appendHeader(dst, first, len(payload)), payload...)
}

// appendHeader appends the header of a frame that begins with the byte first and has n
// bytes of payload.
func appendHeader(dst []byte, first byte, n int) []byte {
	dst = append(dst, first)
	switch {
	case n < 126:
		return append(dst, byte(n))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(dst, 126), uint16(n))
	default:
		return binary.BigEndian.AppendUint64(append(dst, 127), uint64(n))
	}
}

// AppendRoomForHeader appends [HeaderRoom] bytes, for [Fragment] to fill.
func AppendRoomForHeader(dst []byte) []byte { return append(dst, make([]byte, HeaderRoom)...) }

// Fragment returns a frame with a part of a text message, or with all of it (RFC 6455
// section 5.4). buffer is room for the header, which is written there, and the part:
// the frame is the end of buffer.
func Fragment(buffer []byte, first, last bool) []byte {
	op := ws.OpContinuation
	if first {
		op = ws.OpText
	}
	if last {
		op |= 0x80
	}
	var room [HeaderRoom]byte
	header := appendHeader(room[:0], byte(op), len(buffer)-HeaderRoom)
	frame := buffer[HeaderRoom-len(header):]
	copy(frame, header)
	return frame
}

// AppendClose appends a close frame. A reason that does not fit a control
// frame is cut at the end of a character.
func AppendClose(dst []byte, code CloseCode, reason string) []byte {
	if len(reason) > maxCloseReason {
		reason = reason[:maxCloseReason]
		for !utf8.ValidString(reason) {
			reason = reason[:len(reason)-1]
		}
	}
	body := binary.BigEndian.AppendUint16(make([]byte, 0, 125), uint16(code))
	return AppendFrame(dst, ws.OpClose, append(body, reason...))
}
