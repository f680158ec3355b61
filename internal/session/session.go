package session

import (
	"context"
	"slices"
	"time"

	"github.com/ikornaselur/notiflux"
	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/topic"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// A Conn is the connection that carries a session.
type Conn interface {
	Dirty()               // says that there is something to write: the connection calls Next soon
	Resume()              // says that the session is no longer Busy
	Arm(at time.Duration) // asks for a Tick at that time of the loop, or earlier
	Post(f func()) bool   // calls f on the loop unless the connection is gone; safe for concurrent use
	Blocked() bool        // reports, in Tick, whether the socket was offered bytes and takes none now
	WillClose()           // says that the session closes once everything is delivered, so the client gets less time to read

	// Close finishes the current frame, writes farewell (whole frames, or nil), sends
	// the code and the reason, and closes the connection.
	Close(farewell []byte, code wire.CloseCode, reason string)

	Remote() string // returns the address of the client, for the log
}

// A Session is one connected client. The loop of its group owns all fields.
type Session struct {
	// Immutable after New.
	group    *Group
	conn     Conn
	json     *jsonState   // nil unless the dialect is JSON
	stream   *streamState // nil unless the dialect is SSE or NDJSON
	encoding notiflux.Encoding

	answerBegun     bool // answers begins in the middle of a frame
	ownRest         bool // rest is the session's own memory, not part of a shared frame
	waiting         bool // a command waits for its token or for the broker
	behind          bool // the socket did not take all bytes of the last write
	hintLogged      bool // logIgnored was called before
	closing         bool // closeWith was called
	gone            bool
	unauthenticated bool // unread bytes are charged to Config.UnauthenticatedUnread

	restWritten    uint32 // bytes before rest in its memory; only if ownRest
	answersWritten uint32 // bytes before answers in its memory

	pendingClose *closeReason // how to close once everything is delivered; nil if not closing

	subs       []*subscription
	firstDirty *subscription // list of the subscriptions with unread messages
	lastDirty  *subscription

	rest    []byte // the unwritten part of a message frame; shared memory unless ownRest
	answers []byte // frames that wait to be written

	index     int32         // in Group.sessions
	allowance float32       // commands that the client may send now
	refilled  time.Duration // when allowance was computed
}

// maxAnswers is how many bytes of answers may wait. Above it the session reads no further
// commands.
const maxAnswers = 16 << 10

// New returns a session on conn that speaks the text protocol and writes messages in
// encoding.
func (g *Group) New(conn Conn, encoding notiflux.Encoding) *Session {
	s := &Session{group: g, conn: conn, encoding: encoding, allowance: float32(g.config.CommandBurst), refilled: time.Since(g.start)}
	s.index = int32(len(g.sessions))
	g.sessions = append(g.sessions, s)
	g.config.Stats.Sessions.Add(1)
	if g.draining { // It connected after Drain.
		conn.Post(s.drain)
	}
	return s
}

// Receive handles one message of the client. Call it only while the session is not Busy.
func (s *Session) Receive(message []byte, binary bool) {
	if s.json != nil {
		s.receiveJSON(message, binary)
		return
	}
	s.receiveText(message, binary)
}

// Busy reports whether the session takes no message now, because a command waits for its
// token or the broker, or because the client does not read its answers.
func (s *Session) Busy() bool { return s.waiting || len(s.answers) > maxAnswers || s.hasLargeAnswer() }

// Tick closes the session if its client does not read and lags by more than
// Config.MaxLagBytes, or if it has sent no valid command in time.
func (s *Session) Tick(now time.Duration) {
	if s.json != nil {
		s.checkIdle(now)
	}
	if !s.conn.Blocked() {
		return // Messages that were not offered to the client are not its lag.
	}
	var lag uint64
	for sub := s.firstDirty; sub != nil; sub = sub.nextDirty {
		n := sub.subscribers.topic.Lag(sub.cursor)
		if sub.latest && (n > 0 || s.behind) {
			sub.skip() // It jumps while the log still holds the newest message.
			n = 0
		}
		lag += n
	}
	if s.hasLargeAnswer() {
		lag += s.json.largeAnswer.answer.Lag()
	}
	if most := s.group.config.MaxLagBytes; lag > most && lag-s.jumpToSnapshot() > most {
		s.abort(closeTooSlow)
	}
}

// Stuck closes the session because its client reads nothing at all.
func (s *Session) Stuck() { s.abort(closeStuck) }

// abort closes the session and drops everything that waits to be written, also answers.
func (s *Session) abort(e closeReason) {
	s.closeWith(e)
	if !s.answerBegun {
		s.setAnswers(nil) // They would go out before the close frame.
	}
	s.releaseAll() // Its cursors hold messages that nobody else needs.
}

// Gone ends the session after its connection was closed. Further calls do nothing.
func (s *Session) Gone() {
	if s.gone {
		return
	}
	s.gone = true
	s.releaseAll()
	s.setRest(nil, false)
	s.setAnswers(nil)
	s.group.remove(s)
	s.group.config.Stats.Sessions.Add(-1)
}

// releaseAll drops everything that keeps messages in memory for the session.
func (s *Session) releaseAll() {
	s.unsubscribeAll()
	if s.json != nil {
		s.setLargeAnswer(nil)
	}
}

// drain closes the session once everything is delivered, also messages that it was not
// marked for yet.
func (s *Session) drain() {
	if !s.gone {
		for _, sub := range s.subs {
			if !sub.cursor.AtTail() {
				s.markDirty(sub)
			}
		}
		s.closeWhenDelivered(&closeDraining)
	}
}

// closeWhenDelivered closes the session once everything is delivered.
func (s *Session) closeWhenDelivered(e *closeReason) {
	s.pendingClose = e
	s.conn.WillClose()
	s.conn.Dirty()
}

// allow counts one command against the rate limit. Above the limit it closes the session
// and returns false.
func (s *Session) allow() bool {
	c := &s.group.config
	c.Stats.Commands.Add(1)
	now := time.Since(s.group.start)
	s.allowance = float32(min(c.CommandBurst, float64(s.allowance)+c.CommandRate*(now-s.refilled).Seconds()))
	s.refilled = now
	if s.allowance < 1 {
		s.closeWith(closeTooMany)
		return false
	}
	s.allowance--
	return true
}

// answer queues a text frame for a WebSocket client.
func (s *Session) answer(text []byte) {
	s.setAnswers(wire.AppendText(s.answers, text))
	s.conn.Dirty()
}

// find returns the subscription to a topic, or nil.
func (s *Session) find(topic notiflux.Topic) *subscription {
	// Walk the shorter list: the subscriptions of the topic, or those of the session.
	t := s.group.subscribers[topic]
	if t == nil {
		return nil
	}
	if len(t.subs) < len(s.subs) {
		for _, sub := range t.subs {
			if sub.session == s {
				return sub
			}
		}
		return nil
	}
	for _, sub := range s.subs {
		if sub.subscribers == t {
			return sub
		}
	}
	return nil
}

// verify verifies a token and calls then on the loop. A cached token is answered at once.
// For any other a worker verifies the signature, and the session is Busy until then is
// called. If the session is gone, then is not called.
func (s *Session) verify(token auth.Token, then func(*auth.Claims, error)) {
	if claims, ok := s.group.config.Verifier.Cached(token); ok {
		then(claims, nil)
		return
	}
	var claims *auth.Claims
	var err error
	s.wait(s.group.config.VerifyWorkers, func(context.Context) { claims, err = s.group.config.Verifier.Verify(token) }, func(refused error) {
		if refused != nil {
			err = refused
		}
		then(claims, err)
	})
}

// subscribeOptions is what a client asks for besides a topic.
type subscribeOptions struct {
	point    topic.ResumePoint
	latest   bool // when the client is behind, only the newest message counts
	presence bool // the client is a member of the topic and gets presence events
}

// subscribe makes the session a subscriber of a topic if claims allow it. A second call
// for the same topic keeps the subscription and its cursor.
func (s *Session) subscribe(name notiflux.Topic, claims *auth.Claims, opts subscribeOptions) (topic.Resumed, error) {
	if err := s.checkSubscribe(name, claims, opts); err != nil {
		return topic.Resumed{}, err
	}
	sub := s.find(name)
	isNew := sub == nil
	var resumed topic.Resumed
	if !isNew {
		resumed = topic.Resumed{Position: s.group.config.Topics.Position(sub.deliveredOffset()), Recovered: true}
	} else {
		var err error
		if sub, resumed, err = s.group.subscribe(s, name, opts.point); err != nil {
			return topic.Resumed{}, err
		}
	}
	if opts.presence {
		if err := s.joinPresence(name, claims); err != nil {
			if isNew {
				s.unsubscribe(name) // A refused command has no effect.
			}
			return topic.Resumed{}, err
		}
	}
	sub.latest = opts.latest
	s.group.expireAt(sub, claims.Until())
	return resumed, nil
}

// checkRead returns an error unless a token allows reading a topic now.
func (s *Session) checkRead(claims *auth.Claims, topic notiflux.Topic) error {
	if err := claims.Allow(auth.Subscribe, topic); err != nil {
		return err
	}
	return claims.CheckUntil(s.group.config.Now())
}

// checkSubscribe returns an error if the session may not subscribe to a topic with opts.
func (s *Session) checkSubscribe(name notiflux.Topic, claims *auth.Claims, opts subscribeOptions) error {
	if err := s.checkRead(claims, name); err != nil {
		return err
	}
	more := 0
	if s.find(name) == nil {
		more++
	}
	if opts.presence {
		if _, err := claims.Info(); err != nil {
			return err
		}
		if s.find(topic.PresenceTopic(name)) == nil {
			more++
		}
	}
	if most := s.group.config.MaxTopics; more > 0 && len(s.subs)+more > most {
		return notiflux.Errorf(notiflux.TooMany, "topic limit of the connection reached (%d): unsubscribe from one, or open another connection", most)
	}
	return nil
}

// connection returns the name of the connection that the client knows, or 0.
func (s *Session) connection() notiflux.Connection {
	switch {
	case s.json != nil:
		return s.json.connection
	case s.stream != nil:
		return s.stream.connection
	}
	return 0
}

// topics returns the topics that the session is subscribed to, sorted.
func (s *Session) topics() []notiflux.Topic {
	names := make([]notiflux.Topic, 0, len(s.subs))
	for _, sub := range s.subs {
		if name := sub.subscribers.topic.Name(); !topic.IsPresenceTopic(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// answerSkipped queues the event that messages of a subscription were skipped.
func (s *Session) answerSkipped(sub *subscription) {
	from, to := s.group.config.Topics.Position(sub.skipped), s.position(sub.cursor)
	object := wire.AppendSkipped(nil, sub.subscribers.topic.Name(), from, to)
	if s.stream != nil {
		s.updateOffsets()
		s.answerInStream(wire.Object{Event: "skipped", JSON: object})
		return
	}
	s.answer(object)
}

// position returns the position of a subscriber with cursor c.
func (s *Session) position(c topic.Cursor) notiflux.Position {
	return s.group.config.Topics.Position(c.Offset())
}

// unsubscribe ends the subscription to a topic, if there is one.
func (s *Session) unsubscribe(topic notiflux.Topic) {
	sub := s.find(topic)
	if sub == nil {
		return
	}
	s.leavePresence(topic)
	s.unlist(sub)
	for i, other := range s.subs {
		if other == sub {
			last := len(s.subs) - 1
			s.subs[i], s.subs[last] = s.subs[last], nil
			s.subs = s.subs[:last]
			break
		}
	}
	s.group.unsubscribe(sub)
}

// unsubscribeAll ends all subscriptions.
func (s *Session) unsubscribeAll() {
	s.leaveAllPresence()
	for _, sub := range s.subs {
		s.group.unsubscribe(sub)
	}
	s.subs, s.firstDirty, s.lastDirty = nil, nil, nil
}
