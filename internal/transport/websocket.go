package transport

import (
	"slices"
	"time"

	"github.com/ikornaselur/notiflux/internal/wire"
	"github.com/ikornaselur/notiflux/internal/wsframe"
)

// A WebSocket is the server's side of one open connection, after its handshake. It is not
// safe for concurrent use: the loop that owns the connection calls all methods, and Serve
// first.
type WebSocket struct {
	connection

	// Owned by the loop. Incoming:
	in          *incoming     // incomplete input; nil: none
	lastRead    time.Duration // when the last bytes came
	controlsDue time.Duration // when the last control frame would have come if all had come at the allowed rate

	inflateAgain time.Duration // no message is accepted before this time, because too much was inflated
	work         int32         // work done by the current Read, roughly in bytes
	held         bool          // bytes wait to be offered again

	// Owned by the loop. Outgoing:
	control controlQueue
	pinged  time.Duration // when the last ping was due
}

// NewWebSocket returns the state machine of a connection that was upgraded at the time now.
// cfg is shared with the caller.
func NewWebSocket(cfg *Config, sock Socket, now time.Duration) *WebSocket {
	cfg.Stats.opened()
	w := &WebSocket{connection: connection{cfg: cfg, sock: sock}, lastRead: now, pinged: now, inflateAgain: -Never}
	sock.Arm(w.nextTick())
	return w
}

const (
	// readWork is the amount of work after which Read leaves the rest for later, so that
	// other connections of the loop get their turn.
	readWork = 64 << 10
	// frameWork is the work that a frame counts as, in addition to its bytes.
	frameWork = 256
)

// Read processes the bytes p from the client, in order, and returns how many it took. It
// stops before a message if the application is busy or the client has exceeded its
// allowance of inflated bytes. The loop offers the rest again after [Socket.Resume], before
// new bytes. Read also stops after much work, and then calls Resume itself. Once the
// connection is closing, Read takes and ignores everything. It overwrites the bytes that it
// takes.
func (w *WebSocket) Read(p []byte, now time.Duration) int {
	w.lastRead, w.held, w.work = now, false, 0
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

// ReadEnd says that the client ended its sending side. It is called once, and Read is not
// called after it.
func (w *WebSocket) ReadEnd() {
	w.readEnd(wire.CloseAbnormal)
}

// Next returns the bytes to write now, or nil. They stay valid and unchanged until Wrote.
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
	if w.phase == finishing { // The socket took the close frame and is not blocked.
		w.linger()
		return nil
	}
	if p := w.app.Next(); len(p) > 0 {
		w.writing = application
		return p
	}
	if w.phase != open { // The application closed the connection instead.
		return w.Next()
	}
	return nil
}

// nextControl returns the control frames to write now.
func (w *WebSocket) nextControl() []byte {
	if w.phase == closing && len(w.control.out) == 0 {
		w.phase = finishing // The close frame is among them.
	}
	return w.control.next()
}

// Wrote says how many bytes of the last Next were taken. The loop then calls Next again.
func (w *WebSocket) Wrote(n int) {
	switch w.writing {
	case application:
		w.app.Wrote(n)
	case own:
		w.control.wrote(n, w.cfg.Unread)
	}
	w.writing = nothing
}

// Gone says that the socket is closed. Calls after the first one do nothing.
func (w *WebSocket) Gone() {
	w.forget()
	w.control.drop(w.cfg.Unread)
	w.connection.Gone()
}

// refuse closes a connection because of its client's behaviour, and logs that.
func (w *WebSocket) refuse(code wire.CloseCode, reason string) {
	if w.cfg.Log != nil && w.phase == open {
		w.cfg.Log.Debug("closing connection", "close", code, "reason", reason, "remote", w.Remote())
	}
	w.Close(nil, code, reason)
}

// Close starts closing. It finishes the application's frame in progress, if any. Then it
// writes the queued answers and pongs, goodbye, and a close frame with this code and
// reason, and ends the connection. goodbye is whole frames or nil; Close does not change
// it. Only the first close counts.
func (w *WebSocket) Close(goodbye []byte, code wire.CloseCode, reason string) {
	w.close(code, wsframe.AppendClose(slices.Clip(goodbye), uint16(code), reason))
}
