package transport

import (
	"cmp"
	"time"
	"unicode/utf8"

	"github.com/ikornaselur/notiflux/internal/wire"
	"github.com/ikornaselur/notiflux/internal/wsframe"
)

// allowControl counts a control frame against the rate limit, and reports whether it is
// within the limit. It is a generic cell rate algorithm: a rate with a burst, and one field
// of state.
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

// endControl handles a complete control frame.
func (w *WebSocket) endControl(op wsframe.Opcode, payload []byte) {
	if !w.inMessage() {
		w.forget() // drops the pieces of this frame
	}
	switch op {
	case wsframe.Ping:
		w.control.pong(payload, w.cfg.Unread)
		w.sock.Dirty()
	case wsframe.Close:
		w.closedByPeer(payload)
	}
}

// closedByPeer answers a close frame with the same code.
func (w *WebSocket) closedByPeer(payload []byte) {
	code, reason := wsframe.ParseClose(payload)
	switch {
	case len(payload) == 0:
		w.close(wire.CloseNormal, wsframe.AppendFrame(nil, wsframe.Close, nil))
	case len(payload) == 1:
		w.refuse(wire.CloseProtocol, "a close code must have two bytes")
	case !wsframe.MaySend(code):
		w.refuse(wire.CloseProtocol, "the client's close frame has a code that must not be sent")
	case !utf8.Valid(reason):
		w.refuse(wire.CloseInvalidUTF8, "the reason in the client's close frame is not UTF-8")
	default:
		w.close(wire.CloseNormal, wsframe.AppendClose(nil, code, ""))
	}
}

// close starts closing; only the first call counts. last is written last and ends with the
// close frame. counted is the close code for the statistics.
func (w *WebSocket) close(counted wire.CloseCode, last []byte) {
	if !w.begin(counted) {
		return
	}
	w.control.end(last)
	w.forget()
	if w.held {
		w.sock.Resume() // The remaining input is then read and ignored, so that the peer's end is seen.
	}
}

const (
	// maxPongs is the maximum number of queued pongs.
	maxPongs = 100
	// pongBytes is the maximum size of a pong.
	pongBytes = 2 + wsframe.MaxControl
)

// A controlQueue holds the server's control frames that wait to be written.
type controlQueue struct {
	out      []byte // frames being written, without the bytes already taken
	pending  []byte // frames after those: pongs and, when closing, the goodbye and the close frame
	newest   uint16 // where the newest pong begins in pending
	pongs    uint8  // number of pongs in pending
	outPongs uint8  // number of pongs in out
	ping     bool   // a ping must be sent
}

// pong queues the answer to a ping, and charges it to unread. If too many pongs wait, or
// there is no room, it replaces the last one: after several pings, an answer to the newest
// is enough (RFC 6455 section 5.5.3).
func (q *controlQueue) pong(payload []byte, unread *Budget) {
	full := int(q.pongs)+int(q.outPongs) >= maxPongs
	switch {
	case q.pongs == 0: // The first pong is not charged.
		q.pongs, q.newest = 1, 0
	case full || !unread.take(pongBytes):
		q.pending = q.pending[:q.newest]
	default:
		q.pongs, q.newest = q.pongs+1, uint16(len(q.pending))
	}
	q.pending = wsframe.AppendFrame(q.pending, wsframe.Pong, payload)
}

// end appends last to the queue, and cancels the ping.
func (q *controlQueue) end(last []byte) { q.pending, q.ping = append(q.pending, last...), false }

// next moves the queued frames to out, if out is empty, and returns out.
func (q *controlQueue) next() []byte {
	if len(q.out) > 0 {
		return q.out
	}
	q.out, q.outPongs, q.pending, q.pongs = q.pending, q.pongs, nil, 0
	if q.ping {
		q.ping = false
		q.out = wsframe.AppendFrame(q.out, wsframe.Ping, nil)
	}
	return q.out
}

// wrote removes n bytes from out.
func (q *controlQueue) wrote(n int, unread *Budget) {
	if q.out = q.out[n:]; len(q.out) == 0 {
		releasePongs(&q.outPongs, unread)
		q.out = nil
	}
}

// drop empties the queue.
func (q *controlQueue) drop(unread *Budget) {
	releasePongs(&q.outPongs, unread)
	releasePongs(&q.pongs, unread)
	q.out, q.pending = nil, nil
}

// releasePongs releases the charge for n pongs, and sets n to 0.
func releasePongs(n *uint8, unread *Budget) {
	if *n > 1 {
		unread.Release((int(*n) - 1) * pongBytes)
	}
	*n = 0
}
