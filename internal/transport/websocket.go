package transport

import (
	"time"

	"github.com/ikornaselur/notiflux/internal/wire"
)

// A WebSocket is the server's side of one open connection, after its
// handshake. It is not safe for concurrent use: all methods are called by the
// loop that owns the connection, first of all Serve.
type WebSocket struct {
	// Immutable after Serve.
	cfg  *Config
	sock Socket
	app  App

	// Owned by the loop. Coming in:
	in          *incoming     // what is not whole yet; nil: nothing
	heard       time.Duration // when the last bytes came
	controlsDue time.Duration // when the last control frame would have come, had all come at the rate allowed

	// Owned by the loop. Going out:
	out      []byte        // control frames being written, the part not taken yet
	pending  []byte        // the control frame after them: the newest pong or, once closing, the close frame
	pinged   time.Duration // when the last ping became due
	deadline time.Duration // of the phase, once it is not open; 0: set by the next tick
	phase    phase
	writing  source // of what Next returned last
	ping     bool   // a ping is due
	held     bool   // the application was busy, and bytes wait to be offered again
	ended    bool   // the peer ended its sending side
}

// A phase is how far a connection is on its way from open to gone. It never
// goes back.
type phase uint8

const (
	open      phase = iota
	closing         // the close frame is pending
	finishing       // the close frame is the last of out
	lingering       // the close frame is written; waiting for the peer's end
	dropped         // the loop was told to close the socket
	gone
)

type source uint8

const (
	nothing source = iota
	controls
	application
)

// NewWebSocket returns the state machine of a connection that was upgraded at
// the time now. cfg stays the caller's, and shared.
func NewWebSocket(cfg *Config, sock Socket, now time.Duration) *WebSocket {
	cfg.Stats.opened()
	w := &WebSocket{cfg: cfg, sock: sock, heard: now, pinged: now}
	sock.Arm(w.nextTick())
	return w
}

// Serve sets whom the messages are for.
func (w *WebSocket) Serve(app App) {
	w.app = app
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
	w.ended = true
	if w.phase == closing || w.phase == finishing {
		return // it may still read why: dropped when the close frame is written, or in time
	}
	w.drop()
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
		w.writing = controls
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
	case controls:
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
	if w.phase == gone {
		return
	}
	w.abandon(gone)
	w.out, w.pending, w.writing = nil, nil, nothing
	w.app.Gone()
}

// Close begins the end: the application's frame under way, if any, is
// finished, a close frame with this code and reason follows, then the
// connection ends. Only the first close counts.
func (w *WebSocket) Close(code wire.CloseCode, reason string) {
	w.close(code, wire.AppendClose(nil, code, reason))
}

// Closing reports whether the end has begun: nothing is received any more, and
// nothing new is written.
func (w *WebSocket) Closing() bool { return w.phase != open }

// Dirty says that the application has something to write.
func (w *WebSocket) Dirty() { w.sock.Dirty() }

// Resume says that the application is not busy any more.
func (w *WebSocket) Resume() { w.sock.Resume() }

// Arm asks for a tick, and so for [App.Tick], at that time or earlier.
func (w *WebSocket) Arm(at time.Duration) { w.sock.Arm(at) }
