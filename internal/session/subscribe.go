package session

import (
	"github.com/ikornaselur/notiflux"
	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/topic"
)

// A Subscription is what a client asks for: one topic, and how it wants to get it.
type Subscription struct {
	Topic    notiflux.Topic
	From     topic.ResumePoint // without Connection: the session sets it
	Latest   bool              // when the client is behind, only the newest message counts
	Presence bool              // the client is a member of the topic and gets presence events
}

// A Subscribed is the outcome of a [Subscription].
type Subscribed struct {
	Topic     notiflux.Topic
	Position  notiflux.Position // everything after it is delivered
	Recovered bool              // nothing is missing after what the client had
	Replay    int               // how many messages follow at once
	Err       error             // why the client is not subscribed; nil if it is
}

// Subscribe makes the session a subscriber of each topic that c allows, and calls then on
// the loop with the outcome for each, in the order of subs. It logs and counts those that
// are refused. Answers that then queues come before messages. The session is Busy until
// then is called.
//
// A topic that the session is subscribed to already gets the new options, and keeps its
// place.
func (s *Session) Subscribe(c Credential, subs []Subscription, then func([]Subscribed)) {
	results := make([]Subscribed, len(subs))
	behind := false
	for i := range subs {
		r := &results[i]
		*r = s.subscribe(c, &subs[i])
		if r.Err != nil {
			s.RefuseTopic(c.Claims, string(r.Topic), r.Err)
		}
		behind = behind || r.Replay > 0
	}
	if behind {
		s.subs.rotate(s.extra.name())
	}
	then(results)
}

// subscribe makes the session a subscriber of one topic.
func (s *Session) subscribe(c Credential, want *Subscription) Subscribed {
	r := Subscribed{Topic: want.Topic, Err: c.Err}
	if r.Err == nil {
		r.Err = s.subs.check(s, c.Claims, want)
	}
	if r.Err != nil {
		return r
	}
	sub := s.subs.find(s, want.Topic)
	isNew := sub == nil
	if !isNew {
		r.Position, r.Recovered = sub.delivered(), true
	} else {
		var resumed topic.Resumed
		if sub, resumed, r.Err = s.group.subscribe(s, want.Topic, want.From); r.Err != nil {
			return r
		}
		r.Position, r.Recovered, r.Replay = resumed.Position, resumed.Recovered, resumed.Replay
	}
	if want.Presence {
		if r.Err = s.ensureExtra().joinPresence(s, want.Topic, c.Claims); r.Err != nil {
			if isNew {
				s.Unsubscribe(want.Topic) // A refused command has no effect.
			}
			return r
		}
	}
	sub.latest = want.Latest
	s.group.expireAt(sub, c.Claims.Until())
	return r
}

// checkRead returns an error unless a credential allows reading a topic now.
func (g *Group) checkRead(c Credential, name notiflux.Topic) error {
	if c.Err != nil {
		return c.Err
	}
	if err := c.Claims.Allow(auth.Subscribe, name); err != nil {
		return err
	}
	return c.Claims.CheckUntil(g.config.Now())
}

// check returns an error if the client of s may not have a subscription.
func (l *subscriptions) check(s *Session, claims *auth.Claims, want *Subscription) error {
	if err := s.group.checkRead(Credential{Claims: claims}, want.Topic); err != nil {
		return err
	}
	more := 0
	if l.find(s, want.Topic) == nil {
		more++
	}
	if want.Presence {
		if _, err := claims.Info(); err != nil {
			return err
		}
		if l.find(s, topic.PresenceTopic(want.Topic)) == nil {
			more++
		}
	}
	if most := s.group.config.MaxTopics; more > 0 && len(l.all)+more > most {
		return notiflux.Errorf(notiflux.TooMany, "topic limit of the connection reached (%d): unsubscribe from one, or open another connection", most)
	}
	return nil
}

// RefuseTopic logs and counts a topic that is refused before Subscribe is called, for
// instance because it is not a valid topic. claims may be nil.
func (s *Session) RefuseTopic(claims *auth.Claims, name string, err error) {
	s.LogRefusal(claims, name, err)
	s.group.config.Stats.Refused.Add(1)
}

// Topics returns the topics that the session is subscribed to, sorted.
func (s *Session) Topics() []notiflux.Topic { return s.subs.topics() }

// Unsubscribe ends the subscription to a topic, if there is one.
func (s *Session) Unsubscribe(name notiflux.Topic) {
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
	if s.extra != nil {
		for _, sub := range s.subs.all {
			s.extra.release(sub.name())
		}
	}
	for _, sub := range s.subs.all {
		s.group.unsubscribe(sub)
	}
	s.subs = subscriptions{}
}
