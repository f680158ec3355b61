package transport

import (
	"cmp"
	"time"
	"unicode/utf8"

	"github.com/ikornaselur/notiflux/internal/wire"
	"github.com/ikornaselur/notiflux/internal/wsframe"
)

// minMessageCap is the least that an incomplete message owns, so that one that
// comes byte by byte is not copied at every byte.
const minMessageCap = 256

// incoming is what a connection remembers of a frame, or of a message, that is
// not whole yet.
type incoming struct {
	began time.Duration // when its first byte came

	// The frame under way.
	header  [wsframe.MaxHeader]byte
	have    int            // bytes in header, until it is whole
	inFrame bool           // its header is whole, its payload is not
	frame   wsframe.Header // if inFrame
	taken   int64          // bytes of its payload, if inFrame
	control []byte         // its payload, if it is a control frame

	// The message under way, around the frame or between two.
	op       wsframe.Opcode // wsframe.Text or wsframe.Binary; 0: no message
	deflated bool           // it is compressed
	frames   int            // begun
	message  []byte         // what came of it; its capacity is charged to the budget
	checked  int            // bytes of message that are known to be whole characters
}

// incomplete returns what is remembered of the input, from now on something.
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

// mostReceived is how many bytes may come for a message. A compressed one may
// be longer than what it holds by what compression adds at worst.
func (w *WebSocket) mostReceived(deflated bool) int {
	most := w.maxMessage()
	if deflated {
		most += most/16 + 64
	}
	return most
}

// forget gives back what incomplete input owned.
func (w *WebSocket) forget() {
	if w.in != nil {
		w.cfg.Budget.Release(cap(w.in.message))
		w.in = nil
	}
}

// whole takes a frame whose payload came in one piece, unmasked.
func (w *WebSocket) whole(h wsframe.Header, payload []byte, now time.Duration) {
	switch {
	case h.Opcode().IsControl():
		w.endControl(h.Opcode(), payload)
	case h.Fin() && !w.inMessage():
		w.forget() // the pieces of its header
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

// part takes the next bytes of the payload of the frame under way.
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

// extend adds to the message under way, or begins one with, a piece of frame h
// that is followed by left more bytes of it.
func (w *WebSocket) extend(in *incoming, h wsframe.Header, payload []byte, left int64) {
	if in.op == 0 {
		in.op, in.deflated, in.frames = h.Opcode(), h.RSV() == wsframe.RSV1, 1
	}
	end := h.Fin() && left == 0
	most := w.mostReceived(in.deflated)
	if h.Fin() {
		most = len(in.message) + len(payload) + int(left)
	}
	if !w.reserve(in, len(payload), most) {
		w.refuse(wire.CloseOverCapacity, "no room for incomplete messages now")
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

// reserve makes room for n more bytes of the message, and reports whether the
// budget allows it. The room at most doubles, and never exceeds most, which is
// what the message can become.
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

// wholeCharacters returns how many leading bytes of p are whole characters.
// ok is false as soon as the bytes after them cannot become one.
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
