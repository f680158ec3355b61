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

// maxMembers is the largest number of members in an answer.
const maxMembers = 1000

// joinPresence makes the client a member of a topic, named by the subject of claims, and
// subscribes it to the presence events of the topic from now on.
func (s *Session) joinPresence(name notiflux.Topic, claims *auth.Claims) error {
	if s.find(topic.PresenceTopic(name)) == nil {
		if _, _, err := s.group.subscribe(s, topic.PresenceTopic(name), topic.ResumePoint{}); err != nil {
			return err
		}
	}
	info, _ := claims.Info() // checkSubscribe checked the error.
	ref := s.group.config.Presence.Join(name, notiflux.Member{Sub: claims.Subject, Info: info})
	s.releaseReference(name) // After Join, so the member stays present.
	if s.json.references == nil {
		s.json.references = make(map[notiflux.Topic]*presence.Reference)
	}
	s.json.references[name] = ref
	return nil
}

// leavePresence ends the presence of the client in a topic, if it is present.
func (s *Session) leavePresence(name notiflux.Topic) {
	if s.json == nil || s.json.references[name] == nil {
		return
	}
	s.releaseReference(name)
	s.unsubscribe(topic.PresenceTopic(name))
}

func (s *Session) releaseReference(topic notiflux.Topic) {
	if ref := s.json.references[topic]; ref != nil {
		ref.Release()
		delete(s.json.references, topic)
	}
}

// leaveAllPresence ends the presence of the client in all topics, in the order of its
// subscriptions.
func (s *Session) leaveAllPresence() {
	if s.json == nil {
		return
	}
	for _, sub := range s.subs {
		s.releaseReference(sub.subscribers.topic.Name())
	}
}

// jumpToSnapshot moves the cursors for presence events to the newest snapshot of each
// topic, which supersedes the events before it. It returns by how many bytes the lag is
// smaller. The snapshot itself does not count: a list of members can exceed the allowed
// lag.
func (s *Session) jumpToSnapshot() (less uint64) {
	for sub := s.firstDirty; sub != nil; sub = sub.nextDirty {
		lag := sub.subscribers.topic.Lag(sub.cursor)
		if lag == 0 || !topic.IsPresenceTopic(sub.subscribers.topic.Name()) {
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

// membersJSON answers with the members of a topic. A worker makes the list: it can be long.
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
			// The client got presence events meanwhile that the list may lack, and would
			// take the list for newer than them.
			if s.presenceOffset(c.Topic) != given {
				a = s.group.presenceAnswer(c)
			}
			s.answerLarge(a)
		})
	})
}

// presenceOffset returns the offset of the client in the presence events of a topic.
func (s *Session) presenceOffset(name notiflux.Topic) uint64 {
	if sub := s.find(topic.PresenceTopic(name)); sub != nil {
		return sub.cursor.Offset()
	}
	return 0
}

// presenceAnswer returns the answer with the members of a topic. It is safe off the loop.
func (g *Group) presenceAnswer(c wire.JSONCommand) *answer.Answer {
	p := wire.Presence{Topic: c.Topic, Subscribers: g.config.Topics.Subscribers(c.Topic)}
	p.Members, p.Count = g.config.Presence.List(c.Topic, maxMembers)
	return answer.ForMembers(wire.AppendPresenceStart(nil, c.ID, p), p.Members, []byte(wire.PresenceEnd))
}
