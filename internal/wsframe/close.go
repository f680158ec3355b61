package wsframe

import (
	"encoding/binary"
	"unicode/utf8"
)

const (
	// NoStatus is the close code of a close frame without one (RFC 6455 section 7.4.1). It
	// is never sent.
	NoStatus = 1005

	maxReason = MaxControl - 2 // bytes of a close frame's reason
)

// AppendClose appends a close frame as servers send it. A reason over 123 bytes is cut at
// the end of a character.
func AppendClose(dst []byte, code uint16, reason string) []byte {
	var room [MaxControl]byte
	return AppendFrame(dst, Close, AppendClosePayload(room[:0], code, reason))
}

// AppendClosePayload appends the payload of a close frame. A reason over 123 bytes is cut
// at the end of a character.
func AppendClosePayload(dst []byte, code uint16, reason string) []byte {
	if len(reason) > maxReason {
		reason = reason[:maxReason]
		for !utf8.ValidString(reason) {
			reason = reason[:len(reason)-1]
		}
	}
	return append(binary.BigEndian.AppendUint16(dst, code), reason...)
}

// ParseClose returns the code and the reason in the payload of a close frame. The reason is
// a part of payload and may not be UTF-8. If payload has no complete code, code is
// NoStatus.
func ParseClose(payload []byte) (code uint16, reason []byte) {
	if len(payload) < 2 {
		return NoStatus, nil
	}
	return binary.BigEndian.Uint16(payload), payload[2:]
}

// MaySend reports whether a peer may send a close code: one that is registered for use in
// frames (RFC 6455 section 7.4.2, and the IANA registry), or one in the ranges for
// libraries and applications.
func MaySend(code uint16) bool {
	switch {
	case code >= 3000 && code <= 4999:
		return true
	case code >= 1007 && code <= 1014:
		return true
	}
	return code >= 1000 && code <= 1003
}
