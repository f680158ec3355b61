package transport

import (
	"cmp"
	"slices"
	"time"

	"github.com/ikornaselur/notiflux/internal/wire"
)

// A Stream is the server's side of a response that goes on until somebody ends
// it: server-sent events, or lines of JSON. What an application calls a frame
// is an event, or a line. It is not safe for concurrent use: all methods are
// called by the loop that owns the connection, first of all Serve.
type Stream struct {
	connection

	// Owned by the loop.
	out  []byte        // what is not the application's, and not taken yet: head, heartbeat or goodbye; not to be changed, it may be shared
	beat time.Duration // when the last heartbeat became due
}

// NewStream returns the state machine of a response whose request was answered
// at the time now. head is what is to be written before anything else, as
// [TakeOver] returns it; it is not changed. cfg stays the caller's, and shared.
func NewStream(cfg *Config, sock Socket, head []byte, now time.Duration) *Stream {
	cfg.Stats.opened()
	s := &Stream{connection: connection{cfg: cfg, sock: sock}, out: head, beat: now}
	sock.Arm(s.heartbeatDue())
	sock.Dirty()
	return s
}

// Read takes what came from the client and ignores it: a stream goes one way.
func (s *Stream) Read(p []byte, _ time.Duration) int { return len(p) }

// ReadEnd says that the client ended its sending side. It is called once, and
// Read is not called after it. A client that went looks like that: browsers and
// curl close both sides. One that only half closed could still read, but to wait
// for a failed write would keep every client that went until the kernel gives
// up on it.
func (s *Stream) ReadEnd() { s.readEnd(wire.CloseNormal) }

// Next returns what is to be written now, nil if there is nothing. It stays
// valid and unchanged until Wrote.
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
	if s.phase != open { // the application closed instead
		return s.Next()
	}
	return nil
}

// Wrote says how many bytes of the last Next were taken; the loop then asks
// Next for more.
func (s *Stream) Wrote(n int) {
	switch s.writing {
	case application:
		s.app.Wrote(n)
	case own:
		if s.out = s.out[n:]; len(s.out) == 0 {
			s.out = nil // an empty slice would keep the head alive
		}
	}
	s.writing = nothing
}

// Tick does what time asks for: heartbeats, and the end of a client that takes
// too long to go. It returns when it wants to be called next. [Socket.Arm] may
// ask for an earlier time, also during the call.
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

// Gone says that the socket is closed. Whatever follows the first call does
// nothing.
func (s *Stream) Gone() {
	s.out = nil
	s.connection.Gone()
}

// Close begins the end: the application's frame under way, if any, is
// finished, goodbye follows, then the connection ends. goodbye is whole
// frames, nil for none, and is not changed. code is only counted, and reason
// not told: a stream has no words for them but the goodbye. Only the first
// close counts.
func (s *Stream) Close(goodbye []byte, code wire.CloseCode, _ string) {
	if s.begin(code) {
		s.out = slices.Concat(s.out, goodbye)
	}
}

// heartbeat has the heartbeat written, unless something is on its way already.
func (s *Stream) heartbeat(now time.Duration) {
	s.beat = now
	if len(s.out) == 0 && len(s.cfg.Heartbeat) > 0 {
		s.out = s.cfg.Heartbeat
		s.sock.Dirty()
	}
}

func (s *Stream) heartbeatDue() time.Duration {
	return after(s.beat, cmp.Or(s.cfg.HeartbeatEvery, DefaultHeartbeatEvery))
}
