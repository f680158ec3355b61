// Package v1json is the dialect of the JSON protocol (docs/protocol.md, section 4).
//
// A message of a client is parsed as a command (command.go) and turned into calls of its
// session, the server's state of that client. The session calls back with the outcome, and
// the dialect queues the answer (answers.go). Each message of a topic is a JSON object in
// one WebSocket text frame, encoded once for all clients (encoder.go). The first object is
// a welcome. The last one is a bye that says why the server ends the session.
//
// Invariants:
//   - Commands are answered in the order in which they came, unless the session ends first.
//     The answer to a command that cannot be parsed is an error.
//   - A client must send a valid command within 60 seconds of connecting.
//   - Each answer carries the ID of its command, if the command has one.
//
// The package does not verify tokens, store messages or write to connections. It only calls
// its session.
package v1json

import (
	"context"
	"sync"
	"time"

	"github.com/ikornaselur/notiflux/internal/answer"
	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/session"
	"github.com/ikornaselur/notiflux/internal/topic"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// Subprotocol is the WebSocket subprotocol that clients offer.
const Subprotocol = "notiflux.v1.json"

const (
	// maxIdle is the time within which a client must send a valid command.
	maxIdle = 60 * time.Second
	// maxCommandTopics is the maximum number of topics in a command. It limits the answer's
	// size.
	maxCommandTopics = 100
)

// Reasons why the dialect ends sessions.
var (
	endIdle   = session.End{Code: pubsub.Idle, CloseCode: wire.CloseIdle, Reason: "no valid command within 60 s of connecting"}
	endFailed = session.End{Code: pubsub.TooMany, CloseCode: wire.CloseTooMany, Reason: "too many invalid tokens came from your IP address", Least: 5 * time.Second, Most: 15 * time.Second}
	endBinary = session.End{CloseCode: wire.CloseUnsupported, Reason: "the JSON protocol has no binary messages"}
)

// Endpoint returns the endpoint of the dialect. version is the version of the server.
func Endpoint(version string) *session.Endpoint {
	parsers := &sync.Pool{New: func() any { return new(parser) }}
	return &session.Endpoint{
		Subprotocol:  Subprotocol,
		ConnectToken: true,
		Encoding:     session.Encoding{Name: "json", New: newEncoder, Deflatable: true},
		Open: func(s *session.Session, r session.Request) session.Dialect {
			welcome(s, version)
			d := &dialect{parsers: parsers, deadline: r.Now + maxIdle}
			s.Arm(d.deadline)
			if err := r.Credential.Err; err != nil && pubsub.Refusal(err).Code == pubsub.TooMany {
				s.End(endFailed) // Otherwise every command without a token would be refused, even later.
			}
			return d
		},
	}
}

// dialect is the [session.Dialect] of one session.
type dialect struct {
	parsers  *sync.Pool    // of *parser
	deadline time.Duration // for the first valid command, by the loop's clock; 0: the command came
}

func welcome(s *session.Session, version string) {
	limits := s.Limits()
	s.SendText(appendWelcome(nil, welcomeObject{
		Connection:  s.NameConnection().String(),
		Version:     version,
		PingSeconds: int(limits.PingEvery / time.Second),
		Limits: welcomeLimits{
			MessageBytes:      limits.MaxMessageBytes,
			CommandBytes:      limits.MaxCommandBytes,
			Topics:            limits.MaxTopics,
			TopicsPerCommand:  maxCommandTopics,
			CommandsPerSecond: int(limits.CommandRate),
		},
	}))
}

// Tick implements [session.Ticker].
func (d *dialect) Tick(s *session.Session, now time.Duration) {
	switch {
	case d.deadline == 0:
	case now >= d.deadline:
		s.End(endIdle)
	default:
		s.Arm(d.deadline)
	}
}

// Receive implements [session.Dialect].
func (d *dialect) Receive(s *session.Session, message []byte, binary bool) {
	if binary {
		s.End(endBinary)
		return
	}
	if !s.Allow() {
		return
	}
	p := d.parsers.Get().(*parser)
	c, err := p.parse(message, limits{MessageBytes: s.Limits().MaxMessageBytes, Topics: maxCommandTopics})
	d.parsers.Put(p)
	if err != nil {
		refuse(s, c, nil, err)
		return
	}
	d.deadline = 0
	switch c.Verb {
	case verbSubscribe:
		withToken(s, c, subscribe)
	case verbUnsubscribe, verbUnsubscribeAll:
		unsubscribe(s, c)
	case verbBroadcast:
		withToken(s, c, broadcast)
	case verbAuth:
		authenticate(s, c)
	case verbHistory:
		withToken(s, c, history)
	case verbPresence:
		withToken(s, c, members)
	case verbPing:
		s.SendText(appendPong(nil, c.ID))
	}
}

// refuse answers a command that is refused as a whole. claims are those of its token, or
// nil if they are unknown.
func refuse(s *session.Session, c command, claims *auth.Claims, err error) {
	s.LogRefusal(claims, string(c.Topic), err)
	s.SendText(appendError(nil, c.ID, pubsub.Refusal(err)))
}

// withToken calls do with the credential of the command's token, or of the connection's
// token if the command has no token.
func withToken(s *session.Session, c command, do func(*session.Session, command, session.Credential)) {
	if c.Token != "" {
		s.Verify(auth.Token(c.Token), func(credential session.Credential) { do(s, c, credential) })
		return
	}
	credential := s.Credential()
	if credential == (session.Credential{}) {
		credential.Err = pubsub.Errorf(pubsub.TokenMissing, "a token is required: send it in `token`, or once for the connection with the command `auth`")
	}
	do(s, c, credential)
}

// subscribe subscribes to each topic that the token allows, and answers for all topics.
func subscribe(s *session.Session, c command, credential session.Credential) {
	subs := make([]session.Subscription, len(c.Topics))
	for i, name := range c.Topics {
		subs[i] = session.Subscription{Topic: name, From: topic.ResumePoint{Since: c.Since[name], Last: c.Last}, Latest: c.Latest, Presence: c.Presence}
	}
	id, invalid, claims := c.ID, c.Refused, credential.Claims // Only these are needed for the answer.
	s.Subscribe(credential, subs, func(s *session.Session, results []session.Subscribed) {
		var refused []refusedTopic
		for _, r := range results {
			if r.Err != nil {
				refused = append(refused, refusedTopic{Topic: r.Topic.Shown(), Err: pubsub.Refusal(r.Err)})
			}
		}
		for _, r := range invalid {
			s.RefuseTopic(claims, r.Topic, r.Err)
		}
		s.SendText(appendSubscribed(nil, id, subscribedTopics(results), append(refused, invalid...)))
	})
}

// subscribedTopics returns where the topics begin that were not refused.
func subscribedTopics(results []session.Subscribed) (topics []wire.SubscribedTopic) {
	for _, r := range results {
		if r.Err == nil {
			topics = append(topics, wire.SubscribedTopic{Topic: r.Topic, Position: r.Position, Recovered: r.Recovered, Replay: r.Replay})
		}
	}
	return topics
}

// unsubscribe ends subscriptions and answers with their topics.
func unsubscribe(s *session.Session, c command) {
	topics := c.Topics
	if c.Verb == verbUnsubscribeAll {
		topics = s.Topics()
		s.UnsubscribeAll()
	} else {
		for _, name := range topics {
			s.Unsubscribe(name)
		}
	}
	names, patterns := wire.SplitPatterns(topics)
	for _, r := range c.Refused { // Clients cannot subscribe to an invalid topic.
		if c.Patterns {
			patterns = append(patterns, r.Topic)
		} else {
			names = append(names, pubsub.Topic(r.Topic))
		}
	}
	s.SendText(appendUnsubscribed(nil, c.ID, names, patterns))
}

// broadcast publishes a message and answers with its position.
func broadcast(s *session.Session, c command, credential session.Credential) {
	p := pubsub.Publication{Topic: c.Topic, Body: c.Body, Key: c.Key}
	if c.NoEcho {
		p.Exclude = s.NameConnection()
	}
	s.Publish(credential, p, func(position pubsub.Position, err error) {
		if err != nil {
			refuse(s, c, credential.Claims, err)
			return
		}
		s.SendText(appendBroadcasted(nil, c.ID, c.Topic, position))
	})
}

// authenticate sets the connection's token, for commands without one. A refused token
// changes nothing.
func authenticate(s *session.Session, c command) {
	s.Verify(auth.Token(c.Token), func(credential session.Credential) {
		if credential.Err != nil {
			refuse(s, c, credential.Claims, credential.Err)
			return
		}
		s.Authenticate(credential.Claims)
		s.SendText(appendAuthenticated(nil, c.ID, credential.Claims.Expires()))
	})
}

// history answers with messages of a topic.
func history(s *session.Session, c command, credential session.Credential) {
	encode := func(ctx context.Context, h topic.History, room int) session.LargeAnswer {
		messages := answer.UpTo(c.Limit).Owning(room)
		end := messages.History(ctx, h)
		return messages.Answer(appendHistoryStart(nil, c.ID, c.Topic), wire.AppendHistoryEnd(nil, end))
	}
	s.History(credential, c.Topic, c.Since[c.Topic], c.Limit, encode, func(err error) { refuse(s, c, credential.Claims, err) })
}

// members answers with the members of a topic.
func members(s *session.Session, c command, credential session.Credential) {
	encode := func(p *pubsub.PresenceEvent) session.LargeAnswer {
		return answer.ForMembers(appendPresenceStart(nil, c.ID, p), p.Members, []byte(wire.PresenceEnd))
	}
	s.Members(credential, c.Topic, encode, func(err error) { refuse(s, c, credential.Claims, err) })
}

// Gap implements [session.Dialect].
func (*dialect) Gap(s *session.Session, name pubsub.Topic, to pubsub.Position) {
	s.SendText(wire.AppendGap(nil, name, to))
}

// Position implements [session.PatternDialect].
func (*dialect) Position(s *session.Session, p pubsub.Pattern, to pubsub.Position) {
	s.SendText(wire.AppendPatternPosition(nil, p, to))
}

// Skipped implements [session.Dialect].
func (*dialect) Skipped(s *session.Session, name pubsub.Topic, from, to pubsub.Position) {
	s.SendText(wire.AppendSkipped(nil, name, from, to))
}

// Unsubscribed implements [session.Dialect].
func (*dialect) Unsubscribed(s *session.Session, topics []pubsub.Topic, why pubsub.Code) {
	s.SendText(wire.AppendUnsubscribed(nil, topics, why))
}

// Granted implements [session.GrantReceiver]: the answer to a command that nobody sent.
func (*dialect) Granted(s *session.Session, subs []session.Subscribed) {
	s.SendText(appendSubscribed(nil, noID, subscribedTopics(subs), nil))
}

// Goodbye implements [session.Dialect].
func (*dialect) Goodbye(_ *session.Session, e session.End) ([]byte, wire.CloseCode, string) {
	if e.Code == "" {
		return nil, e.CloseCode, e.Reason
	}
	return wire.AppendText(nil, wire.AppendBye(nil, e.Code, e.After)), e.CloseCode, e.Reason
}
