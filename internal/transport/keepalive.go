package transport

import (
	"cmp"
	"time"

	"github.com/ikornaselur/notiflux/internal/wire"
)

// Tick sends pings and ends clients that exceed a time limit. It returns the time of the
// next call. [Socket.Arm] may ask for an earlier time, even during the call.
func (w *WebSocket) Tick(now time.Duration) (next time.Duration) {
	if w.phase == open {
		w.checkStall()
	}
	if w.phase == open {
		w.checkLife(now)
	}
	if w.phase == open {
		w.app.Tick(now)
	}
	if w.phase == open {
		return w.nextTick()
	}
	return w.checkEnd(now)
}

// maxLate is how late a tick may be before the loop counts as having been stuck.
const maxLate = 2 * time.Second

// checkLife closes a client that is silent or too slow to finish a message, and pings the
// others.
func (w *WebSocket) checkLife(now time.Duration) {
	// While the loop was stuck, it read nothing and sent no ping. That time does not count
	// against the client.
	if late := now - w.nextTick(); late > maxLate {
		w.lastRead += late
		if w.in != nil {
			w.in.began += late
		}
	}
	if w.held { // Bytes that were not read do not count against the client.
		if w.paused() && now >= w.inflateAgain {
			w.sock.Resume()
		}
		w.lastRead = now
		if w.in != nil {
			w.in.began = now
		}
	}
	switch {
	case now >= w.messageDeadline():
		w.refuse(wire.ClosePolicy, "the message was not finished in time")
	case now >= w.silenceDeadline():
		w.refuse(wire.CloseSilent, "nothing was received within the ping timeout")
	case now >= w.pingDue():
		w.pinged, w.control.ping = now, true
		w.sock.Dirty()
	}
}

func (w *WebSocket) nextTick() time.Duration {
	next := min(w.messageDeadline(), w.silenceDeadline(), w.pingDue())
	if w.paused() {
		next = min(next, w.inflateAgain)
	}
	return next
}

// paused reports whether bytes wait until the client may inflate more. Only Tick, which
// sets lastRead, changes that.
func (w *WebSocket) paused() bool { return w.held && w.lastRead < w.inflateAgain }

func (w *WebSocket) messageDeadline() time.Duration {
	if w.in == nil {
		return Never
	}
	return after(w.in.began, cmp.Or(w.cfg.MessageTimeout, DefaultMessageTimeout))
}

func (w *WebSocket) silenceDeadline() time.Duration {
	return after(w.lastRead, cmp.Or(w.cfg.PingTimeout, DefaultPingTimeout))
}

func (w *WebSocket) pingDue() time.Duration {
	return after(w.pinged, cmp.Or(w.cfg.PingEvery, DefaultPingEvery))
}
