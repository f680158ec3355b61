package session

import (
	"math"
	"time"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// A Conn is the connection that carries a session.
type Conn interface {
	Dirty()               // says that there is something to write: the connection calls Next soon
	Resume()              // says that the session is no longer Busy
	Arm(at time.Duration) // asks for a Tick at that time of the loop or earlier
	Post(f func()) bool   // calls f on the loop, unless the connection is gone; safe for concurrent use
	Blocked() bool        // reports, during Tick, whether the socket was offered bytes and accepts none now
	WillClose()           // says that the session closes once everything is delivered, which leaves the client less time to read

	// Close finishes the current frame, writes goodbye (whole frames, or nil), sends the
	// code and the reason, and closes the connection.
	Close(goodbye []byte, code wire.CloseCode, reason string)

	Remote() string // returns the client's address, for the log
}

// A Session is one connected client. The loop of its group owns all fields.
type Session struct {
	// Immutable after Open.
	group   *Group
	conn    Conn
	dialect Dialect

	extra      *extra // state that only some dialects need; nil until one does
	pendingEnd *End   // how to end once everything is delivered; nil: do not end

	subs subscriptions
	out  outbox

	allowedFrom time.Duration // see Allow

	index   int32 // in Group.sessions
	format  uint8 // index in Group.formats
	waiting bool  // a command waits for its token or for the broker
	closing bool  // End was called
	gone    bool
}

// Open begins the session of a client of endpoint e on conn.
func (g *Group) Open(conn Conn, e *Endpoint, r Request) *Session {
	s := &Session{group: g, conn: conn, format: g.formatOf(e, r), allowedFrom: g.now() - g.burst}
	s.index = int32(len(g.sessions))
	g.sessions = append(g.sessions, s)
	g.config.Stats.Sessions.Add(1)
	if g.draining { // The client connected after Drain.
		conn.Post(s.drain)
	}
	if r.Credential != (Credential{}) {
		x := s.ensureExtra()
		x.claims, x.refusal = r.Credential.Claims, r.Credential.Err
	}
	if e.isStream() {
		s.ensureExtra().cursor = new(streamCursor)
		r.Subscribed = s.extra.cursor.begin(s, r)
	}
	s.dialect = e.Open(s, r)
	_, writer := s.dialect.(CursorWriter)
	s.out.cursors = writer && (len(r.Subscribed) > 1 || len(r.Subscribed) == 1 && r.Subscribed[0].Topic.IsPattern())
	if s.closing { // The dialect has already ended the session.
		s.closing = false
		s.End(*s.pendingEnd)
	}
	if _, ok := s.dialect.(Ticker); ok {
		s.ensureExtra().ticks = true
	}
	s.subs.rotate(s.extra.name())
	// The token may have expired, or may have been revoked, since the caller verified it.
	if e.isStream() && !s.closing {
		if now := g.config.Now(); r.Claims.CheckUntil(now) != nil {
			g.expireWith(s.subs.all[0], now)
		}
	}
	if e.isStream() && g.config.Revoked != nil && !s.closing {
		g.EndSubscriptions(s, func(claims *auth.Claims, name pubsub.Topic) bool { return g.revoked(claims, name) != nil })
	}
	return s
}

// Receive handles one message of the client. Call it only while the session is not Busy.
func (s *Session) Receive(message []byte, binary bool) { s.dialect.Receive(s, message, binary) }

// Busy reports whether the session accepts no message now, because a command waits for its
// token or the broker, or because the client does not read its answers.
func (s *Session) Busy() bool {
	return s.waiting || len(s.out.answers) > maxAnswers || s.extra.hasLarge()
}

// Next returns the bytes to write next: whole frames, or nil. They are valid until Wrote.
// Call it only while Rest is nil.
func (s *Session) Next() []byte {
	w := &s.group.write
	w.reset()
	return w.next(s)
}

// Answers returns the queued answers: whole frames, or nil. It replaces Next once the
// connection is closing. It includes a large answer, even one that was partly written.
func (s *Session) Answers() []byte {
	w := &s.group.write
	w.reset()
	if s.extra.hasLarge() {
		return w.nextOfLargeAnswer(s)
	}
	return s.out.answers
}

// Rest returns the unwritten part of a frame that was partly written, or nil between
// frames. The next call of Wrote counts its bytes.
func (s *Session) Rest() []byte {
	s.group.write.reset()
	if len(s.out.rest) > 0 {
		return s.out.rest
	}
	if s.out.answerBegun {
		return s.out.answers
	}
	return nil
}

// Wrote reports that the socket took n bytes of the last result of Next, Answers or Rest.
func (s *Session) Wrote(n int) { s.group.write.wrote(s, n) }

// Tick runs the timers of the dialect, and ends the session if its client is too slow.
func (s *Session) Tick(now time.Duration) {
	if s.extra != nil && s.extra.ticks {
		s.dialect.(Ticker).Tick(s, now)
	}
	reportPositions(s, now)
	s.checkLag()
}

// Arm asks for a call of [Ticker.Tick] at a time of the loop's clock or earlier.
func (s *Session) Arm(at time.Duration) { s.conn.Arm(at) }

// Limits returns the limits of all sessions.
func (s *Session) Limits() Limits { return s.group.config.Limits }

// Allow takes one command from the rate limit, and from that of the client's address. If a limit
// is exceeded, Allow ends the session and returns false.
func (s *Session) Allow() bool {
	s.group.config.Stats.Commands.Add(1)
	now := s.group.now()
	s.allowedFrom = max(s.allowedFrom, now-s.group.burst) + s.group.interval
	if ofAddress := s.group.config.AddressCommand; s.allowedFrom > now || ofAddress != nil && ofAddress(s.conn) != nil {
		s.End(endTooMany)
		return false
	}
	return true
}

// NameConnection gives the connection a name, so that a publisher can exclude it, and
// returns the name. Further calls return the same name.
func (s *Session) NameConnection() pubsub.Connection {
	x := s.ensureExtra()
	if x.connection == 0 {
		x.connection = pubsub.Connection(s.group.config.Random.Uint64N(math.MaxUint64) + 1)
	}
	return x.connection
}

// Credential returns the current credential of the connection, for commands without a
// token. If the connection has none either, it is that of clients without a token, which is
// zero if no topics are public.
func (s *Session) Credential() Credential {
	c := s.extra.token()
	if c == (Credential{}) {
		return Credential{Claims: s.group.config.Verifier.Anonymous()}
	}
	if c.Claims != nil && c.Err == nil {
		if c.Err = s.group.config.Verifier.Check(c.Claims); c.Err == nil {
			c = use(s, c.Claims)
		}
	}
	return c
}

// Authenticate sets the credential of the connection.
func (s *Session) Authenticate(claims *auth.Claims) {
	x := s.ensureExtra()
	x.claims, x.refusal = claims, nil
}

// Send queues whole frames, ahead of messages of topics. It copies them.
func (s *Session) Send(frames []byte) {
	s.out.setAnswers(s, append(s.out.answers, frames...))
	s.conn.Dirty()
}

// SendText queues a WebSocket text message, ahead of messages of topics.
func (s *Session) SendText(text []byte) {
	s.out.setAnswers(s, wire.AppendText(s.out.answers, text))
	s.conn.Dirty()
}
