package session

import (
	"cmp"
	"context"
	"net/http"
	"time"

	"github.com/ikornaselur/notiflux"
	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/presence"
	"github.com/ikornaselur/notiflux/internal/topic"
	"github.com/ikornaselur/notiflux/internal/wire"
)

const (
	// maxIdle is the time in which a client of the JSON protocol must send a valid
	// command.
	maxIdle = 60 * time.Second
	// maxCommandTopics is the largest number of topics in a command. It bounds the answer.
	maxCommandTopics = 100
)

// jsonState is what only sessions of the JSON protocol have.
type jsonState struct {
	claims     *auth.Claims  // of the connection's token; nil without one
	tokenErr   error         // why the connection's token was refused; nil if it is valid or missing
	deadline   time.Duration // for the first valid command, by the loop's clock
	sawCommand bool          // the first valid command came

	largeAnswer *largeAnswer // being written, commands wait for it; nil without one

	connection notiflux.Connection
	references map[notiflux.Topic]*presence.Reference // by topic in which the client is present; nil if in none
}

// A Credential is the outcome of verifying the token that a client connected with. The
// zero value means that it sent none.
type Credential struct {
	Claims *auth.Claims
	Err    error // why it was refused
}

// NewJSON returns a session on conn that speaks the JSON protocol, and queues its welcome.
// deflated says that frames may be compressed. now is the time of the loop's clock.
func (g *Group) NewJSON(conn Conn, deflated bool, c Credential, now time.Duration) *Session {
	encoding := notiflux.JSON
	if deflated {
		encoding = notiflux.JSONDeflated
	}
	s := g.New(conn, encoding)
	s.json = &jsonState{connection: g.newConnection(), claims: c.Claims, tokenErr: c.Err, deadline: now + maxIdle}
	s.answer(wire.AppendWelcome(nil, wire.Welcome{
		Connection:  s.json.connection.String(),
		Version:     g.config.Version,
		PingSeconds: int(g.config.PingEvery / time.Second),
		Limits: wire.WelcomeLimits{
			MessageBytes:      g.config.MaxMessageBytes,
			CommandBytes:      g.config.MaxCommandBytes,
			Topics:            g.config.MaxTopics,
			TopicsPerCommand:  maxCommandTopics,
			CommandsPerSecond: int(g.config.CommandRate),
		},
	}))
	conn.Arm(s.json.deadline)
	return s
}

// checkIdle closes a session that has sent no valid command in time.
func (s *Session) checkIdle(now time.Duration) {
	switch {
	case s.json.sawCommand:
	case now >= s.json.deadline:
		s.closeWith(closeIdle)
	default:
		s.conn.Arm(s.json.deadline)
	}
}

// receiveJSON handles one message of a client of the JSON protocol (docs/protocol.md,
// section 4).
func (s *Session) receiveJSON(message []byte, binary bool) {
	if binary {
		s.closeWith(closeBinary)
		return
	}
	if !s.allow() {
		return
	}
	c, err := s.group.parser.Parse(message, wire.JSONLimits{MessageBytes: s.group.config.MaxMessageBytes, Topics: maxCommandTopics})
	if err != nil {
		s.refuse(c, nil, err)
		return
	}
	s.json.sawCommand = true
	switch c.Verb {
	case wire.Subscribe:
		s.subscribeJSON(c)
	case wire.Unsubscribe, wire.UnsubscribeAll:
		s.unsubscribeJSON(c)
	case wire.Broadcast:
		s.broadcastJSON(c)
	case wire.Auth:
		s.authJSON(c)
	case wire.History:
		s.historyJSON(c)
	case wire.Members:
		s.membersJSON(c)
	case wire.Ping:
		s.answer(wire.AppendPong(nil, c.ID))
	}
}

// refuse answers a command that is refused as a whole. claims are those of its token, nil
// if they are unknown.
func (s *Session) refuse(c wire.JSONCommand, claims *auth.Claims, err error) {
	s.logRefusal(claims, string(c.Topic), err)
	s.answer(wire.AppendError(nil, c.ID, notiflux.Refusal(err)))
}

// withClaims calls then with the claims of the command's token, or of the connection's
// token if the command has none.
func (s *Session) withClaims(c wire.JSONCommand, then func(*auth.Claims, error)) {
	j := s.json
	switch {
	case c.Token != "":
		s.verify(auth.Token(c.Token), then)
	case j.tokenErr != nil:
		then(nil, j.tokenErr)
	case j.claims == nil:
		then(nil, notiflux.Errorf(notiflux.TokenMissing, "a token is needed: in `token`, or for the whole connection by the command auth"))
	default:
		then(j.claims, s.group.config.Verifier.Check(j.claims))
	}
}

