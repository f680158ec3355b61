package session

import (
	"cmp"
	"slices"

	"github.com/ikornaselur/notiflux/internal/broker"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/topic"
)

// attaching is a call of [Session.Subscribe] that has not called then yet: the broker is
// attaching its topics. The loop owns it.
type attaching struct {
	session     *Session
	credential  Credential
	results     []Subscribed
	attachments []broker.Attachment // of the results
	reserved    int                 // number of topics that those results will add
	then        func(*Session, []Subscribed)
	cancel      func() // set by wait
}

// prepare refuses topics, changes existing subscriptions, and lists the topics to attach.
func (a *attaching) prepare(subs []Subscription) {
	s, room := a.session, len(subs)
	if slices.ContainsFunc(subs, func(want Subscription) bool { return want.Presence }) {
		room *= 2
	}
	a.attachments = slices.Grow(a.attachments, room) // The elements must not move later.
	attach := func(name pubsub.Topic, from topic.ResumePoint) *broker.Attachment {
		a.attachments = append(a.attachments, broker.Attachment{Topic: name, From: from})
		return &a.attachments[len(a.attachments)-1]
	}
	for i := range subs {
		want := &subs[i]
		a.results = append(a.results, Subscribed{Topic: want.Topic, Err: a.credential.Err})
		r := &a.results[i]
		if r.Err != nil {
			continue
		}
		sub, more, err := s.subs.check(s, a.credential, want, a.reserved)
		if err != nil {
			r.Err = err
			continue
		}
		a.reserved += more
		if sub == nil {
			from := want.From
			from.Connection, from.User = s.extra.name(), a.credential.Claims.PatternUser(want.Topic)
			r.attachment = attach(want.Topic, from)
		}
		if want.Presence && s.subs.find(s, topic.PresenceTopic(want.Topic)) == nil {
			r.events = attach(topic.PresenceTopic(want.Topic), topic.ResumePoint{})
		}
		if sub != nil && r.events == nil {
			r.Err = s.change(sub, a.credential, want, nil)
		} else if sub != nil { // The old token must not end it while the broker works.
			s.group.identify(sub, a.credential)
		}
	}
}

// finish subscribes to the attached topics and calls then. waited says that time has passed
// since prepare.
func (a *attaching) finish(subs []Subscription, waited bool) {
	s := a.session
	var expired error
	if waited && !a.credential.granted {
		expired = s.group.config.Verifier.Check(a.credential.Claims)
	}
	for i := range subs {
		r := &a.results[i]
		switch {
		case r.attachment != nil || r.events != nil:
			r.Err = expired
			a.subscribe(r, &subs[i], waited)
		case r.Err == nil:
			a.keep(r)
		}
		if r.Err != nil {
			s.RefuseTopic(a.credential.Claims, string(r.Topic), r.Err)
		}
	}
	for i := range a.attachments {
		a.attachments[i].Cancel() // those that were not taken
	}
	if name := s.extra.name(); name != 0 {
		s.subs.rotate(name)
	}
	a.then(s, a.results)
}

// subscribe subscribes to an attached topic, or changes an existing subscription.
func (a *attaching) subscribe(r *Subscribed, want *Subscription, waited bool) {
	s := a.session
	if waited && r.Err == nil {
		_, _, r.Err = s.subs.check(s, a.credential, want, 0)
	}
	if r.Err = cmp.Or(r.Err, r.events.Failure()); r.Err != nil {
		return
	}
	sub := s.subs.find(s, want.Topic)
	switch {
	case sub != nil: // It existed, or the same topic came before.
		if r.Err = s.change(sub, a.credential, want, r.events); r.Err == nil {
			a.keep(r)
		}
		return
	case r.attachment == nil:
		r.Err = errExpiredMeanwhile
		return
	}
	var pin topic.Pin
	if pin, r.Err = r.attachment.Take(); r.Err != nil {
		return
	}
	sub, resumed := s.group.subscribe(s, want.Topic, pin, want.From.Since.Epoch != "")
	if r.Err = s.change(sub, a.credential, want, r.events); r.Err != nil {
		s.Unsubscribe(want.Topic) // A refused command has no effect.
		return
	}
	r.Position, r.Recovered, r.Replay = resumed.Position, resumed.Recovered, resumed.Replay
}

var errExpiredMeanwhile = pubsub.Errorf(pubsub.TokenExpired, "the token's `until` passed while the subscription was being set up: subscribe with a new token")

// keep sets the outcome for a topic that the session was already subscribed to.
func (a *attaching) keep(r *Subscribed) {
	if sub := a.session.subs.find(a.session, r.Topic); sub != nil {
		r.Position, r.Recovered = a.session.extra.overlapping().Has(r.Topic, sub.delivered()), true
		return
	}
	r.Err = errExpiredMeanwhile
}

// wait makes the loop finish a once all topics are attached.
func (a *attaching) wait(subs []Subscription) {
	s, g := a.session, a.session.group
	s.waiting, g.attaching[s] = true, a
	kept := slices.Clone(subs)
	step := func() {
		if g.attaching[s] == a { // The session has not ended.
			delete(g.attaching, s)
			a.finish(kept, true)
		}
	}
	a.cancel = g.config.Attacher.Wait(a.attachments, func() { g.resume(s, step) })
}

// cancelAttaching stops waiting for the broker, because the session ends.
func (g *Group) cancelAttaching(s *Session) {
	delete(g.postponed, s)
	if a := g.attaching[s]; a != nil {
		delete(g.attaching, s)
		s.waiting = false
		a.cancel()
	}
}
