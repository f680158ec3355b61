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
	// maxIdle is how long a client of the JSON protocol may say nothing that
	// makes sense: who connects has something in mind.
	maxIdle = 60 * time.Second
	// maxCommandTopics bounds the answer to one command.
	maxCommandTopics = 100
)

// jsonState is what a session of the JSON protocol has besides.
type jsonState struct {
	claims     *auth.Claims  // of the connection's token; nil: there is none
	tokenErr   error         // why the connection's token does not hold; nil: it does, or there is none
	deadline   time.Duration // of the first valid command, by the loop's clock
	sawCommand bool          // it came

	largeAnswer *largeAnswer // under way, commands wait for it; nil: there is none

	connection notiflux.Connection
	references map[notiflux.Topic]*presence.Reference // where the client is a member; nil: nowhere
}

// A Credential is what became of the token that a client connected with. The zero
// value is that of a client which brought none.
type Credential struct {
	Claims *auth.Claims
	Err    error // why it was refused
}

// NewJSON returns a session on conn that speaks the JSON protocol, and has its
// client welcomed. deflated says that its frames may be compressed; now is the
// loop's clock.
func (g *Group) NewJSON(conn Conn, deflated bool, c Credential, now time.Duration) *Session {
	encoding := notiflux.JSON
	if deflated {
		encoding = notiflux.JSONDeflated
	}
	s := g.New(conn, encoding)
	s.json = &jsonState{connection: g.newConnection(), claims: c.Claims, tokenErr: c.Err, deadline: now + maxIdle}
	s.answer(wire.AppendWelcome(nil, wire.Welcome{
		Connection: s.json.connection.String(),
		Version:    g.config.Version,
		Ping:       g.config.PingEvery,
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

// checkIdle ends a session that has not said anything valid in time.
func (s *Session) checkIdle(now time.Duration) {
	switch {
	case s.json.sawCommand:
	case now >= s.json.deadline:
		s.closeWith(closeIdle)
	default:
		s.conn.Arm(s.json.deadline)
	}
}

// receiveJSON takes one message of a client of the JSON protocol: docs/protocol.md,
// section 4.
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

// refuse answers a command that is refused as a whole. claims are those that it was
// judged by, nil if there are none.
func (s *Session) refuse(c wire.JSONCommand, claims *auth.Claims, err error) {
	s.logRefusal(claims, string(c.Topic), err)
	s.answer(wire.AppendError(nil, c.ID, notiflux.Refusal(err)))
}

// withClaims calls then with what the token of a command allows, or the
// connection's if it brought none.
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

// subscribeJSON subscribes to each topic that the token allows, and answers for all.
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

// subscribedTopic is how a client is told where its subscription begins.
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
	for _, r := range c.Refused { // To what is no topic there is no subscription either.
		topics = append(topics, notiflux.Topic(r.Topic))
	}
	s.answer(wire.AppendUnsubscribed(nil, c.ID, topics, ""))
}

// broadcastJSON publishes, off the loop, and answers with the position.
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

// answerBroadcast answers a broadcast, and counts it.
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

// authJSON takes a token for the commands that will carry none. One that is refused
// changes nothing.
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
