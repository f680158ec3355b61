package transport

import (
	"slices"
	"time"

	"github.com/ikornaselur/notiflux/internal/wire"
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

	// Owned by the loop. Going out:
	out     []byte        // control frames being written, the part not taken yet
	pending []byte        // what comes after them: the newest pong or, once closing, the farewell and the close frame
	pinged  time.Duration // when the last ping became due
	ping    bool          // a ping is due
	held    bool          // the application was busy, and bytes wait to be offered again
}

// NewWebSocket returns the state machine of a connection that was upgraded at
// the time now. cfg stays the caller's, and shared.
func NewWebSocket(cfg *Config, sock Socket, now time.Duration) *WebSocket {
	cfg.Stats.opened()
	w := &WebSocket{connection: connection{cfg: cfg, sock: sock}, heard: now, pinged: now}
	sock.Arm(w.nextTick())
	return w
}

// Read takes the bytes p that came from the client, in order, and returns how
// many it took. It takes fewer than all of them only while the application is
// busy and a message is next: the rest is offered again after
// [Socket.Resume], before anything else. Once a close was begun everything is
// taken and ignored. What it takes of p is overwritten.
func (w *WebSocket) Read(p []byte, now time.Duration) int {
	w.heard, w.held = now, false
	for rest := p; len(rest) > 0 && w.phase == open; {
		if w.app.Busy() && w.dataNext(rest[0]) {
			w.held = true
			return len(p) - len(rest)
		}
		rest = rest[w.step(rest, now):]
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
	if w.collect(); len(w.out) > 0 {
		w.writing = own
		return w.out
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

// Wrote says how many bytes of the last Next were taken; the loop then asks
// Next for more.
func (w *WebSocket) Wrote(n int) {
	switch w.writing {
	case application:
		w.app.Wrote(n)
	case own:
		w.out = w.out[n:]
		if len(w.out) == 0 && w.phase == finishing {
			w.linger()
		}
	}
	w.writing = nothing
}

// Gone says that the socket is closed. Whatever follows the first call does
// nothing.
func (w *WebSocket) Gone() {
	w.forget()
	w.out, w.pending = nil, nil
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
// finished, farewell follows, then a close frame with this code and reason,
// then the connection ends. farewell is whole frames, nil for none, and is not
// changed. Only the first close counts.
func (w *WebSocket) Close(farewell []byte, code wire.CloseCode, reason string) {
	w.close(code, wire.AppendClose(slices.Clip(farewell), code, reason))
}
