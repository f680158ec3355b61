package main

import (
	"time"

	"github.com/ikornaselur/notiflux/internal/transport"
	"github.com/ikornaselur/notiflux/internal/wire"
	"github.com/ikornaselur/notiflux/internal/wsframe"
)

// maxWaiting is the number of unread bytes after which the server stops reading from a client.
const maxWaiting = 1 << 20

// An echo is the [transport.App] of one connection. All its fields are owned by
// the loop.
type echo struct {
	conn     *transport.WebSocket
	deflater *wire.Deflater // nil: compression was not agreed on

	frames  [][]byte // to be written
	waiting int      // bytes of them
	cut     bool     // the first one is under way
}

// Receive takes a message, and queues it.
func (e *echo) Receive(message []byte, binary bool) {
	op := wsframe.Text
	if binary {
		op = wsframe.Binary
	}
	frame := wsframe.AppendFrame(nil, op, message)
	if e.deflater != nil {
		frame = e.deflater.Deflate(frame)
	}
	e.frames = append(e.frames, frame)
	e.waiting += len(frame)
	e.conn.Dirty()
}

// Busy reports whether too many bytes are waiting to be written.
func (e *echo) Busy() bool { return e.waiting > maxWaiting }

// Next returns the next frame.
func (e *echo) Next() []byte {
	if len(e.frames) == 0 {
		return nil
	}
	return e.frames[0]
}

// Answers returns the next frame, because all frames of an echo are answers.
func (e *echo) Answers() []byte { return e.Next() }

// Rest returns the rest of a partly written frame.
func (e *echo) Rest() []byte {
	if !e.cut {
		return nil
	}
	return e.frames[0]
}

// Wrote counts n bytes of the first frame as written.
func (e *echo) Wrote(n int) {
	if n == 0 {
		return
	}
	busy := e.Busy()
	e.waiting -= n
	e.frames[0], e.cut = e.frames[0][n:], true
	if len(e.frames[0]) == 0 {
		e.frames[0], e.frames, e.cut = nil, e.frames[1:], false
	}
	if busy && !e.Busy() {
		e.conn.Resume()
	}
}

// Tick has nothing to do.
func (e *echo) Tick(time.Duration) {}

// Stuck ends a connection whose client reads nothing.
func (e *echo) Stuck() { e.conn.Close(nil, wire.CloseTooSlow, "nothing was read for too long") }

// Gone drops unsent frames.
func (e *echo) Gone() { e.frames = nil }
