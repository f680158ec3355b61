package transport

import (
	"cmp"
	"time"

	"github.com/ikornaselur/notiflux/internal/wire"
	"github.com/ikornaselur/notiflux/internal/wsframe"
)

// step processes at least one byte of p, and at most the rest of one frame. It returns the
// number of bytes processed.
func (w *WebSocket) step(p []byte, now time.Duration) int {
	if in := w.in; in != nil && in.inFrame {
		n := int(min(int64(len(p)), in.frame.Length-in.taken))
		w.part(p[:n])
		return n
	}
	h, n, ok := w.header(p, now)
	switch {
	case !ok && w.in.have < 2:
		return n // too few bytes to check anything
	case !w.checkHeader(h), !ok, !w.checkLimits(h, now):
		return n
	}
	payload := p[n:]
	if int64(len(payload)) < h.Length {
		in := w.incomplete(now)
		in.frame, in.taken, in.inFrame = h, 0, true
		w.part(payload)
		return len(p)
	}
	payload = payload[:h.Length]
	wsframe.Mask(payload, h.Key)
	w.whole(h, payload, now)
	return n + len(payload)
}

// header returns the header of the next frame and how many bytes of p it took. It joins a
// header that came in pieces.
func (w *WebSocket) header(p []byte, now time.Duration) (h wsframe.Header, n int, ok bool) {
	if w.in == nil || w.in.have == 0 {
		if h, n, ok = wsframe.ParseHeader(p); !ok {
			in := w.incomplete(now)
			n = copy(in.header[:], p)
			in.have = n
		}
		return h, n, ok
	}
	in := w.in
	more := copy(in.header[in.have:], p)
	if h, n, ok = wsframe.ParseHeader(in.header[:in.have+more]); !ok {
		in.have += more
		return h, more, false
	}
	n -= in.have
	in.have = 0
	return h, n, true
}

// checkHeader reports whether RFC 6455 allows a header here, as far as it is known. If not,
// it closes the connection.
func (w *WebSocket) checkHeader(h wsframe.Header) bool {
	broken := w.violation(h)
	if broken != "" {
		w.refuse(wire.CloseProtocol, broken)
	}
	return broken == ""
}

// checkLimits checks a valid header against the limits, before its payload is read. If the
// header exceeds a limit, checkLimits closes the connection and returns false.
func (w *WebSocket) checkLimits(h wsframe.Header, now time.Duration) bool {
	if h.Opcode().IsControl() {
		if h.Opcode() != wsframe.Close && !w.allowControl(now) {
			w.refuse(wire.ClosePolicy, "too many control frames")
			return false
		}
		return true
	}
	received, frames, deflated := 0, 1, h.RSV() == wsframe.RSV1
	if w.inMessage() {
		received, frames, deflated = len(w.in.message), w.in.frames+1, w.in.deflated
		w.in.frames = frames
	}
	if h.Length > int64(w.maxReceived(deflated)-received) {
		w.refuse(wire.CloseTooBig, "the message is too long")
		return false
	}
	if limit := cmp.Or(w.cfg.MaxFragments, DefaultMaxFragments); limit > 0 && frames > limit {
		w.refuse(wire.ClosePolicy, "the message has too many fragments")
		return false
	}
	return true
}

// violation returns how a header violates RFC 6455 (sections 5.1 to 5.5), or an empty
// string.
func (w *WebSocket) violation(h wsframe.Header) string {
	switch control := h.Opcode().IsControl(); {
	case h.RSV() != 0 && !w.mayDeflate(h):
		return "reserved bits are set"
	case h.Opcode().IsReserved():
		return "the opcode is reserved"
	case !h.Masked:
		return "the frame is not masked"
	case h.Length < 0:
		return "the length is not in its shortest form"
	case control && h.Length > wsframe.MaxControl:
		return "the control frame is longer than 125 bytes"
	case control && !h.Fin():
		return "the control frame is fragmented"
	case control:
		return ""
	case h.Opcode() == wsframe.Continuation && !w.inMessage():
		return "there is no message to continue"
	case h.Opcode() != wsframe.Continuation && w.inMessage():
		return "the message before is not finished"
	}
	return ""
}

// mayDeflate reports whether the only reserved bit in a header is a valid mark of a
// compressed message: permessage-deflate was negotiated, and this is the first frame of a
// data message (RFC 7692 section 6).
func (w *WebSocket) mayDeflate(h wsframe.Header) bool {
	return h.RSV() == wsframe.RSV1 && w.cfg.Inflaters != nil && (h.Opcode() == wsframe.Text || h.Opcode() == wsframe.Binary)
}

// mayFollow reports whether RFC 6455 allows the frame that p begins with, as far as p
// shows. If not, it closes the connection. The header of a frame in progress was checked
// before.
func (w *WebSocket) mayFollow(p []byte) bool {
	if w.in != nil && (w.in.inFrame || w.in.have > 0) || len(p) < 2 {
		return true
	}
	h, _, _ := wsframe.ParseHeader(p)
	return w.checkHeader(h)
}

// dataNext reports whether the next byte, first, belongs to a data frame.
func (w *WebSocket) dataNext(first byte) bool {
	h := wsframe.Header{First: first}
	switch in := w.in; {
	case in != nil && in.inFrame:
		h = in.frame
	case in != nil && in.have > 0:
		h.First = in.header[0]
	}
	return !h.Opcode().IsControl()
}
