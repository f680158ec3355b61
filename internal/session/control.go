package session

import (
	"iter"
	"slices"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// Revoked returns nil, or an error with TokenRevoked if the operator has revoked a token for a
// topic; for the empty topic, if it is revoked as a whole. It is safe for concurrent use.
type Revoked func(claims *auth.Claims, name pubsub.Topic) error

// revoked asks Config.Revoked about a credential without an error.
func (g *Group) revoked(claims *auth.Claims, name pubsub.Topic) error {
	if g.config.Revoked == nil || claims.NeedUser() != nil {
		return nil
	}
	return g.config.Revoked(claims, name)
}

// A GrantReceiver is a [Dialect] that tells its client about subscriptions that the operator
// makes, except those that fail.
type GrantReceiver interface {
	Granted(s *Session, subs []Subscribed)
}

// maxVisited is about the number of subscriptions that Each visits before the loop does other
// work.
const maxVisited = 4096

// Each calls visit on the loop for every session that is there and that the server has not
// begun to end, in several turns, and then done. visit may end sessions; it returns how much
// work it did in addition, in subscriptions that it looked at. Each may be called on any
// goroutine, and does not block. If the loop has stopped, it calls done at once.
//
// Each misses no session that is there when it is called, and may visit one twice.
func (g *Group) Each(visit func(*Session) (work int), done func()) {
	left := -1 // how many of g.sessions, from the front, are still to be visited; -1: not begun
	var turn func()
	turn = func() {
		if left < 0 {
			left = len(g.sessions)
		}
		// It counts down because remove moves the last session into the freed index. That way
		// it misses none.
		for work := 0; work < maxVisited; {
			if left = min(left, len(g.sessions)); left == 0 {
				done()
				return
			}
			left--
			s := g.sessions[left]
			if work += 1 + len(s.subs.all); !s.closing && !s.gone {
				work += visit(s)
			}
		}
		if !g.loop.Post(turn) {
			done()
		}
	}
	if !g.loop.Post(turn) {
		done()
	}
}

// Tokens returns what s holds by tokens: the claims of the connection, with the empty topic,
// and those of each subscription. Clients without a token have claims too; see
// [auth.Claims.NeedUser].
func (g *Group) Tokens(s *Session) iter.Seq2[*auth.Claims, pubsub.Topic] {
	return func(yield func(*auth.Claims, pubsub.Topic) bool) {
		if claims := s.extra.token().Claims; claims != nil && !yield(claims, "") {
			return
		}
		for _, sub := range s.subs.all {
			if sub.claims != nil && !yield(sub.claims, sub.name()) { // nil: presence events
				return
			}
		}
	}
}

// IsStream reports whether s ends with its last subscription.
func (g *Group) IsStream(s *Session) bool { return g.config.Endpoints[s.format/2].isStream() }

// Connection returns the name of the connection, or 0 if it has none.
func (g *Group) Connection(s *Session) pubsub.Connection { return s.extra.name() }

// WhenFree calls f on the loop once no command of s is in progress, unless s ends before.
func (g *Group) WhenFree(s *Session, f func()) {
	if !s.waiting {
		f()
		return
	}
	g.postponed[s] = append(g.postponed[s], f)
}

// runPostponed calls what waits in WhenFree.
func (g *Group) runPostponed(s *Session) {
	for !s.waiting && len(g.postponed[s]) > 0 { // It is empty once s is closing.
		f := g.postponed[s][0]
		if g.postponed[s] = g.postponed[s][1:]; len(g.postponed[s]) == 0 {
			delete(g.postponed, s)
		}
		f()
	}
}

// EndNow ends s with its subscriptions. Queued answers are still written.
func (g *Group) EndNow(s *Session, e End) {
	s.End(e)
	s.UnsubscribeAll()
}

// EndSubscriptions ends the subscriptions of s for which ended returns true, and tells the
// client that another token is needed. It returns how many.
func (g *Group) EndSubscriptions(s *Session, ended func(*auth.Claims, pubsub.Topic) bool) int {
	var topics []pubsub.Topic
	for _, sub := range s.subs.all {
		if sub.claims != nil && ended(sub.claims, sub.name()) {
			topics = append(topics, sub.name())
		}
	}
	return endTopics(s, topics, pubsub.TokenRevoked)
}

// Grant subscribes s to the topics to which it is not subscribed, from now on and whatever its
// tokens allow, and returns how many these are. s must not be a stream, or busy. The
// subscriptions belong to the token with claims, but do not end at its time `until`. If the
// broker has to attach the topics, they begin later.
func (g *Group) Grant(s *Session, claims *auth.Claims, topics []pubsub.Topic) int {
	want := make([]Subscription, 0, len(topics))
	for _, name := range topics {
		if s.subs.find(s, name) == nil {
			want = append(want, Subscription{Topic: name})
		}
	}
	if len(want) > 0 {
		s.Subscribe(Credential{Claims: claims, granted: true}, want, granted)
	}
	return len(want)
}

func granted(s *Session, results []Subscribed) {
	d, ok := s.dialect.(GrantReceiver)
	if ok && slices.ContainsFunc(results, func(r Subscribed) bool { return r.Err == nil }) {
		d.Granted(s, results)
	}
}
