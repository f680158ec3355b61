package bench

import (
	"github.com/ikornaselur/notiflux/internal/wsframe"
)

// An event is what a scanner found in the bytes of a connection.
type event uint8

const (
	needMore  event = iota // nothing: the bytes end
	gotText                // a message ended: its beginning is in head
	gotBinary              // a message ended that the text protocol does not have
	gotPing                // with a payload
	gotClose               // with a payload: the code and the reason, or nothing
	gotPong                // which nobody asked for
	malformed              // not a valid frame of a server (RFC 6455 section 5)
)

// maxWhole is the largest part of a frame that must be read in one piece: a control frame of
// maximum length.
const maxWhole = 2 + wsframe.MaxControl

// A scanner splits what a server sends into events. It keeps only the beginning of a message
// and skips the rest, so a connection in the middle of a message needs no more memory than
// another. Its zero value is ready for a new connection.
type scanner struct {
	carry []byte // of a frame whose beginning is not here in one piece yet
	skip  int    // bytes of the frame under way that are still to come
	inMsg bool   // a message is under way
	final bool   // its last frame is
	kind  event  // gotText or gotBinary

	head    [markBytes]byte
	headLen int // bytes of head that the message has; the first frame alone fills it
	length  int // bytes of the message so far
}

// next returns the first event in b and the rest of b. The payload is that of a control
// frame, and valid until the next call. It returns needMore only after it has consumed all
// of b.
func (s *scanner) next(b []byte) (e event, payload, rest []byte) {
	for {
		if s.skip > 0 {
			n := min(s.skip, len(b))
			s.skip -= n
			b = b[n:]
		}
		switch {
		case s.skip > 0:
			return needMore, nil, nil
		case s.inMsg && s.final:
			s.inMsg, s.final = false, false
			return s.kind, nil, b
		case len(b) == 0:
			return needMore, nil, nil
		}
		if e, payload, b = s.frame(b); e != needMore {
			return e, payload, b
		}
	}
}

// frame consumes the beginning of a frame from b, together with the bytes carried over. For
// a data frame it returns needMore, and sets skip to the number of bytes left in it.
func (s *scanner) frame(b []byte) (e event, payload, rest []byte) {
	whole, carried := b, len(s.carry)
	if carried > 0 {
		s.carry = append(s.carry, b[:min(len(b), maxWhole-carried)]...)
		whole = s.carry
	}
	e, payload, n := s.begin(whole)
	switch {
	case n > 0:
		s.carry = s.carry[:0]
		return e, payload, b[n-carried:]
	case e == needMore && carried == 0:
		s.carry = append(s.carry, b...)
	}
	return e, nil, nil
}

// begin parses the header of the frame at the start of b, and as much of its payload as is
// needed. It returns the number of bytes it used, or 0 if b is too short or invalid.
func (s *scanner) begin(b []byte) (e event, payload []byte, n int) {
	h, n, ok := wsframe.ParseHeader(b)
	switch {
	case h.RSV() != 0 || h.Masked || h.Length < 0: // no extension was agreed on
		return malformed, nil, 0
	case !ok:
		return needMore, nil, 0
	case h.Opcode().IsControl():
		return control(h, b)
	}
	return s.data(h, b, n)
}

// control is begin for a control frame.
func control(h wsframe.Header, b []byte) (e event, payload []byte, n int) {
	switch {
	case !h.Fin() || h.Length > wsframe.MaxControl:
		return malformed, nil, 0
	case len(b) < 2+int(h.Length):
		return needMore, nil, 0
	}
	switch h.Opcode() {
	case wsframe.Ping:
		e = gotPing
	case wsframe.Pong:
		e = gotPong
	case wsframe.Close:
		e = gotClose
	default:
		return malformed, nil, 0
	}
	n = 2 + int(h.Length)
	return e, b[2:n], n
}

// data is begin for a data frame with a header of n bytes.
func (s *scanner) data(h wsframe.Header, b []byte, header int) (e event, payload []byte, n int) {
	first := h.Opcode() != wsframe.Continuation
	length := int(h.Length)
	seen := min(length, markBytes)
	switch {
	case first == s.inMsg, h.Opcode().IsReserved():
		return malformed, nil, 0
	case len(b) < header+seen:
		return needMore, nil, 0
	}
	if first {
		s.kind = gotText
		if h.Opcode() == wsframe.Binary {
			s.kind = gotBinary
		}
		s.headLen, s.length = copy(s.head[:], b[header:header+seen]), 0
	}
	s.inMsg, s.final = true, h.Fin()
	s.length += length
	s.skip = length - seen
	return needMore, nil, header + seen
}
