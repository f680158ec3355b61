package session

import (
	"time"

	"github.com/gobwas/ws"

	"github.com/ikornaselur/notiflux"
	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// A Conn is the connection that carries a session.
type Conn interface {
	Dirty()               // there is something to write: Next is called soon
	Resume()              // the session is not Busy any more
	Arm(at time.Duration) // call Tick at that time of the loop or earlier

	// Close finishes the frame under way, writes farewell, says why as far as
	// the connection has words for it, and ends. farewell is whole frames, nil
	// for none, and is not changed.
	Close(farewell []byte, code wire.CloseCode, reason string)
}

// A Session is one client. All its fields are owned by its group's loop.
type Session struct {
	// Immutable after New.
	group    *Group
	conn     Conn
	encoding notiflux.Encoding

	subs       []*subscription
	firstDirty *subscription // what has something to read, first come first served
	lastDirty  *subscription

	cut        []byte // the rest of a message frame that the socket took the beginning of; shared, not a copy
	answers    []byte // whole frames that wait to be written
	answersCut bool   // the first of them is under way

	allowance float64       // commands that may come at once
	refilled  time.Duration // when allowance was right

	ending    *ending // set by drain
	verifying bool    // a command waits for its token
	gone      bool
}

// ending says how a session ends once everything is delivered.
type ending struct {
	code   wire.CloseCode
	reason string
}

// maxAnswers is how many bytes of answers may wait before a client that does
// not read them is not listened to, in bytes.
const maxAnswers = 16 << 10

// New returns a session on conn, which gets its messages in encoding.
func (g *Group) New(conn Conn, encoding notiflux.Encoding) *Session {
	s := &Session{group: g, conn: conn, encoding: encoding, allowance: g.config.CommandBurst, refilled: time.Since(g.start)}
	g.sessions[s] = struct{}{}
	g.config.Stats.Sessions.Add(1)
	return s
}

// Busy reports whether the session takes no message now: a command waits for
// its token, or its answers are not read.
func (s *Session) Busy() bool { return s.verifying || len(s.answers) > maxAnswers }

// Tick ends the session if it is further behind than allowed.
func (s *Session) Tick(time.Duration) {
	if s.firstDirty == nil {
		return
	}
	var lag uint64
	for _, sub := range s.subs {
		lag += sub.feed.topic.Lag(sub.cursor)
	}
	if lag > s.group.config.MaxLagBytes {
		s.conn.Close(nil, wire.CloseTooSlow, "too slow: more unread than the server keeps")
		s.unsubscribeAll() // Its cursors hold messages that nobody else needs.
	}
}

// Gone ends the session: the connection is closed.
func (s *Session) Gone() {
	if s.gone {
		return
	}
	s.gone = true
	for _, sub := range s.subs {
		s.group.leave(sub)
	}
	s.subs, s.firstDirty, s.lastDirty, s.cut, s.answers = nil, nil, nil, nil, nil
	delete(s.group.sessions, s)
	s.group.config.Stats.Sessions.Add(-1)
}

// drain has the session end with code once it has nothing to write.
func (s *Session) drain(code wire.CloseCode, reason string) {
	if !s.gone && s.ending == nil {
		s.ending = &ending{code, reason}
		s.conn.Dirty()
	}
}

// allow takes one command out of the allowance, and reports whether there was one.
func (s *Session) allow() bool {
	c := &s.group.config
	now := time.Since(s.group.start)
	s.allowance = min(c.CommandBurst, s.allowance+c.CommandRate*(now-s.refilled).Seconds())
	s.refilled = now
	if s.allowance < 1 {
		return false
	}
	s.allowance--
	return true
}

// answer queues a line for the client.
func (s *Session) answer(line string) {
	s.answers = wire.AppendFrame(s.answers, ws.OpText, []byte(line))
	s.conn.Dirty()
}

// find returns the subscription to a topic, nil if there is none.
func (s *Session) find(topic notiflux.Topic) *subscription {
	// A feed knows all its sessions, a session its topics: the shorter list is walked.
	f := s.group.feeds[topic]
	if f == nil {
		return nil
	}
	if len(f.subs) < len(s.subs) {
		for _, sub := range f.subs {
			if sub.session == s {
				return sub
			}
		}
		return nil
	}
	for _, sub := range s.subs {
		if sub.feed == f {
			return sub
		}
	}
	return nil
}

// judge has a token verified, off the loop unless it was before, and calls then
// on the loop. Until that, the session is Busy. then is not called if the
// session is gone.
func (s *Session) judge(token auth.Token, then func(*auth.Claims, error)) {
	if claims, ok := s.group.config.Verifier.Cached(token); ok {
		then(claims, nil)
		return
	}
	s.verifying = true
	done := func(claims *auth.Claims, err error) {
		s.group.loop.Post(func() {
			s.verifying = false
			if s.gone {
				return
			}
			then(claims, err)
			s.conn.Resume()
		})
	}
	if !s.group.config.Queue.Submit(token, done) {
		s.verifying = false
		then(nil, notiflux.Errorf(notiflux.OverCapacity, "the server has too many tokens to verify: try again later"))
	}
}

// subscribe makes the session a subscriber of a topic if claims allow it.
// To subscribe twice is one subscription.
func (s *Session) subscribe(topic notiflux.Topic, claims *auth.Claims) error {
	if err := claims.Allow(auth.Subscribe, topic); err != nil {
		return err
	}
	if s.find(topic) != nil {
		return nil
	}
	if most := s.group.config.MaxTopics; len(s.subs) >= most {
		return notiflux.Errorf(notiflux.TooMany, "the connection has %d topics, its most: unsubscribe from one, or open another connection", most)
	}
	return s.group.join(s, topic)
}

// unsubscribe ends the subscription to a topic, if there is one.
func (s *Session) unsubscribe(topic notiflux.Topic) {
	sub := s.find(topic)
	if sub == nil {
		return
	}
	s.unlist(sub)
	for i, other := range s.subs {
		if other == sub {
			last := len(s.subs) - 1
			s.subs[i], s.subs[last] = s.subs[last], nil
			s.subs = s.subs[:last]
			break
		}
	}
	s.group.leave(sub)
}

// unsubscribeAll ends all subscriptions.
func (s *Session) unsubscribeAll() {
	for _, sub := range s.subs {
		s.group.leave(sub)
	}
	s.subs, s.firstDirty, s.lastDirty = nil, nil, nil
}
