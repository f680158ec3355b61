package session

import (
	"cmp"
	"context"

	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/topic"
)

// History reads up to limit messages of a topic, if c allows it: the first ones after
// since, or the newest ones if since is zero. A worker calls encode, and the session queues
// the result. The session is Busy until then. If the read is refused, the loop calls
// refused instead.
func (s *Session) History(c Credential, name pubsub.Topic, since pubsub.Position, limit int, encode func(context.Context, topic.History) LargeAnswer, refused func(error)) {
	if err := s.group.checkRead(c, name); err != nil {
		refused(err)
		return
	}
	queueAnswer(s, refused, func(ctx context.Context) (LargeAnswer, error) {
		history, err := s.group.config.Broker.History(ctx, name, since, limit)
		if err != nil {
			return nil, err
		}
		return encode(ctx, history), nil
	}, func(a LargeAnswer) LargeAnswer { return a })
}

// queueAnswer queues the answer that read returns on a worker, and that last changes on the loop.
func queueAnswer(s *Session, refused func(error), read func(context.Context) (LargeAnswer, error), last func(LargeAnswer) LargeAnswer) {
	var a LargeAnswer
	var failure error
	s.wait(s.group.config.WaitWorkers, func(ctx context.Context) { a, failure = read(ctx) }, func(undone error) {
		if err := cmp.Or(undone, failure); err != nil {
			refused(err)
			return
		}
		s.out.sendLarge(s, last(a))
	})
}

// Members reads the members of a topic, if c allows it. A worker calls encode, because the
// list can be long, and the session queues the result. The session is Busy until then. If
// the read is refused, the loop calls refused instead.
func (s *Session) Members(c Credential, name pubsub.Topic, encode func(*pubsub.PresenceEvent) LargeAnswer, refused func(error)) {
	if err := s.group.checkRead(c, name); err != nil {
		refused(err)
		return
	}
	given := s.subs.presenceOffset(s, name)
	queueAnswer(s, refused, func(ctx context.Context) (LargeAnswer, error) {
		list, err := s.group.roster.Read(ctx, name)
		if err != nil {
			return nil, err
		}
		return encode(list), nil
	}, func(a LargeAnswer) LargeAnswer {
		// If the client got presence events in the meantime that the list may lack, it would
		// assume that the list is newer than those events.
		if now := s.subs.presenceOffset(s, name); now != given && now != 0 {
			return encode(s.group.roster.Known(name))
		}
		return a
	})
}
