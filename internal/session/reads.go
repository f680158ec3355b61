package session

import (
	"cmp"
	"context"

	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/topic"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// maxMembers is the largest number of members in an answer.
const maxMembers = 1000

// History reads up to limit messages of a topic, if c allows that, and queues what encode
// makes of them: the first ones after since, or the newest ones if since is zero. A worker
// calls encode. The session is Busy until then. If the read is refused, the loop calls
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

// Members reads who is present in a topic, if c allows that, and queues what encode makes
// of it. A worker calls encode: the list can be long. The session is Busy until then. If
// the read is refused, the loop calls refused instead.
func (s *Session) Members(c Credential, name pubsub.Topic, encode func(wire.Presence) LargeAnswer, refused func(error)) {
	if err := s.group.checkRead(c, name); err != nil {
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
		// The client got presence events meanwhile that the list may lack, and would
		// take the list for newer than them.
		if s.subs.presenceOffset(s, name) != given {
			a = encode(s.group.members(name))
		}
		s.out.sendLarge(s, a)
	})
}

// members returns who is present in a topic. It is safe off the loop.
func (g *Group) members(name pubsub.Topic) wire.Presence {
	p := wire.Presence{Topic: name, Subscribers: g.config.Topics.Subscribers(name)}
	p.Members, p.Count = g.config.Presence.List(name, maxMembers)
	return p
}
