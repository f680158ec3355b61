package server

import (
	"slices"

	"github.com/ikornaselur/notiflux"
	"github.com/ikornaselur/notiflux/internal/presence"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// maxMembersPerEvent is the largest number of members in a join or leave event.
const maxMembersPerEvent = 100

// publishPresence appends the encoded events of a change to the presence topic.
func (s *Server) publishPresence(e presence.Event) {
	var events [][]byte
	switch e.Kind {
	case presence.CountOnly:
		s.topics.AppendPresenceSnapshot(e.Topic, s.appendPresence(e, nil))
		return
	case presence.Snapshot:
		s.topics.AppendPresenceSnapshot(e.Topic, s.appendPresence(e, e.Members))
		return
	case presence.Changes:
		for members := range slices.Chunk(e.Left, maxMembersPerEvent) {
			events = append(events, wire.AppendLeave(nil, e.Topic, members))
		}
		for members := range slices.Chunk(e.Joined, maxMembersPerEvent) {
			events = append(events, wire.AppendJoin(nil, e.Topic, members))
		}
	}
	s.topics.AppendPresence(e.Topic, events...)
}

func (s *Server) appendPresence(e presence.Event, members []notiflux.Member) []byte {
	return wire.AppendPresence(nil, wire.NoID, wire.Presence{Topic: e.Topic, Count: e.Count, Subscribers: s.topics.Subscribers(e.Topic), Members: members})
}
