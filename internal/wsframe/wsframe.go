// Package wsframe reads and writes WebSocket frames (RFC 6455 section 5). It is the only
// frame codec of the module: the server, the benchmark client and the tests use it.
//
// A frame is a header and a payload:
//
//	bytes    what
//	1        FIN (0x80), RSV1 (0x40), RSV2 (0x20), RSV3 (0x10), opcode (0x0f)
//	1        MASK (0x80), length (0x7f)
//	0, 2, 8  length as a big-endian number, if the length above is 126 or 127
//	0, 4     masking key, if MASK is set
//	length   payload, masked if MASK is set
//
// A length uses the shortest form that can hold it, and has at most 63 bits. Clients mask
// the frames that they send, servers do not (section 5.1). The payload of a control frame
// has at most 125 bytes (section 5.5). The payload of a close frame is empty, or:
//
//	bytes    what
//	2        close code as a big-endian number (section 7.4)
//	0-123    reason, in UTF-8
//
// The package works on bytes in memory and keeps no state. Which frames a peer may send, and
// when, is up to the state machine that uses the package. Nothing blocks except [Read], which
// is for clients.
package wsframe

import (
	"encoding/binary"
	"math/bits"
)

// An Opcode is the type of a frame (RFC 6455 section 5.2). It has four bits.
type Opcode byte

// The opcodes of RFC 6455 section 11.8. The others are reserved.
const (
	Continuation Opcode = 0x0
	Text         Opcode = 0x1
	Binary       Opcode = 0x2
	Close        Opcode = 0x8
	Ping         Opcode = 0x9
	Pong         Opcode = 0xa
)

// IsControl reports whether o is the opcode of a control frame, including reserved ones.
func (o Opcode) IsControl() bool { return o&0x8 != 0 }

// IsReserved reports whether RFC 6455 reserves o for later use.
func (o Opcode) IsReserved() bool { return o&0x7 > 2 }

const (
	// MaxHeader is the length of the longest header, in bytes.
	MaxHeader = 14
	// MaxServerHeader is the length of the longest header without a mask, in bytes.
	MaxServerHeader = 10
	// MaxControl is the length of the longest payload of a control frame, in bytes.
	MaxControl = 125

	// Fin in [Header.First] means that the frame ends its message.
	Fin = 0x80
	// RSV1 in [Header.First] means that the message is compressed (RFC 7692 section 6).
	RSV1 = 0x40
)

const (
	rsvBits  = 0x70 // of the first byte
	opBits   = 0x0f
	maskBit  = 0x80 // of the second byte
	length16 = 126  // in the second byte: two bytes of length follow
	length64 = 127  // in the second byte: eight bytes of length follow
)

// A Header is the header of a frame. It has four fields, as many as the compiler keeps in
// registers.
type Header struct {
	First  byte   // FIN, RSV1 to RSV3 and the opcode
	Masked bool   // the payload is masked with Key
	Key    uint32 // the masking key, first byte lowest
	Length int64  // of the payload, in bytes; -1 after parsing: the length violates RFC 6455
}

// Fin reports whether the frame ends its message.
func (h Header) Fin() bool { return h.First&Fin != 0 }

// RSV returns the reserved bits, in their positions in the first byte.
func (h Header) RSV() byte { return h.First & rsvBits }

// Opcode returns the type of the frame.
func (h Header) Opcode() Opcode { return Opcode(h.First & opBits) }

