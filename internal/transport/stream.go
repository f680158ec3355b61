package transport

import (
	"cmp"
	"slices"
	"time"

	"github.com/ikornaselur/notiflux/internal/wire"
)

// A Stream is the server's side of a response without end: server-sent events, or NDJSON.
// A frame of the application is an event or a line. It is not safe for concurrent
// use: the loop that owns the connection calls all methods, and Serve first.
type Stream struct {
	connection

	// Owned by the loop.
	out      []byte        // bytes that are not the application's and not yet taken: head, heartbeat or goodbye; may be shared, so they must not change
	lastBeat time.Duration // when the last heartbeat was due
}

// NewStream returns the state machine of a response to a request that was answered at the
// time now. head is written first, as returned by [TakeOver]; NewStream does not change it.
// cfg is shared with the caller.
func NewStream(cfg *Config, sock Socket, head []byte, now time.Duration) *Stream {
	cfg.Stats.opened()
	s := &Stream{connection: connection{cfg: cfg, sock: sock}, out: head, lastBeat: now}
	sock.Arm(s.heartbeatDue())
	sock.Dirty()
	return s
}

// Read ignores bytes from the client: a stream goes only one way.
func (s *Stream) Read(p []byte, _ time.Duration) int { return len(p) }

// ReadEnd says that the client ended its sending side. It is called once, and Read is not
// called after it. ReadEnd drops the stream, because browsers and curl close both sides
// when they leave. A client that only half-closed could still read. But waiting for a
// failed write would keep every client that left until the kernel gives up on it.
func (s *Stream) ReadEnd() { s.readEnd(wire.CloseNormal) }

// Next returns the bytes to write now, or nil. They stay valid and unchanged until Wrote.
func (s *Stream) Next() []byte {
	s.writing = nothing
	if s.phase >= lingering {
		return nil
	}
	if rest := s.app.Rest(); len(rest) > 0 {
		s.writing = application
		return rest
	}
	if len(s.out) > 0 {
		s.writing = own
		return s.out
	}
	if s.phase != open {
		s.linger()
		return nil
	}
	if p := s.app.Next(); len(p) > 0 {
		s.writing = application
		return p
	}
	if s.phase != open { // The application closed the connection instead.
		return s.Next()
	}
	return nil
}

// Wrote says how many bytes of the last Next were taken. The loop then calls Next again.
func (s *Stream) Wrote(n int) {
	switch s.writing {
	case application:
		s.app.Wrote(n)
	case own:
		if s.out = s.out[n:]; len(s.out) == 0 {
			s.out = nil // An empty slice would keep the head in memory.
		}
	}
	s.writing = nothing
}

// Tick sends heartbeats and drops a client that takes too long to leave. It returns the
// time of the next call. [Socket.Arm] may ask for an earlier time, even during the call.
func (s *Stream) Tick(now time.Duration) (next time.Duration) {
	if s.phase == open {
		s.checkStall()
	}
	if s.phase == open {
		if now >= s.heartbeatDue() {
			s.heartbeat(now)
		}
		s.app.Tick(now)
	}
	if s.phase == open {
		return s.heartbeatDue()
	}
	return s.checkEnd(now)
}

// Gone says that the socket is closed. Calls after the first one do nothing.
func (s *Stream) Gone() {
	s.out = nil
	s.connection.Gone()
}

// Close starts closing: it finishes the application's frame in progress, if any, writes
// goodbye, and ends the connection. goodbye is whole frames or nil; Close does not change
// it. code is only counted, and the reason is ignored, because a stream cannot express them
// except in the goodbye. Only the first close counts.
func (s *Stream) Close(goodbye []byte, code wire.CloseCode, _ string) {
	if s.begin(code) {
		s.out = slices.Concat(s.out, goodbye)
	}
}

// heartbeat queues the heartbeat, unless other bytes are queued.
func (s *Stream) heartbeat(now time.Duration) {
	s.lastBeat = now
	if len(s.out) == 0 && len(s.cfg.Heartbeat) > 0 {
		s.out = s.cfg.Heartbeat
		s.sock.Dirty()
	}
}

func (s *Stream) heartbeatDue() time.Duration {
	return after(s.lastBeat, cmp.Or(s.cfg.HeartbeatEvery, DefaultHeartbeatEvery))
}
