package session

import (
	"cmp"
	"context"

	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/topic"
)

// History reads up to limit messages of a topic, if c allows it: the first ones after
// since, or the newest ones if since is zero. A worker calls encode, and the session queues
// the result, which should own at most room bytes. The session is Busy until then. If the
// read is refused, the loop calls refused instead.
func (s *Session) History(c Credential, name pubsub.Topic, since pubsub.Position, limit int, encode func(ctx context.Context, h topic.History, room int) LargeAnswer, refused func(error)) {
	budget := s.out.budget(s)
	queueAnswer(s, c, name, refused, func(ctx context.Context) (LargeAnswer, error) {
		history, err := s.group.config.Broker.History(ctx, name, since, limit)
		if err != nil {
			return nil, err
		}
		return encode(ctx, history, budget.Share()/2), nil // others may take room meanwhile
	}, func(a LargeAnswer) LargeAnswer { return a })
}

// queueAnswer queues the answer that read returns on a worker, and that last changes on the
// loop, if c allows to read the topic and there is room for the answer.
func queueAnswer(s *Session, c Credential, name pubsub.Topic, refused func(error), read func(context.Context) (LargeAnswer, error), last func(LargeAnswer) LargeAnswer) {
	if err := s.group.checkRead(c, name); err != nil {
		refused(err)
		return
	}
	var a LargeAnswer
	var failure error
	s.wait(s.group.config.WaitWorkers, func(ctx context.Context) { a, failure = read(ctx) }, func(undone error) {
		if err := cmp.Or(undone, failure); err != nil {
			refused(err)
		} else if !s.out.sendLarge(s, last(a)) {
			refused(pubsub.Errorf(pubsub.OverCapacity, "too many answers to other clients are still unread: try again later"))
		}
	})
}

// Members reads the members of a topic, if c allows it. Otherwise it is like History; a
// worker calls encode because the list can be long.
func (s *Session) Members(c Credential, name pubsub.Topic, encode func(*pubsub.PresenceEvent) LargeAnswer, refused func(error)) {
	if c.Err == nil {
		c.Err = c.Claims.NeedUser()
	}
	given := s.subs.presenceOffset(s, name)
	queueAnswer(s, c, name, refused, func(ctx context.Context) (LargeAnswer, error) {
		list, err := s.group.config.Members.Read(ctx, name)
		if err != nil {
			return nil, err
		}
		return encode(list), nil
	}, func(a LargeAnswer) LargeAnswer {
		// If the client got presence events in the meantime that the list may lack, it would
		// assume that the list is newer than those events.
		if now := s.subs.presenceOffset(s, name); now != given && now != 0 {
			return encode(s.group.config.Members.Known(name))
		}
		return a
	})
}