// ParseHeader parses the header that p begins with, and returns its length n.
//
// ok is false if p ends before the header does. n is then the number of bytes needed to
// continue, and h has the information of the first two bytes, if p has both.
//
// A length that is not in its shortest form, or has more than 63 bits, is returned as -1.
// ParseHeader checks nothing else.
func ParseHeader(p []byte) (h Header, n int, ok bool) {
	if len(p) < 2 {
		return h, 2, false
	}
	h.First = p[0]
	h.Masked = p[1]&maskBit != 0
	h.Length = int64(p[1] &^ maskBit)
	key := 2 // where the masking key begins
	switch h.Length {
	case length16:
		key = 4
	case length64:
		key = 10
	}
	if n = key; h.Masked {
		n += 4
	}
	if len(p) < n {
		return h, n, false
	}
	switch key {
	case 4:
		if h.Length = int64(binary.BigEndian.Uint16(p[2:])); h.Length < length16 {
			h.Length = -1
		}
	case 10:
		if h.Length = int64(binary.BigEndian.Uint64(p[2:])); h.Length < 1<<16 {
			h.Length = -1
		}
	}
	if h.Masked {
		h.Key = binary.LittleEndian.Uint32(p[key:])
	}
	return h, n, true
}

// Append appends h to dst. Length must not be negative.
func (h Header) Append(dst []byte) []byte {
	second := byte(0)
	if h.Masked {
		second = maskBit
	}
	switch {
	case h.Length < length16:
		dst = append(dst, h.First, second|byte(h.Length))
	case h.Length < 1<<16:
		dst = binary.BigEndian.AppendUint16(append(dst, h.First, second|length16), uint16(h.Length))
	default:
		dst = binary.BigEndian.AppendUint64(append(dst, h.First, second|length64), uint64(h.Length))
	}
	if h.Masked {
		dst = binary.LittleEndian.AppendUint32(dst, h.Key)
	}
	return dst
}

// AppendFrame appends a frame with the header h and payload. It sets h.Length, and masks
// its copy of payload if h.Masked is set. If dst is nil, the result has little more
// capacity than the frame needs.
func (h Header) AppendFrame(dst, payload []byte) []byte {
	if dst == nil {
		room := MaxServerHeader
		if h.Masked {
			room = MaxHeader
		}
		dst = make([]byte, 0, room+len(payload))
	}
	h.Length = int64(len(payload))
	dst = append(h.Append(dst), payload...)
	if h.Masked {
		Mask(dst[len(dst)-len(payload):], h.Key)
	}
	return dst
}

// AppendFrame appends a whole message or a control frame as servers send it: in one frame,
// without a mask.
func AppendFrame(dst []byte, op Opcode, payload []byte) []byte {
	return Header{First: Fin | byte(op)}.AppendFrame(dst, payload)
}

// Mask masks or unmasks p in place (RFC 6455 section 5.3). It returns the key for the bytes
// that follow p in the same payload.
func Mask(p []byte, key uint32) (next uint32) {
	k := uint64(key)<<32 | uint64(key)
	for len(p) >= 64 { // eight words at a time, more than twice as fast as one
		q := (*[64]byte)(p)
		binary.LittleEndian.PutUint64(q[0:], binary.LittleEndian.Uint64(q[0:])^k)
		binary.LittleEndian.PutUint64(q[8:], binary.LittleEndian.Uint64(q[8:])^k)
		binary.LittleEndian.PutUint64(q[16:], binary.LittleEndian.Uint64(q[16:])^k)
		binary.LittleEndian.PutUint64(q[24:], binary.LittleEndian.Uint64(q[24:])^k)
		binary.LittleEndian.PutUint64(q[32:], binary.LittleEndian.Uint64(q[32:])^k)
		binary.LittleEndian.PutUint64(q[40:], binary.LittleEndian.Uint64(q[40:])^k)
		binary.LittleEndian.PutUint64(q[48:], binary.LittleEndian.Uint64(q[48:])^k)
		binary.LittleEndian.PutUint64(q[56:], binary.LittleEndian.Uint64(q[56:])^k)
		p = p[64:]
	}
	for len(p) >= 8 {
		binary.LittleEndian.PutUint64(p, binary.LittleEndian.Uint64(p)^k)
		p = p[8:]
	}
	for i := range p {
		p[i] ^= byte(key)
		key = bits.RotateLeft32(key, -8)
	}
	return key
}
