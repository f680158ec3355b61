package session

import (
	"context"

	"github.com/ikornaselur/notiflux"
	"github.com/ikornaselur/notiflux/internal/answer"
	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/presence"
	"github.com/ikornaselur/notiflux/internal/topic"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// maxMembers is how many members a client is given at most.
const maxMembers = 1000

// joinPresence makes the client a member of a topic, under the name that claims give it,
// and has it told of others: of everybody who comes or goes from now on.
func (s *Session) joinPresence(name notiflux.Topic, claims *auth.Claims) error {
	if s.find(topic.Notices(name)) == nil {
		if _, _, err := s.group.subscribe(s, topic.Notices(name), topic.ResumePoint{}); err != nil {
			return err
		}
	}
	info, _ := claims.Info() // Was judged before.
	ref := s.group.config.Presence.Join(name, notiflux.Member{Sub: claims.Subject, Info: info})
	s.releaseReference(name) // After the new one is taken: the member stays.
	if s.json.references == nil {
		s.json.references = make(map[notiflux.Topic]*presence.Reference)
	}
	s.json.references[name] = ref
	return nil
}

// leavePresence ends presence in a topic, if there is any.
func (s *Session) leavePresence(name notiflux.Topic) {
	if s.json == nil || s.json.references[name] == nil {
		return
	}
	s.releaseReference(name)
	s.unsubscribe(topic.Notices(name))
}

func (s *Session) releaseReference(topic notiflux.Topic) {
	if ref := s.json.references[topic]; ref != nil {
		ref.Release()
		delete(s.json.references, topic)
	}
}

// leaveAllPresence ends presence everywhere.
func (s *Session) leaveAllPresence() {
	if s.json == nil {
		return
	}
	for topic := range s.json.references {
		s.releaseReference(topic)
	}
}

// jumpToSnapshot has the client go on with the newest notice that replaces those before it, in
// each topic, and returns by how many bytes its lag is less. That notice itself does
// not count: a list of members can be larger than the lag that is allowed.
func (s *Session) jumpToSnapshot() (less uint64) {
	for sub := s.firstDirty; sub != nil; sub = sub.nextDirty {
		lag := sub.subscribers.topic.Lag(sub.cursor)
		if lag == 0 || !topic.IsNotices(sub.subscribers.topic.Name()) {
			continue
		}
		at := sub.cursor
		for {
			entry, behind, ok := at.Next()
			if !ok {
				break
			}
			if entry.Message().Body.Snapshot {
				sub.cursor = at
				left := sub.subscribers.topic.Lag(behind)
				less += lag - left
				lag = left
			}
			at = behind
		}
	}
	return less
}

// membersJSON answers with who is present, off the loop: it may be many.
func (s *Session) membersJSON(c wire.JSONCommand) {
	s.withReadAccess(c, func(claims *auth.Claims) {
		var a *answer.Answer
		list := func(context.Context) { a = s.group.presenceAnswer(c) }
		given := s.presenceOffset(c.Topic)
		s.wait(s.group.config.WaitWorkers, list, func(refused error) {
			if refused != nil {
				s.refuse(c, claims, refused)
				return
			}
			// What the client was told meanwhile may not be in the list, and it would take
			// the list for newer.
			if s.presenceOffset(c.Topic) != given {
				a = s.group.presenceAnswer(c)
			}
			s.answerLarge(a)
		})
	})
}

// presenceOffset returns how far the client has come in the notices of a topic.
func (s *Session) presenceOffset(name notiflux.Topic) uint64 {
	if sub := s.find(topic.Notices(name)); sub != nil {
		return sub.cursor.Offset()
	}
	return 0
}

// presenceAnswer returns the answer to a command for who is present. It is safe off the loop.
func (g *Group) presenceAnswer(c wire.JSONCommand) *answer.Answer {
	p := wire.Presence{Topic: c.Topic, Subscribers: g.config.Topics.Subscribers(c.Topic)}
	p.Members, p.Count = g.config.Presence.List(c.Topic, maxMembers)
	return answer.ForMembers(wire.AppendPresenceStart(nil, c.ID, p), p.Members, []byte(wire.PresenceEnd))
}
