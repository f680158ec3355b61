package session

import (
	"context"

	"github.com/ikornaselur/notiflux"
	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/presence"
	"github.com/ikornaselur/notiflux/internal/topic"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// maxMembers is the largest number of members in an answer.
const maxMembers = 1000

// references keep a client present in topics.
type references map[notiflux.Topic]*presence.Reference

// release ends the presence in a topic, if the client is present there.
func (r references) release(name notiflux.Topic) {
	if ref := r[name]; ref != nil {
		ref.Release()
		delete(r, name)
	}
}

// joinPresence makes the client a member of a topic, named by the subject of claims, and
// subscribes it to the presence events of the topic from now on.
func (s *Session) joinPresence(name notiflux.Topic, claims *auth.Claims) error {
	if s.subs.find(s, topic.PresenceTopic(name)) == nil {
		if _, _, err := s.group.subscribe(s, topic.PresenceTopic(name), topic.ResumePoint{}); err != nil {
			return err
		}
	}
	info, _ := claims.Info() // checkSubscribe checked the error.
	ref := s.group.config.Presence.Join(name, notiflux.Member{Sub: claims.Subject, Info: info})
	x := s.ensureExtra()
	x.references.release(name) // After Join, so the member stays present.
	if x.references == nil {
		x.references = make(references)
	}
	x.references[name] = ref
	return nil
}

// leavePresence ends the presence of the client in a topic, if it is present.
func (s *Session) leavePresence(name notiflux.Topic) {
	if s.extra != nil && s.extra.references[name] != nil {
		s.extra.references.release(name)
		s.Unsubscribe(topic.PresenceTopic(name))
	}
}

// Members reads who is present in a topic, if c allows that, and queues what form makes
// of it. A worker calls form: the list can be long. The session is Busy until then. If
// the read is refused, the loop calls refused instead.
func (s *Session) Members(c Credential, name notiflux.Topic, form func(wire.Presence) LargeAnswer, refused func(error)) {
	if err := s.checkRead(c, name); err != nil {
		refused(err)
		return
	}
	var a LargeAnswer
	list := func(context.Context) { a = form(s.group.members(name)) }
	given := s.presenceOffset(name)
	s.wait(s.group.config.WaitWorkers, list, func(err error) {
		if err != nil {
			refused(err)
			return
		}
		// The client got presence events meanwhile that the list may lack, and would
		// take the list for newer than them.
		if s.presenceOffset(name) != given {
			a = form(s.group.members(name))
		}
		s.sendLarge(a)
	})
}

// presenceOffset returns the offset of the client in the presence events of a topic.
func (s *Session) presenceOffset(name notiflux.Topic) uint64 {
	if sub := s.subs.find(s, topic.PresenceTopic(name)); sub != nil {
		return sub.cursor.Offset()
	}
	return 0
}

// members returns who is present in a topic. It is safe off the loop.
func (g *Group) members(name notiflux.Topic) wire.Presence {
	p := wire.Presence{Topic: name, Subscribers: g.config.Topics.Subscribers(name)}
	p.Members, p.Count = g.config.Presence.List(name, maxMembers)
	return p
}
