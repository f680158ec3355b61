package transport

import (
	"slices"
	"time"

	"github.com/ikornaselur/notiflux/internal/wire"
	"github.com/ikornaselur/notiflux/internal/wsframe"
)

// A WebSocket is the server's side of one open connection, after its
// handshake. It is not safe for concurrent use: all methods are called by the
// loop that owns the connection, first of all Serve.
type WebSocket struct {
	connection

	// Owned by the loop. Coming in:
	in          *incoming     // what is not whole yet; nil: nothing
	heard       time.Duration // when the last bytes came
	controlsDue time.Duration // when the last control frame would have come, had all come at the rate allowed

	inflateAgain time.Duration // until then no message is taken: too much was inflated
	work         int32         // done by Read, in about bytes
	held         bool          // bytes wait to be offered again

	// Owned by the loop. Going out:
	control controlQueue
	pinged  time.Duration // when the last ping became due
}

// NewWebSocket returns the state machine of a connection that was upgraded at
// the time now. cfg stays the caller's, and shared.
func NewWebSocket(cfg *Config, sock Socket, now time.Duration) *WebSocket {
	cfg.Stats.opened()
	w := &WebSocket{connection: connection{cfg: cfg, sock: sock}, heard: now, pinged: now, inflateAgain: -Never}
	sock.Arm(w.nextTick())
	return w
}

const (
	// readWork is after how much work Read leaves the rest for later, so that other
	// connections of the loop have their turn.
	readWork = 64 << 10
	// frameWork is what a frame counts for besides its bytes.
	frameWork = 256
)

// Read takes the bytes p that came from the client, in order, and returns how
// many it took. It takes fewer than all of them when a message is next and the
// application is busy, or the client has had more inflated than it may: the rest is
// offered again after [Socket.Resume], before anything else. It also leaves some after
// much work, and then calls Resume itself. Once a close was begun everything is taken
// and ignored. What it takes of p is overwritten.
func (w *WebSocket) Read(p []byte, now time.Duration) int {
	w.heard, w.held, w.work = now, false, 0
	for rest := p; len(rest) > 0 && w.phase == open; {
		switch {
		case (w.app.Busy() || now < w.inflateAgain) && w.dataNext(rest[0]):
			if !w.mayFollow(rest) {
				return len(p)
			}
			w.held = true
			if now < w.inflateAgain {
				w.sock.Arm(w.inflateAgain)
			}
			return len(p) - len(rest)
		case w.work >= readWork:
			w.sock.Resume()
			return len(p) - len(rest)
		}
		n := w.step(rest, now)
		w.work += int32(frameWork + n)
		rest = rest[n:]
	}
	return len(p)
}

// ReadEnd says that the client ended its sending side. It is called once, and
// Read is not called after it.
func (w *WebSocket) ReadEnd() {
	w.readEnd(CloseAbnormal)
}

// Next returns what is to be written now, nil if there is nothing. It stays
// valid and unchanged until Wrote.
func (w *WebSocket) Next() []byte {
	w.writing = nothing
	if w.phase >= lingering {
		return nil
	}
	if rest := w.app.Rest(); len(rest) > 0 {
		w.writing = application
		return rest
	}
	if w.phase == closing && len(w.control.out) == 0 {
		if p := w.app.Answers(); len(p) > 0 {
			w.writing = application
			return p
		}
	}
	if p := w.nextControl(); len(p) > 0 {
		w.writing = own
		return p
	}
	if w.phase == finishing { // The socket took the close frame, and is not blocked.
		w.linger()
		return nil
	}
	if p := w.app.Next(); len(p) > 0 {
		w.writing = application
		return p
	}
	if w.phase != open { // the application closed instead
		return w.Next()
	}
	return nil
}

// nextControl returns the control frames that are to be written now.
func (w *WebSocket) nextControl() []byte {
	if w.phase == closing && len(w.control.out) == 0 {
		w.phase = finishing // The close frame is among them.
	}
	return w.control.next()
}

// Wrote says how many bytes of the last Next were taken; the loop then asks
// Next for more.
func (w *WebSocket) Wrote(n int) {
	switch w.writing {
	case application:
		w.app.Wrote(n)
	case own:
		w.control.wrote(n, w.cfg.Unread)
	}
	w.writing = nothing
}

// Gone says that the socket is closed. Whatever follows the first call does
// nothing.
func (w *WebSocket) Gone() {
	w.forget()
	w.control.drop(w.cfg.Unread)
	w.connection.Gone()
}

// refuse ends a connection for what its client did, and logs that.
func (w *WebSocket) refuse(code wire.CloseCode, reason string) {
	if w.cfg.Log != nil && w.phase == open {
		w.cfg.Log.Debug("closing connection", "close", code, "reason", reason, "remote", w.Remote())
	}
	w.Close(nil, code, reason)
}

// Close begins the end: the application's frame under way, if any, is
// finished, its answers and the pongs that wait follow, then goodbye, then a close
// frame with this code and reason, then the connection ends. goodbye is whole
// frames, nil for none, and is not changed. Only the first close counts.
func (w *WebSocket) Close(goodbye []byte, code wire.CloseCode, reason string) {
	w.close(code, wsframe.AppendClose(slices.Clip(goodbye), uint16(code), reason))
}
