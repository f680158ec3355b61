package session

import (
	"context"
	"slices"
	"time"

	"github.com/gobwas/ws"

	"github.com/ikornaselur/notiflux"
	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/topic"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// A Conn is the connection that carries a session.
type Conn interface {
	Dirty()               // there is something to write: Next is called soon
	Resume()              // the session is not Busy any more
	Arm(at time.Duration) // Tick is called at that time of the loop, or before
	Post(f func()) bool   // f is called on the loop, unless the connection is gone; safe for concurrent use
	Blocked() bool        // whether the client, who was offered bytes, takes none now; for Tick
	WillClose()           // the session ends once everything is delivered: a client that takes nothing has little time

	// Close finishes the frame under way, writes farewell (whole frames, nil for
	// none), says why, and ends.
	Close(farewell []byte, code wire.CloseCode, reason string)

	Remote() string // the address of the client, for the log
}

// A Session is one client. All its fields are owned by its group's loop.
type Session struct {
	// Immutable after New.
	group    *Group
	conn     Conn
	json     *jsonState   // nil: does not speak the JSON protocol
	stream   *streamState // nil: no event stream
	encoding notiflux.Encoding

	answerBegun     bool // the first of answers is under way
	ownRest         bool // cut is the session's own, not part of a frame that all share
	waiting         bool // a command waits for its token, or for the broker
	behind          bool // the socket did not take all of what it was last given
	hintLogged      bool // it was logged that the client sends what its protocol ignores
	closing         bool // the server has begun to end the session
	gone            bool
	unauthenticated bool // what the client has not read is charged to Strangers

	restWritten    uint32 // bytes before cut in its memory, if that is the session's own
	answersWritten uint32 // bytes before answers in their memory

	pendingClose *closeReason // how it ends once everything is delivered; nil: it goes on

	subs       []*subscription
	firstDirty *subscription // what has something to read, first come first served
	lastDirty  *subscription

	rest    []byte // the rest of a message frame that the socket took the beginning of; shared, but of sets
	answers []byte // whole frames that wait to be written

	index     int32         // in Group.sessions
	allowance float32       // commands that may come at once
	refilled  time.Duration // when allowance was right
}

// maxAnswers is how many bytes of answers may wait before a client that does
// not read them is not listened to, in bytes.
const maxAnswers = 16 << 10

// New returns a session on conn that speaks the text protocol and gets its messages
// in encoding.
func (g *Group) New(conn Conn, encoding notiflux.Encoding) *Session {
	s := &Session{group: g, conn: conn, encoding: encoding, allowance: float32(g.config.CommandBurst), refilled: time.Since(g.start)}
	s.index = int32(len(g.sessions))
	g.sessions = append(g.sessions, s)
	g.config.Stats.Sessions.Add(1)
	if g.draining { // It was on its way when the others were told.
		conn.Post(s.drain)
	}
	return s
}

// Receive takes one message of the client. The caller sees that the session is not
// Busy.
func (s *Session) Receive(message []byte, binary bool) {
	if s.json != nil {
		s.receiveJSON(message, binary)
		return
	}
	s.receiveText(message, binary)
}

// Busy reports whether the session takes no message now: a command waits for
// its token or the broker, or its answers are not read.
func (s *Session) Busy() bool { return s.waiting || len(s.answers) > maxAnswers || s.hasLargeAnswer() }

// Tick ends the session if its client does not read and is further behind than
// allowed, or has nothing to say.
func (s *Session) Tick(now time.Duration) {
	if s.json != nil {
		s.checkIdle(now)
	}
	if !s.conn.Blocked() {
		return // What the client was not offered yet is not its lag.
	}
	var lag uint64
	for sub := s.firstDirty; sub != nil; sub = sub.nextDirty {
		n := sub.subscribers.topic.Lag(sub.cursor)
		if sub.latest && (n > 0 || s.behind) {
			sub.skip() // It jumps instead of being cut, and while the log has what it jumps to.
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

// Stuck ends the session: its client reads nothing at all.
func (s *Session) Stuck() { s.abort(closeStuck) }

// abort ends a session that nothing more is delivered to, not even its answers.
func (s *Session) abort(e closeReason) {
	s.closeWith(e)
	if !s.answerBegun {
		s.setAnswers(nil) // They would go out before the close frame.
	}
	s.releaseAll() // Its cursors hold messages that nobody else needs.
}

// Gone ends the session: the connection is closed.
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

// releaseAll ends whatever keeps messages for the session.
func (s *Session) releaseAll() {
	s.unsubscribeAll()
	if s.json != nil {
		s.setLargeAnswer(nil)
	}
}

// drain has the session end once it has nothing to write. It may have news that it
// was not marked for yet.
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

// closeWhenDelivered has the session end once everything is delivered.
func (s *Session) closeWhenDelivered(e *closeReason) {
	s.pendingClose = e
	s.conn.WillClose()
	s.conn.Dirty()
}

// allow takes one command out of the allowance. If there is none it ends the
// session and reports false.
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

// answer queues a text frame for the client of a WebSocket.
func (s *Session) answer(text []byte) {
	s.setAnswers(wire.AppendFrame(s.answers, ws.OpText, text))
	s.conn.Dirty()
}

// find returns the subscription to a topic, nil if there is none.
func (s *Session) find(topic notiflux.Topic) *subscription {
	// A feed knows all its sessions, a session its topics: the shorter list is walked.
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

// verify has a token verified, off the loop unless it was before, and calls then
// on the loop. Until that, the session is Busy. then is not called if the
// session is gone.
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

// A subscribeOptions is what a client asks for besides a topic.
type subscribeOptions struct {
	point    topic.ResumePoint
	latest   bool // when the client is behind, only the newest message counts
	presence bool // the client is a member of the topic, and is told of others
}

// subscribe makes the session a subscriber of a topic if claims allow it. To
// subscribe twice is one subscription, which stays where it is.
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
				s.unsubscribe(name) // What is refused is refused as a whole.
			}
			return topic.Resumed{}, err
		}
	}
	sub.latest = opts.latest
	s.group.expireAt(sub, claims.Until())
	return resumed, nil
}

// checkRead returns why a token does not allow to read a topic now.
func (s *Session) checkRead(claims *auth.Claims, topic notiflux.Topic) error {
	if err := claims.Allow(auth.Subscribe, topic); err != nil {
		return err
	}
	return claims.CheckUntil(s.group.config.Now())
}

// checkSubscribe returns why the session cannot have what it wishes.
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
		if s.find(topic.Notices(name)) == nil {
			more++
		}
	}
	if most := s.group.config.MaxTopics; more > 0 && len(s.subs)+more > most {
		return notiflux.Errorf(notiflux.TooMany, "topic limit of the connection reached (%d): unsubscribe from one, or open another connection", most)
	}
	return nil
}

// connection returns the name that the client was told; 0: none.
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
		if name := sub.subscribers.topic.Name(); !topic.IsNotices(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// answerSkipped tells the client that messages of a subscription were skipped.
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

// position returns how far who stands at c has come.
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
