package session

import (
	"slices"
	"time"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/broker"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/topic"
)

// A Subscription is one topic that a client wants, with its options.
type Subscription struct {
	Topic    pubsub.Topic
	From     topic.ResumePoint // without Connection, which the session sets
	Latest   bool              // if the client is behind, it gets only the newest message
	Presence bool              // the client is a member of the topic and gets presence events
}

// A Subscribed is the outcome of a [Subscription].
type Subscribed struct {
	Topic     pubsub.Topic
	Position  pubsub.Position // every message after it is delivered
	Recovered bool            // no message after the client's position is missing
	Replay    int             // number of messages that follow at once
	Err       error           // why the client is not subscribed; nil if it is

	attachment, events *broker.Attachment // of the topic and of its presence topic, or nil
}

// Subscribe subscribes the session to each topic that c allows, and calls then on the loop
// with the outcomes, in the order of subs. The outcomes are valid during that call.
// Subscribe does not keep subs. It logs and counts refused topics. Answers that then queues
// come before messages.
//
// The broker attaches all topics at the same time. If that takes time, the session is Busy
// until then is called. If the session ends first, then is not called.
//
// If the session is already subscribed to a topic, the subscription keeps its cursor and gets
// the new options, at once unless it joins with presence. The same applies to a topic that
// occurs twice in subs: the later options take effect.
func (s *Session) Subscribe(c Credential, subs []Subscription, then func(*Session, []Subscribed)) {
	if s.closing {
		return
	}
	g := s.group
	a := g.spareAttaching
	if g.spareAttaching = nil; a == nil {
		a = new(attaching)
	}
	a.session, a.credential, a.then = s, c, then
	a.prepare(subs)
	if !g.config.Attacher.Attach(a.attachments) {
		a.wait(subs)
		return
	}
	a.finish(subs, false)
	clear(a.results)
	clear(a.attachments)
	*a = attaching{results: a.results[:0], attachments: a.attachments[:0]}
	g.spareAttaching = a
}

// change sets the options of a subscription. If it joins with presence, events is the
// attachment of the presence topic.
func (s *Session) change(sub *subscription, c Credential, want *Subscription, events *broker.Attachment) error {
	if want.Presence {
		if err := s.ensureExtra().joinPresence(s, want.Topic, c.Claims, events); err != nil {
			return err
		}
	}
	sub.set(latest, want.Latest)
	s.group.identify(sub, c)
	return nil
}

// identify sets the token that a subscription belongs to.
func (g *Group) identify(sub *subscription, c Credential) {
	sub.claims = c.Claims.Identity()
	if c.granted {
		g.expiries.Set(sub, time.Time{})
		return
	}
	g.expiries.Set(sub, c.Claims.Until())
}

// checkRead returns an error unless a credential allows reading a topic now.
func (g *Group) checkRead(c Credential, name pubsub.Topic) error {
	if c.Err != nil {
		return c.Err
	}
	if !c.granted {
		if err := c.Claims.Allow(auth.Subscribe, name); err != nil {
			return err
		}
		if err := c.Claims.CheckUntil(g.config.Now()); err != nil {
			return err
		}
	}
	return g.revoked(c.Claims, name)
}

// check returns an error if the client of s may not have a subscription. Otherwise it
// returns the existing subscription to this topic, or nil, and how many topics the new one
// adds. reserved is the number of topics that other subscriptions will add.
func (l *subscriptions) check(s *Session, c Credential, want *Subscription, reserved int) (sub *subscription, more int, err error) {
	if err := s.group.checkRead(c, want.Topic); err != nil {
		return nil, 0, err
	}
	if sub = l.find(s, want.Topic); sub == nil {
		if want.Topic.IsPattern() && s.extra.overlapping().Patterns()+reserved >= maxPatterns {
			return nil, 0, errTooManyPatterns
		}
		more++
	}
	if want.Presence {
		if _, err := c.Claims.Info(); err != nil {
			return nil, 0, err
		}
		if err := s.group.config.Members.Presence.Check(want.Topic); err != nil {
			return nil, 0, err
		}
		if l.find(s, topic.PresenceTopic(want.Topic)) == nil {
			more++
		}
	}
	if most := s.group.config.MaxTopics; more > 0 && len(l.all)+reserved+more > most {
		return nil, 0, pubsub.Errorf(pubsub.TooMany, "topic limit of this connection reached (%d): unsubscribe from a topic, or open another connection", most)
	}
	return sub, more, nil
}

var errTooManyPatterns = pubsub.Errorf(pubsub.TooMany, "pattern limit of this connection reached (%d): unsubscribe from a pattern, or subscribe to one that contains several", maxPatterns)

// RefuseTopic logs and counts a topic that is refused before Subscribe is called, for
// example because its name is invalid. claims may be nil.
func (s *Session) RefuseTopic(claims *auth.Claims, name string, err error) {
	s.LogRefusal(claims, pubsub.Topic(name).Shown(), err)
	s.group.config.Stats.Refused.Add(1)
}

// Topics returns the topics that the session is subscribed to, sorted.
func (s *Session) Topics() []pubsub.Topic {
	names := make([]pubsub.Topic, 0, len(s.subs.all))
	for _, sub := range s.subs.all {
		if name := sub.name(); !topic.IsPresenceTopic(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Unsubscribe ends the subscription to a topic, if there is one.
func (s *Session) Unsubscribe(name pubsub.Topic) {
	sub := s.subs.find(s, name)
	if sub == nil {
		return
	}
	s.extra.leavePresence(s, name)
	s.subs.remove(sub)
	if s.extra != nil && s.extra.cursor != nil {
		s.extra.cursor.keep(sub)
	}
	s.group.unsubscribe(sub)
}

// UnsubscribeAll ends all subscriptions.
func (s *Session) UnsubscribeAll() {
	for _, sub := range s.subs.all {
		if s.extra != nil {
			s.extra.attendance.Leave(sub.name())
		}
		sub.dirty = false
		s.group.unsubscribe(sub)
	}
	s.subs = subscriptions{}
}
