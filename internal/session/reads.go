package session

import (
	"cmp"
	"context"

	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/topic"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// maxMembers is the maximum number of members in an answer.
const maxMembers = 1000

// History reads up to limit messages of a topic, if c allows it: the first ones after
// since, or the newest ones if since is zero. A worker calls encode, and the session queues
// the result. The session is Busy until then. If the read is refused, the loop calls
// refused instead.
func (s *Session) History(c Credential, name pubsub.Topic, since pubsub.Position, limit int, encode func(context.Context, topic.History) LargeAnswer, refused func(error)) {
	if err := s.group.checkRead(c, name); err != nil {
		refused(err)
		return
	}
	var a LargeAnswer
	var failure error
	read := func(ctx context.Context) {
		var history topic.History
		if history, failure = s.group.config.Broker.History(ctx, name, since, limit); failure == nil {
			a = encode(ctx, history)
		}
	}
	s.wait(s.group.config.WaitWorkers, read, func(undone error) {
		if err := cmp.Or(undone, failure); err != nil {
			refused(err)
			return
		}
		s.out.sendLarge(s, a)
	})
}

// Members reads the members of a topic, if c allows it. A worker calls encode, because the
// list can be long, and the session queues the result. The session is Busy until then. If
// the read is refused, the loop calls refused instead.
func (s *Session) Members(c Credential, name pubsub.Topic, encode func(wire.Presence) LargeAnswer, refused func(error)) {
	if err := cmp.Or(s.group.checkRead(c, name), s.group.config.Presence.Available()); err != nil {
		refused(err)
		return
	}
	var a LargeAnswer
	list := func(context.Context) { a = encode(s.group.members(name)) }
	given := s.subs.presenceOffset(s, name)
	s.wait(s.group.config.WaitWorkers, list, func(err error) {
		if err != nil {
			refused(err)
			return
		}
		// The client got presence events in the meantime that the list may lack. It would
		// assume that the list is newer than those events.
		if s.subs.presenceOffset(s, name) != given {
			a = encode(s.group.members(name))
		}
		s.out.sendLarge(s, a)
	})
}

// members returns the members of a topic. It may be called on any goroutine.
func (g *Group) members(name pubsub.Topic) wire.Presence {
	p := wire.Presence{Topic: name, Subscribers: g.config.Topics.Subscribers(name)}
	p.Members, p.Count = g.config.Presence.List(name, maxMembers)
	return p
}
