package transport

import (
	"cmp"
	"time"
	"unicode/utf8"

	"github.com/ikornaselur/notiflux/internal/wire"
	"github.com/ikornaselur/notiflux/internal/wsframe"
)

// allowControl counts a control frame against the rate limit and reports whether it is
// within: a rate with a burst, by a generic cell rate algorithm with one field of state.
func (w *WebSocket) allowControl(now time.Duration) bool {
	rate := cmp.Or(w.cfg.ControlRate, DefaultControlRate)
	if rate < 0 {
		return true
	}
	every := time.Second / time.Duration(rate)
	burst := every * time.Duration(cmp.Or(w.cfg.ControlBurst, DefaultControlBurst))
	w.controlsDue = max(w.controlsDue, now) + every
	return w.controlsDue <= now+burst
}

// endControl acts on a whole control frame.
func (w *WebSocket) endControl(op wsframe.Opcode, payload []byte) {
	if !w.inMessage() {
		w.forget() // the pieces of this frame
	}
	switch op {
	case wsframe.Ping:
		w.pong(payload)
	case wsframe.Close:
		w.closedByPeer(payload)
	}
}

const (
	// maxPongs is how many pongs may wait to be written.
	maxPongs = 100
	// pongBytes is the most that a pong takes.
	pongBytes = 2 + wsframe.MaxControl
)

// pong queues the answer to a ping. If too many wait, or there is no room for more, it
// takes the place of the last one: of several pings that were not answered, the newest
// is enough (RFC 6455 section 5.5.3).
func (w *WebSocket) pong(payload []byte) {
	full := int(w.pongs)+int(w.outPongs) >= maxPongs
	switch {
	case w.pongs == 0: // The first is not charged.
		w.pongs, w.newest = 1, 0
	case full || !w.cfg.Unread.take(pongBytes):
		w.pending = w.pending[:w.newest]
	default:
		w.pongs, w.newest = w.pongs+1, uint16(len(w.pending))
	}
	w.pending = wsframe.AppendFrame(w.pending, wsframe.Pong, payload)
	w.sock.Dirty()
}

// releasePongs gives back what n pongs were charged for; there are none then.
func (w *WebSocket) releasePongs(n *uint8) {
	if *n > 1 {
		w.cfg.Unread.Release((int(*n) - 1) * pongBytes)
	}
	*n = 0
}

// closedByPeer answers a close frame with the same code.
func (w *WebSocket) closedByPeer(payload []byte) {
	code, reason := wsframe.ParseClose(payload)
	switch {
	case len(payload) == 0:
		w.close(wire.CloseNormal, wsframe.AppendFrame(nil, wsframe.Close, nil))
	case len(payload) == 1:
		w.refuse(wire.CloseProtocol, "a close code has two bytes")
	case !wsframe.MaySend(code):
		w.refuse(wire.CloseProtocol, "this close code is not to be sent")
	case !utf8.Valid(reason):
		w.refuse(wire.CloseInvalidUTF8, "the reason is not UTF-8")
	default:
		w.close(wire.CloseNormal, wsframe.AppendClose(nil, code, ""))
	}
}

// close begins the end, once. last is what is written last, the close frame at
// its end; counted is what it counts as.
func (w *WebSocket) close(counted wire.CloseCode, last []byte) {
	if !w.begin(counted) {
		return
	}
	w.pending, w.ping = append(w.pending, last...), false // Pongs go first.
	w.forget()
	if w.held {
		w.sock.Resume() // what was left is to be ignored, so that the peer's end is seen
	}
}

// collect moves the control frames that wait into out, if it is empty.
func (w *WebSocket) collect() {
	if len(w.out) > 0 {
		return
	}
	w.out, w.outPongs, w.pending, w.pongs = w.pending, w.pongs, nil, 0
	if w.phase == closing {
		w.phase = finishing
	}
	if w.ping {
		w.ping = false
		w.out = wsframe.AppendFrame(w.out, wsframe.Ping, nil)
	}
}
