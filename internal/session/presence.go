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

// maxListed is how many members a client is given at most.
const maxListed = 1000

// attend makes the client a member of a topic, under the name that claims give it,
// and has it told of others: of everybody who comes or goes from now on.
func (s *Session) attend(name notiflux.Topic, claims *auth.Claims) error {
	if s.find(topic.Notices(name)) == nil {
		if _, _, err := s.group.join(s, topic.Notices(name), topic.ResumePoint{}); err != nil {
			return err
		}
	}
	info, _ := claims.Info() // Was judged before.
	seat := s.group.config.Presence.Join(name, notiflux.Member{Sub: claims.Subject, Info: info})
	s.absentSeat(name) // After the new one is taken: the member stays.
	if s.json.seats == nil {
		s.json.seats = make(map[notiflux.Topic]*presence.Reference)
	}
	s.json.seats[name] = seat
	return nil
}

// absent ends presence in a topic, if there is any.
func (s *Session) absent(name notiflux.Topic) {
	if s.json == nil || s.json.seats[name] == nil {
		return
	}
	s.absentSeat(name)
	s.unsubscribe(topic.Notices(name))
}

func (s *Session) absentSeat(topic notiflux.Topic) {
	if seat := s.json.seats[topic]; seat != nil {
		seat.Release()
		delete(s.json.seats, topic)
	}
}

// absentAll ends presence everywhere.
func (s *Session) absentAll() {
	if s.json == nil {
		return
	}
	for topic := range s.json.seats {
		s.absentSeat(topic)
	}
}

// leap has the client go on with the newest notice that replaces those before it, in
// each topic, and returns by how many bytes its lag is less. That notice itself does
// not count: a list of members can be larger than the lag that is allowed.
func (s *Session) leap() (less uint64) {
	for sub := s.firstDirty; sub != nil; sub = sub.nextDirty {
		lag := sub.feed.topic.Lag(sub.cursor)
		if lag == 0 || !topic.IsNotices(sub.feed.topic.Name()) {
			continue
		}
		at := sub.cursor
		for {
			entry, behind, ok := at.Next()
			if !ok {
				break
			}
			if entry.Message().Body.Whole {
				sub.cursor = at
				left := sub.feed.topic.Lag(behind)
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
	s.reading(c, func(claims *auth.Claims) {
		var listed *answer.Answer
		list := func(context.Context) { listed = s.group.listed(c) }
		given := s.noticesGiven(c.Topic)
		s.wait(s.group.config.Waiting, list, func(refused error) {
			if refused != nil {
				s.refuse(c, claims, refused)
				return
			}
			// What the client was told meanwhile may not be in the list, and it would take
			// the list for newer.
			if s.noticesGiven(c.Topic) != given {
				listed = s.group.listed(c)
			}
			s.reply(listed)
		})
	})
}

// noticesGiven returns how far the client has come in the notices of a topic.
func (s *Session) noticesGiven(name notiflux.Topic) uint64 {
	if sub := s.find(topic.Notices(name)); sub != nil {
		return sub.cursor.Offset()
	}
	return 0
}

// listed returns the answer to a command for who is present. It is safe off the loop.
func (g *Group) listed(c wire.JSONCommand) *answer.Answer {
	p := wire.Presence{Topic: c.Topic, Subscribers: g.config.Topics.Subscribers(c.Topic)}
	p.Members, p.Count = g.config.Presence.List(c.Topic, maxListed)
	return answer.OfMembers(wire.AppendPresenceHead(nil, c.ID, p), p.Members, []byte(wire.PresenceEnd))
}
