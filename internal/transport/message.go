package transport

import (
	"cmp"
	"time"
	"unicode/utf8"

	"github.com/ikornaselur/notiflux/internal/wire"
	"github.com/ikornaselur/notiflux/internal/wsframe"
)

// minMessageCap is the minimum capacity of an incomplete message, so that a message that
// comes byte by byte is not copied at every byte.
const minMessageCap = 256

// incoming is the state of a frame or a message that is not complete yet.
type incoming struct {
	began time.Duration // when its first byte came

	// The frame in progress.
	header  [wsframe.MaxHeader]byte
	have    int            // bytes in header, until the header is complete
	inFrame bool           // the header is complete, but not the payload
	frame   wsframe.Header // header of the frame, if inFrame
	taken   int64          // bytes of the payload so far, if inFrame
	control []byte         // payload so far, if it is a control frame

	// The message in progress, around the frame or between two frames.
	op       wsframe.Opcode // wsframe.Text or wsframe.Binary; 0: no message
	deflated bool           // the message is compressed
	frames   int            // frames that have begun
	message  []byte         // bytes so far; its capacity is charged to the budget
	checked  int            // bytes of message that are known to be whole characters
}

// incomplete returns w.in, and creates it if necessary.
func (w *WebSocket) incomplete(now time.Duration) *incoming {
	if w.in == nil {
		w.in = &incoming{began: now}
		w.sock.Arm(w.messageDeadline())
	}
	return w.in
}

func (w *WebSocket) inMessage() bool { return w.in != nil && w.in.op != 0 }

func (w *WebSocket) maxMessage() int {
	return cmp.Or(w.cfg.MaxMessageBytes, DefaultMaxMessageBytes)
}

// maxReceived returns how many bytes of a message may be received. A compressed message
// may exceed its content by the worst case of the compression.
func (w *WebSocket) maxReceived(deflated bool) int {
	most := w.maxMessage()
	if deflated {
		most += most/16 + 64
	}
	return most
}

// forget drops incomplete input and releases its memory from the budget.
func (w *WebSocket) forget() {
	if w.in != nil {
		w.cfg.Budget.Release(cap(w.in.message))
		w.in = nil
	}
}

// whole handles a frame whose payload came in one piece. The payload is unmasked.
func (w *WebSocket) whole(h wsframe.Header, payload []byte, now time.Duration) {
	switch {
	case h.Opcode().IsControl():
		w.endControl(h.Opcode(), payload)
	case h.Fin() && !w.inMessage():
		w.forget() // drops the pieces of its header
		switch {
		case h.RSV() == wsframe.RSV1:
			w.inflated(h.Opcode(), payload)
		case h.Opcode() == wsframe.Text && !utf8.Valid(payload):
			w.closeInvalidText()
		default:
			w.deliver(h.Opcode(), payload)
		}
	default:
		w.extend(w.incomplete(now), h, payload, 0)
	}
}

// part handles the next payload bytes of the frame in progress.
func (w *WebSocket) part(payload []byte) {
	in := w.in
	in.frame.Key = wsframe.Mask(payload, in.frame.Key)
	in.taken += int64(len(payload))
	in.inFrame = in.taken < in.frame.Length
	if !in.frame.Opcode().IsControl() {
		w.extend(in, in.frame, payload, in.frame.Length-in.taken)
		return
	}
	in.control = append(in.control, payload...)
	if !in.inFrame {
		payload, in.control = in.control, nil
		w.endControl(in.frame.Opcode(), payload)
	}
}

// extend adds a piece of frame h to the message in progress, or begins a message with it.
// left is the number of bytes of the frame that follow.
func (w *WebSocket) extend(in *incoming, h wsframe.Header, payload []byte, left int64) {
	if in.op == 0 {
		in.op, in.deflated, in.frames = h.Opcode(), h.RSV() == wsframe.RSV1, 1
	}
	end := h.Fin() && left == 0
	most := w.maxReceived(in.deflated)
	if h.Fin() {
		most = len(in.message) + len(payload) + int(left)
	}
	if !w.reserve(in, len(payload), most) {
		w.refuse(wire.CloseOverCapacity, "the memory for incomplete messages is full")
		return
	}
	in.message = append(in.message, payload...)
	if in.op == wsframe.Text && !in.deflated {
		n, ok := wholeCharacters(in.message[in.checked:])
		in.checked += n
		if !ok || end && in.checked < len(in.message) {
			w.closeInvalidText()
			return
		}
	}
	if end {
		w.forget()
		if in.deflated {
			w.inflated(in.op, in.message)
			return
		}
		w.deliver(in.op, in.message)
	}
}

// reserve makes room for n more bytes of the message, and reports whether the budget allows
// it. The capacity at most doubles, and never exceeds most, the maximum size of the
// message.
func (w *WebSocket) reserve(in *incoming, n, most int) bool {
	need, have := len(in.message)+n, cap(in.message)
	if need <= have {
		return true
	}
	room := min(max(need, 2*have, minMessageCap), most)
	if !w.cfg.Budget.take(room - have) {
		return false
	}
	grown := make([]byte, len(in.message), room)
	copy(grown, in.message)
	in.message = grown
	return true
}

func (w *WebSocket) deliver(op wsframe.Opcode, message []byte) {
	w.cfg.Stats.message()
	w.app.Receive(message, op == wsframe.Binary)
}

func (w *WebSocket) closeInvalidText() {
	w.refuse(wire.CloseInvalidUTF8, "the text is not UTF-8")
}

// wholeCharacters returns how many leading bytes of p are whole characters. ok is false if
// the bytes after them cannot become a character.
func wholeCharacters(p []byte) (n int, ok bool) {
	n = len(p)
	for i := n - 1; i >= max(0, n-utf8.UTFMax+1); i-- {
		if utf8.RuneStart(p[i]) {
			if !utf8.FullRune(p[i:]) {
				n = i
			}
			break
		}
	}
	return n, utf8.Valid(p[:n])
}