// subscribeJSON subscribes to each topic that the token allows and answers for all topics.
func (s *Session) subscribeJSON(c wire.JSONCommand) {
	s.withClaims(c, func(claims *auth.Claims, err error) {
		var topics []wire.SubscribedTopic
		var refused []wire.RefusedTopic
		for _, name := range c.Topics {
			var resumed topic.Resumed
			failure := err
			if failure == nil {
				resumed, failure = s.subscribe(name, claims, subscribeOptions{topic.ResumePoint{Since: c.Since[name], Last: c.Last}, c.Latest, c.Presence})
			}
			if failure != nil {
				s.logRefusal(claims, string(name), failure)
				refused = append(refused, wire.RefusedTopic{Topic: string(name), Err: notiflux.Refusal(failure)})
				continue
			}
			topics = append(topics, subscribedTopic(name, resumed))
		}
		for _, r := range c.Refused {
			s.logRefusal(claims, r.Topic, r.Err)
		}
		s.rotate()
		refused = append(refused, c.Refused...)
		s.group.config.Stats.Refused.Add(uint64(len(refused)))
		s.answer(wire.AppendSubscribed(nil, c.ID, topics, refused))
	})
}

// subscribedTopic returns what the answer says about a new subscription.
func subscribedTopic(name notiflux.Topic, p topic.Resumed) wire.SubscribedTopic {
	return wire.SubscribedTopic{Topic: name, Position: p.Position, Recovered: p.Recovered, Replay: p.Replay}
}

// unsubscribeJSON ends subscriptions and answers with their topics.
func (s *Session) unsubscribeJSON(c wire.JSONCommand) {
	topics := c.Topics
	if c.Verb == wire.UnsubscribeAll {
		topics = s.topics()
		s.unsubscribeAll()
	} else {
		for _, topic := range topics {
			s.unsubscribe(topic)
		}
	}
	for _, r := range c.Refused { // There is no subscription to an invalid topic.
		topics = append(topics, notiflux.Topic(r.Topic))
	}
	s.answer(wire.AppendUnsubscribed(nil, c.ID, topics, ""))
}

// broadcastJSON publishes a message on a worker and answers with its position.
func (s *Session) broadcastJSON(c wire.JSONCommand) {
	s.withClaims(c, func(claims *auth.Claims, err error) {
		if err == nil {
			err = claims.Allow(auth.Broadcast, c.Topic)
		}
		if err != nil {
			s.answerBroadcast(c, claims, notiflux.Position{}, err)
			return
		}
		ps := []notiflux.Publication{{Topic: c.Topic, Body: c.Body, Key: c.Key, Subject: claims.Subject}}
		if c.NoEcho {
			ps[0].Exclude = s.json.connection
		}
		publish := func(ctx context.Context) { s.group.config.Publisher.Publish(ctx, ps) }
		s.wait(s.group.config.WaitWorkers, publish, func(refused error) {
			s.answerBroadcast(c, claims, ps[0].Position, cmp.Or(refused, ps[0].Err))
		})
	})
}

// answerBroadcast answers a broadcast and counts it.
func (s *Session) answerBroadcast(c wire.JSONCommand, claims *auth.Claims, position notiflux.Position, err error) {
	stats := &s.group.config.Stats.Broadcasts
	switch {
	case err == nil:
		stats.Accepted.Add(1)
		s.logMessage(claims, c.Topic, position)
		s.answer(wire.AppendBroadcasted(nil, c.ID, c.Topic, position))
		return
	case wire.ErrorResponseOf(notiflux.Refusal(err).Code).Status < http.StatusInternalServerError:
		stats.Refused.Add(1)
	default:
		stats.Failed.Add(1)
	}
	s.refuse(c, claims, err)
}

// authJSON sets the connection's token, for commands without one. A refused token changes
// nothing.
func (s *Session) authJSON(c wire.JSONCommand) {
	s.verify(auth.Token(c.Token), func(claims *auth.Claims, err error) {
		if err != nil {
			s.refuse(c, claims, err)
			return
		}
		s.json.claims, s.json.tokenErr = claims, nil
		s.answer(wire.AppendAuthenticated(nil, c.ID, claims.Expires))
	})
}
